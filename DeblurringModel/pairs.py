"""What fine-tuning reads: windows whose middle frame is reblurred, and the sharp region it was made from."""
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.augmentation import Turn
from common.errors import UserError
from common.frame_cache import FrameCache
from common.images import to_tensor
from common.regions_file import Region
from common.seeding import numpy_generator

HINT = "run python BlurringModel/main.py first"
REACH = 2
"""Frames before and after the middle one in a window (released code: five frames)."""


class Pairs:
    """Training pairs of a list of regions, drawn by number: sample k is the same in every run and process."""

    def __init__(self, regions: list[Region], blurring: Path, crop_size: int, seed: int, cache_gib: float) -> None:
        """blurring: stage 3's folder. Raises UserError for a region without two neighbours on both sides, one
        smaller than the crop, or a missing reblurred frame."""
        for region in regions:
            self._check(region, blurring, crop_size)
        self.regions, self._blurring, self._crop_size, self._seed = regions, blurring, crop_size, seed
        self._frames = FrameCache(cache_gib)

    @staticmethod
    def _check(region: Region, blurring: Path, crop_size: int) -> None:
        name = f"{region.video.name}/{region.frame}"
        if not REACH <= region.position < len(region.video.frames) - REACH:
            raise UserError(f"sharp_regions.json: {name} has no two neighbours on both sides; set rsdm.border to 2 or "
                            "more")
        r0, c0, r1, c1 = region.box
        if min(r1 - r0, c1 - c0) < crop_size:
            raise UserError(f"deblurring.crop_size: {crop_size} is larger than a region of {name} ({c1 - c0} x {r1 - r0} "
                            "pixels); lower it, or raise rsdm.min_size")
        if not (blurring / region.video.name / "reblur" / f"{region.frame}.png").exists():
            raise UserError(f"{blurring}: no reblurred frame of {name}; {HINT}")

    def steps_per_epoch(self, batch_size: int) -> int:
        """Steps in which every region is seen once (the last batch is filled up from the front)."""
        return math.ceil(len(self.regions) / batch_size)

    def batch(self, items: list[int], batch_size: int) -> tuple[Tensor, Tensor]:
        """Windows (B, 5, 3, s, s) with the reblurred frame in the middle, and sharp crops (B, 1, 3, s, s); RGB in
        [0, 1]. `items` are global numbers: step * batch_size + place in the batch."""
        pairs = [self._sample(item, batch_size) for item in items]
        windows, sharp = (np.stack(parts) for parts in zip(*pairs))
        return to_tensor(windows), to_tensor(sharp)

    def _sample(self, item: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        per_epoch = self.steps_per_epoch(batch_size) * batch_size
        epoch, place = divmod(item, per_epoch)
        order = numpy_generator(self._seed, "epoch", epoch).permutation(len(self.regions))
        region = self.regions[order[place % len(self.regions)]]
        rng = numpy_generator(self._seed, "pair", item)
        size, (r0, c0, r1, c1) = self._crop_size, region.box
        top, left = r0 + int(rng.integers(r1 - r0 - size + 1)), c0 + int(rng.integers(c1 - c0 - size + 1))
        turn = Turn.draw(rng, rotate=True)
        paths = [region.video.frames[region.position + step] for step in range(-REACH, REACH + 1)]
        sharp = self._frames(paths[REACH])
        paths[REACH] = self._blurring / region.video.name / "reblur" / f"{region.frame}.png"
        frames = []
        for image, path in [(self._frames(path), path) for path in paths] + [(sharp, region.video.frames[region.position])]:
            if image.shape != sharp.shape or image.shape[0] < r1 or image.shape[1] < c1:
                raise UserError(f"{path}: is {image.shape[1]} x {image.shape[0]} pixels, which does not fit the video or "
                                "its regions; run the stages again with --overwrite")
            frames.append(image[top:top + size, left:left + size])
        turned = turn.image(np.stack(frames))
        return turned[:-1], turned[-1:]
