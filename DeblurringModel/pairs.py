"""What fine-tuning reads: windows whose middle frame (or every frame) is reblurred, and the sharp region it
was made from."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from common.errors import UserError
from common.images import to_tensor
from common.regions_file import Region
from common.runtime.seeding import numpy_generator
from common.training.augmentation import Augmentation
from common.training.frame_cache import FrameCache
from common.videos import Video

HINT = "run python BlurringModel/main.py first"
REACH = 2
"""Frames before and after the middle one in a window (released code: five frames)."""


@dataclass(frozen=True)
class Pair:
    """Pictures of a window in order, the picture that is its middle frame's target, the box to learn from,
    and <video>/<frame> of the middle frame."""

    window: tuple[Path, ...]
    target: Path
    box: tuple[int, int, int, int]
    name: str


def reblurred_pairs(regions: list[Region], blurring: Path) -> list[Pair]:
    """The pairs that stage 3 made in the folder `blurring`, region after region.

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
            around = _around(region.video, region.position)
            windows = [(*around[:REACH], reblur, *around[REACH + 1 :])]
        clean = folder / "target"
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
                _around(video, position), video.sharp[position], box, f"{video.name}/{video.names[position]}"
            )
            for position in range(REACH, len(video.frames) - REACH)
        ]
    return pairs


def rehearsal_pairs(regions: list[Region], restored: Path, count: int) -> list[Pair]:
    """`count` pairs of each region in which the network rehearses what it could do before: the window as it
    is, and for a target what the unadapted network made of its middle frame, below the folder `restored`.

    Sharp frames are what the source domain's network is good at, and what fine-tuning on blur otherwise makes
    it forget (Li and Hoiem, Learning without Forgetting, 2016).
    """
    pairs = []
    for region in regions:
        video, position = region.video, region.position
        target = video.restored(restored, position)
        pairs += count * [Pair(_around(video, position), target, region.box, f"{video.name}/{region.frame}")]
    return pairs


def hold_out(pairs: list[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """(those to learn from, a fifth of them, at least one, to judge by), drawn by `seed`, each in the order
    given.

    All pairs of one patch stay together: windows of a patch that was learned from would judge what was
    learned by heart. Raises UserError for fewer than two patches.
    """
    patches = list(dict.fromkeys((pair.name, pair.box) for pair in pairs))
    if len(patches) < 2:
        raise UserError(
            "deblurring.select: best_pairs holds out a fifth of the sharp regions and needs at least 2, found "
            f"{len(patches)}; use last, or raise rsdm.ratio"
        )
    order = numpy_generator(seed, "held out").permutation(len(patches))
    held_out = {patches[index] for index in order[: max(1, len(patches) // 5)]}
    return (
        [pair for pair in pairs if (pair.name, pair.box) not in held_out],
        [pair for pair in pairs if (pair.name, pair.box) in held_out],
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


def _around(video: Video, position: int) -> tuple[Path, ...]:
    return video.frames[position - REACH : position + REACH + 1]


class Pairs:
    """Training samples cut from a list of pairs, drawn by number: sample k is the same in every run and
    process."""

    def __init__(self, pairs: list[Pair], crop_size: int, seed: int, frames: FrameCache) -> None:
        """Raises UserError for a box smaller than the crop."""
        check_crop(pairs, crop_size)
        self._pairs, self._crop_size, self._seed = pairs, crop_size, seed
        self._frames = frames

    def __len__(self) -> int:
        return len(self._pairs)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Steps in which every pair is seen once (the last batch is filled up from the front)."""
        return math.ceil(len(self._pairs) / batch_size)

    def batch(self, items: list[int], batch_size: int) -> tuple[Tensor, Tensor]:
        """Windows (B, 5, 3, s, s) and sharp crops (B, 1, 3, s, s) of their middle frames; RGB in [0, 1].
        `items` are
        global numbers: step * batch_size + place in the batch."""
        samples = [self._sample(item, batch_size) for item in items]
        windows, sharp = (np.stack(parts) for parts in zip(*samples))
        return to_tensor(windows), to_tensor(sharp)

    def _sample(self, item: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        per_epoch = self.steps_per_epoch(batch_size) * batch_size
        epoch, place = divmod(item, per_epoch)
        order = numpy_generator(self._seed, "epoch", epoch).permutation(len(self._pairs))
        pair = self._pairs[order[place % len(self._pairs)]]
        rng = numpy_generator(self._seed, "pair", item)
        room = self._room(pair)
        top, left = (int(rng.integers(space + 1)) for space in room)
        return self._cut(pair, top, left, Augmentation.draw(rng, rotate=True))

    def centre(self, index: int) -> tuple[Tensor, Tensor]:
        """Window (1, 5, 3, s, s) and sharp crop (1, 1, 3, s, s) from the middle of the box of pair
        `index`."""
        pair = self._pairs[index]
        top, left = (space // 2 for space in self._room(pair))
        windows, sharp = self._cut(pair, top, left, Augmentation())
        return to_tensor(windows[None]), to_tensor(sharp[None])

    def _room(self, pair: Pair) -> tuple[int, int]:
        """Rows and columns by which the crop can move inside the pair's box."""
        r0, c0, r1, c1 = pair.box
        return r1 - r0 - self._crop_size, c1 - c0 - self._crop_size

    def _cut(self, pair: Pair, top: int, left: int, turn: Augmentation) -> tuple[np.ndarray, np.ndarray]:
        """The crop that starts `top` rows and `left` columns inside the box: window and target, uint8,
        turned."""
        r0, c0, r1, c1 = pair.box
        size, top, left = self._crop_size, r0 + top, c0 + left
        sharp, frames = self._frames(pair.target), []
        for path in (*pair.window, pair.target):
            image = self._frames(path)
            if image.shape != sharp.shape or image.shape[0] < r1 or image.shape[1] < c1:
                raise UserError(
                    f"{path}: is {image.shape[1]} x {image.shape[0]} pixels, which does not fit the video or "
                    "its regions; run the stages again with --overwrite"
                )
            frames.append(image[top : top + size, left : left + size])
        turned = turn.image(np.stack(frames))
        return turned[:-1], turned[-1:]
