"""A training data set on disk: `<root>/<video>/{Blur/RGB,Sharp/RGB}/<frame>.png` and
`Condition/<frame>.npy`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.images import open_array
from common.training.frame_cache import FrameCache
from common.videos import check_name, check_size, frame_file, sorted_frames

HINT = "scripts/make_synthetic_dataset.py or scripts/prepare_gopro.py makes the layout"


@dataclass(frozen=True)
class Crop:
    """A crop of successive frames: `frames` are file stems of `video`; rows and columns from (top, left)."""

    video: str
    frames: tuple[str, ...]
    top: int
    left: int
    size: int


class SourceDomain:
    """Reads crops; keeps decoded frames in memory up to a limit, because PNG decoding dominates otherwise."""

    def __init__(self, root: Path, frames: FrameCache | None = None) -> None:
        """frames: None for a cache of its own, of 4 GiB. Raises UserError when `root` has no video in the
        layout."""
        if not root.is_dir():
            raise UserError(f"{root}: no such data folder; {HINT}")
        self.root = root
        self.videos: dict[str, list[str]] = {}
        for folder in sorted(root.iterdir()):
            if (folder / "Blur" / "RGB").is_dir():
                check_name(folder)
                self.videos[folder.name] = [path.stem for path in sorted_frames(folder / "Blur" / "RGB")]
        if not self.videos:
            raise UserError(f"{root}: no <video>/Blur/RGB/<frame>.png inside; {HINT}")
        self._frames = FrameCache(4.0) if frames is None else frames

    def __len__(self) -> int:
        return sum(map(len, self.videos.values()))

    def draw(self, rng: np.random.Generator, size: int, frames: int = 1) -> Crop:
        """A random crop of `frames` successive frames: all runs of frames are equally likely."""
        names = list(self.videos)
        counts = np.array([max(0, len(self.videos[name]) - frames + 1) for name in names])
        if not counts.any():
            raise UserError(f"{self.root}: no video has {frames} frames; lower schedule.frames")
        position = int(rng.integers(counts.sum()))
        index = int(np.searchsorted(np.cumsum(counts), position, side="right"))
        video = names[index]
        start = position - int(counts[:index].sum())
        chosen = tuple(self.videos[video][start : start + frames])
        height, width = self.frame("Blur/RGB", video, chosen[0]).shape[:2]
        if min(height, width) < size:
            raise UserError(
                f"{self.root / video}: frames of {width} x {height} pixels are smaller than "
                f"schedule.crop_size {size}"
            )
        return Crop(
            video, chosen, int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1)), size
        )

    def frame(self, kind: str, video: str, frame: str) -> np.ndarray:
        """One whole frame, uint8 RGB (H, W, 3); `kind` is "Blur/RGB" or "Sharp/RGB"."""
        return self._frames(frame_file(self.root / video / kind, frame))

    def images(self, kind: str, crop: Crop) -> np.ndarray:
        """The crop's pictures, uint8 RGB (T, size, size, 3). UserError where a frame has not the size of the
        first blurry one."""
        expected, pictures = self.frame("Blur/RGB", crop.video, crop.frames[0]).shape, []
        for frame in crop.frames:
            whole = self.frame(kind, crop.video, frame)
            path = self.root / crop.video / kind / f"{frame}.png"
            check_size(path, whole.shape, crop.frames[0], expected)
            pictures.append(whole[crop.top : crop.top + crop.size, crop.left : crop.left + crop.size])
        return np.stack(pictures)

    def condition(self, video: str, frame: str) -> np.ndarray:
        """The whole condition (3, H, W) float32: unit direction x, y and magnitude in pixels.

        UserError for a file that is missing, damaged, has not the size of the frame, or values that are not
        finite.
        """
        return self._finite(self._mapped(video, frame), video, frame)

    def condition_crop(self, crop: Crop, index: int = 0) -> np.ndarray:
        """The part (3, size, size) of the condition of the crop's frame number `index`; no more is read of
        the file, or checked."""
        video, frame = crop.video, crop.frames[index]
        whole = self._mapped(video, frame)
        rows, columns = (slice(start, start + crop.size) for start in (crop.top, crop.left))
        return self._finite(whole[:, rows, columns], video, frame)

    def _condition_path(self, video: str, frame: str) -> Path:
        return self.root / video / "Condition" / f"{frame}.npy"

    def _mapped(self, video: str, frame: str) -> np.ndarray:
        array = open_array(self._condition_path(video, frame), 3, HINT)
        expected = (3, *self.frame("Blur/RGB", video, frame).shape[:2])
        if array.shape != expected:
            raise UserError(
                f"{self._condition_path(video, frame)}: is {array.shape}, the frame needs {expected}; {HINT}"
            )
        return array

    def _finite(self, part: np.ndarray, video: str, frame: str) -> np.ndarray:
        part = np.array(part)
        if not np.isfinite(part).all():
            raise UserError(
                f"{self._condition_path(video, frame)}: contains values that are not finite; {HINT}"
            )
        return part
