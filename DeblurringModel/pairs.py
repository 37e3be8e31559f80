"""What fine-tuning reads: windows of five frames, and the sharp picture that the middle one should become."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from common.errors import UserError
from common.images import read_image, to_tensor
from common.regions_file import Region
from common.runtime.seeding import numpy_generator
from common.training.augmentation import Augmentation
from common.training.frame_cache import FrameCache
from common.videos import Video

HINT = "run python BlurringModel/main.py first"
REACH = 2
"""Frames before and after the middle one in a window (released code: five frames)."""
LEAST_WEIGHT = 0.5
"""Mean weight of the crops that are learned from: less than that is mostly the blurry frame itself."""


class NothingToLearn(UserError):
    """Too few pairs, or none."""


@dataclass(frozen=True)
class Pair:
    """Pictures of a window in order, the picture that is its middle frame's target, the box to learn from,
    and <video>/<frame> of the middle frame.

    weight: a grey picture of how far each pixel of the target is to be trusted (255: entirely), None where
    all are. source: <video>/<frame> of the sharp frame that the target shows, where that is another one.
    """

    window: tuple[Path, ...]
    target: Path
    box: tuple[int, int, int, int]
    name: str
    weight: Path | None = None
    source: str = ""


def reblurred_pairs(regions: list[Region], blurring: Path, restored: Path | None = None) -> list[Pair]:
    """The pairs that stage 3 made in the folder `blurring`, region after region.

    restored: folder of the frames with regions as the unadapted network restores them, which then are the targets. A
    region is sharp in comparison only: what it has left of blur is not to be learned.

    Raises UserError for a region without two neighbours on both sides, or a missing reblurred frame.
    """
    pairs = []
    for region in regions:
        name, folder = f"{region.video.name}/{region.frame}", blurring / region.video.name
        if not REACH <= region.position < len(region.video.frames) - REACH:
            raise UserError(
                f"sharp_regions.json: {name} has no two neighbours on both sides; set rsdm.border to 2 or "
                "more"
            )
        reblur, made = folder / "reblur" / f"{region.frame}.png", folder / "window" / region.frame
        if not reblur.exists():
            raise UserError(f"{blurring}: no reblurred frame of {name}; {HINT}")
        if made.is_dir():
            windows = [
                tuple(made / str(copy) / f"{index}.png" for index in range(2 * REACH + 1))
                for copy in range(len(list(made.iterdir())))
            ]
        else:
            around = frames_around(region.video, region.position)
            windows = [(*around[:REACH], reblur, *around[REACH + 1 :])]
        clean = folder / "target"
        if restored is not None:
            target = region.video.restored(restored, region.position)
        else:
            target = clean / f"{region.frame}.png" if clean.is_dir() else region.video.frames[region.position]
        pairs += [Pair(window, target, region.box, name) for window in windows]
    return pairs


def true_pairs(regions: list[Region]) -> list[Pair]:
    """Pairs made of the ground truth: the same boxes, in every frame of their videos that has a whole window.

    For measuring how far fine-tuning could get with faultless pairs. Raises UserError without ground truth.
    """
    pairs = []
    for video, box in dict.fromkeys((region.video, region.box) for region in regions):
        check_true([video])
        pairs += [
            Pair(
                frames_around(video, position),
                video.sharp[position],
                box,
                f"{video.name}/{video.names[position]}",
            )
            for position in range(REACH, len(video.frames) - REACH)
        ]
    return pairs


def rehearsal_pairs(regions: list[Region], restored: Path, count: int) -> list[Pair]:
    """`count` pairs of the frame of each region in which the network rehearses what it could do before: the window
    as it is, and for a target what the unadapted network made of its middle frame, below the folder `restored`.

    Sharp frames are what the source domain's network is good at, and what fine-tuning on blur otherwise makes
    it forget (Li and Hoiem, Learning without Forgetting, 2016). Crops come from the whole frame: colours that no
    region shows would be forgotten too.
    """
    sizes: dict[str, tuple[int, int]] = {}
    pairs = []
    for region in regions:
        video, position = region.video, region.position
        if video.name not in sizes:
            sizes[video.name] = read_image(video.frames[0]).shape[:2]
        target = video.restored(restored, position)
        pairs += count * [
            Pair(
                frames_around(video, position),
                target,
                (0, 0, *sizes[video.name]),
                f"{video.name}/{region.frame}",
            )
        ]
    return pairs


def hold_out(pairs: list[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """(those to learn from, a fifth of them, at least one, to judge by), drawn by `seed`, each in the order
    given.

    All pairs of one patch stay together: windows of a patch that was learned from would judge what was
    learned by heart. Where sharp frames are also the source of other frames' targets, all pairs that show
    one sharp frame do. Raises NothingToLearn for fewer than two patches.
    """
    sources = any(pair.source for pair in pairs)
    owners = [(pair.source or pair.name,) if sources else (pair.name, pair.box) for pair in pairs]
    patches = list(dict.fromkeys(owners))
    if len(patches) < 2:
        raise NothingToLearn(
            f"deblurring.select: best_pairs holds out a fifth of the sharp {'frames' if sources else 'regions'} "
            f"and needs at least 2, found {len(patches)}; use last, or raise rsdm.ratio"
        )
    order = numpy_generator(seed, "held out").permutation(len(patches))
    held_out = {patches[index] for index in order[: max(1, len(patches) // 5)]}
    return (
        [pair for pair, owner in zip(pairs, owners) if owner not in held_out],
        [pair for pair, owner in zip(pairs, owners) if owner in held_out],
    )


def check_true(videos: Iterable[Video]) -> None:
    """UserError where a video has no ground truth to make pairs of."""
    for video in videos:
        if not video.sharp:
            raise UserError(
                f"deblurring.pairs: ground_truth needs ground truth (dataset.sharp), {video.name} has none"
            )


def check_crop(places: Iterable[Pair | Region], crop_size: int) -> None:
    """UserError where a box is smaller than the crop."""
    for place in places:
        r0, c0, r1, c1 = place.box
        if min(r1 - r0, c1 - c0) < crop_size:
            name = place.name if isinstance(place, Pair) else f"{place.video.name}/{place.frame}"
            raise UserError(
                f"deblurring.crop_size: {crop_size} is larger than a region of {name} "
                f"({c1 - c0} x {r1 - r0} pixels); lower it, or raise rsdm.min_size"
            )


def frames_around(video: Video, position: int) -> tuple[Path, ...]:
    """The window of the frame at `position`, as it is in the video."""
    return video.frames[position - REACH : position + REACH + 1]


def crop_shares(weight: np.ndarray, size: int) -> np.ndarray:
    """The mean weight in [0, 1] of each square crop of a picture uint8 (H, W), by its first row and column:
    (H - size + 1, W - size + 1)."""
    sums = cv2.integral(weight, sdepth=cv2.CV_64F)
    boxes = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return boxes / (255 * size**2)


class Pairs:
    """Training samples cut from a list of pairs, drawn by number: sample k is the same in every run and
    process."""

    def __init__(self, pairs: list[Pair], crop_size: int, seed: int, frames: FrameCache) -> None:
        """Raises UserError for a box smaller than the crop."""
        check_crop(pairs, crop_size)
        self._pairs, self._crop_size, self._seed = pairs, crop_size, seed
        self._weighted = any(pair.weight is not None for pair in pairs)
        self._frames = frames

    def __len__(self) -> int:
        return len(self._pairs)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Steps in which every pair is seen once (the last batch is filled up from the front)."""
        return math.ceil(len(self._pairs) / batch_size)

    def batch(self, items: list[int], batch_size: int) -> tuple[Tensor, ...]:
        """Windows (B, 5, 3, s, s) and sharp crops (B, 1, 3, s, s) of their middle frames, RGB in [0, 1]; where
        pairs have a weight, that in [0, 1] as (B, 1, 3, s, s) too. `items` are global numbers: step *
        batch_size + place in the batch."""
        return self._as_tensors([self._sample(item, batch_size) for item in items])

    def _as_tensors(self, samples: list[np.ndarray]) -> tuple[Tensor, ...]:
        stacked, frames = np.stack(samples), 2 * REACH + 1
        ends = (0, frames, *range(frames + 1, stacked.shape[1] + 1))
        return tuple(to_tensor(stacked[:, first:end]) for first, end in zip(ends, ends[1:]))

    def _sample(self, item: int, batch_size: int) -> np.ndarray:
        per_epoch = self.steps_per_epoch(batch_size) * batch_size
        epoch, place = divmod(item, per_epoch)
        order = numpy_generator(self._seed, "epoch", epoch).permutation(len(self._pairs))
        pair = self._pairs[order[place % len(self._pairs)]]
        rng = numpy_generator(self._seed, "pair", item)
        if pair.weight is None:
            top, left = (int(rng.integers(space + 1)) for space in self._room(pair))
        else:
            shares = self._shares(pair)
            places = np.flatnonzero(shares >= LEAST_WEIGHT)
            top, left = np.unravel_index(places[rng.integers(len(places))], shares.shape)
        return self._cut(pair, int(top), int(left), Augmentation.draw(rng, rotate=True))

    def centre(self, index: int) -> tuple[Tensor, ...]:
        """Pair `index` as a `batch` of one: the crop from the middle of its box, or the one of the largest
        weight, not turned."""
        pair = self._pairs[index]
        top, left = (space // 2 for space in self._room(pair))
        if pair.weight is not None:
            shares = self._shares(pair)
            top, left = np.unravel_index(shares.argmax(), shares.shape)
        return self._as_tensors([self._cut(pair, int(top), int(left), Augmentation())])

    def _room(self, pair: Pair) -> tuple[int, int]:
        """Rows and columns by which the crop can move inside the pair's box."""
        r0, c0, r1, c1 = pair.box
        return r1 - r0 - self._crop_size, c1 - c0 - self._crop_size

    def _shares(self, pair: Pair) -> np.ndarray:
        r0, c0, r1, c1 = pair.box
        return crop_shares(self._frames(pair.weight)[r0:r1, c0:c1, 0], self._crop_size)

    def _cut(self, pair: Pair, top: int, left: int, turn: Augmentation) -> np.ndarray:
        """The crop that starts `top` rows and `left` columns inside the box: window, target and, where any
        pair has one, weight, one after the other, uint8, turned."""
        r0, c0, r1, c1 = pair.box
        size, top, left = self._crop_size, r0 + top, c0 + left
        sharp, frames = self._frames(pair.target), []
        for path in (*pair.window, pair.target, *([pair.weight] if pair.weight is not None else [])):
            image = self._frames(path)
            if image.shape != sharp.shape or image.shape[0] < r1 or image.shape[1] < c1:
                raise UserError(
                    f"{path}: is {image.shape[1]} x {image.shape[0]} pixels, which does not fit the video or "
                    "its regions; run the stages again with --overwrite"
                )
            frames.append(image[top : top + size, left : left + size])
        if self._weighted and pair.weight is None:
            frames.append(np.full_like(frames[-1], 255))
        return turn.image(np.stack(frames))
