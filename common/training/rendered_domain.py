"""Training data that are rendered while the training runs: no sample comes twice, and nothing lies on
disk."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.errors import UserError
from common.rendering.content import find_content, load_stills
from common.rendering.real import LENGTHS, Clip, render_real


@dataclass(frozen=True, eq=False)
class RenderedCrop:
    """A rendered crop of successive frames; what `common.training.source_domain.Crop` is on disk."""

    clip: Clip


class RenderedDomain:
    """Draws crops of preset `real`; to the trainers what `SourceDomain` is for a data set on disk."""

    def __init__(
        self,
        content: list[Path],
        sharp_as: str = "scene",
        longest: float = LENGTHS[1],
        encoded: float = 0.0,
    ) -> None:
        """content: image files, folders of images, video files. sharp_as, longest, encoded: see `render_real` (the
        larger of its `lengths`; its `encoded_share`). UserError where there is no content."""
        # Each worker thread renders by itself.
        cv2.setNumThreads(1)
        self._sharp_as, self._lengths, self._encoded = sharp_as, (LENGTHS[0], longest), encoded
        self._stills = load_stills(find_content(content, "data.content"))
        self._lock = threading.Lock()
        self.seconds = 0.0
        """Processor time of all rendering so far."""

    def __len__(self) -> int:
        raise UserError("schedule.epochs: rendered data have no end; set schedule.steps")

    def draw(self, rng: np.random.Generator, size: int, frames: int = 1) -> RenderedCrop:
        """A crop of `size` x `size` pixels and `frames` successive frames; `rng` alone decides what is in
        it."""
        if size % 2:
            raise UserError(f"schedule.crop_size: rendered crops need an even size, found {size}")
        start = time.thread_time()
        stream = np.random.default_rng(int(rng.integers(2**63)))
        clip = render_real(
            self._stills,
            frames,
            size,
            size,
            stream,
            lengths=self._lengths,
            sharp_as=self._sharp_as,
            encoded_share=self._encoded,
        )
        crop = RenderedCrop(clip)
        with self._lock:
            self.seconds += time.thread_time() - start
        return crop

    def images(self, kind: str, crop: RenderedCrop) -> np.ndarray:
        """The crop's pictures, uint8 RGB (T, size, size, 3); `kind` is "Blur/RGB" or "Sharp/RGB"."""
        return crop.clip.blurry if kind == "Blur/RGB" else crop.clip.sharp

    def condition_crop(self, crop: RenderedCrop, index: int = 0) -> np.ndarray:
        """(3, size, size) float32 of the crop's frame number `index`: unit direction x, y and magnitude in
        pixels."""
        return crop.clip.condition(index)
