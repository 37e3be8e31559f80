"""Pictures that samples are rendered from: photographs and stills of videos, decoded once, in several
sizes."""

from pathlib import Path

import cv2
import numpy as np

from common.errors import UserError
from common.images import read_image

IMAGES = (".jpg", ".jpeg", ".png")
VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".webm", ".mkv", ".ts", ".mts", ".mpg")
STILL_EVERY = 12
"""Frames between the stills of a video."""
LARGEST = 960
"""Pixels: wider pictures are kept at this width, at which a compressed video is sharp."""
SMALLEST = 120


def find_content(paths: list[Path], label: str = "--content") -> list[Path]:
    """Image and video files named by `paths`, folders opened, in sorted order; `label` is the setting's name
    for messages. UserError where there is nothing."""
    found = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{label} {path}: no such file or folder")
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [file for file in inside if file.suffix.lower() in IMAGES + VIDEOS]
    if not found:
        raise UserError(
            f"{label} {' '.join(map(str, paths))}: no image ({', '.join(IMAGES)}) or video file found"
        )
    return found


def video_stills(path: Path, every: int = STILL_EVERY) -> list[np.ndarray]:
    """Frames 0, `every`, 2 `every`, ... of a video file, uint8 RGB; UserError where none can be decoded."""
    video, stills, index = cv2.VideoCapture(str(path)), [], 0
    while video.grab():
        if index % every == 0:
            ok, frame = video.retrieve()
            if not ok:
                break
            stills.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        index += 1
    video.release()
    if not stills:
        raise UserError(f"{path}: no frame of the video can be decoded; convert it again")
    return stills


class Still:
    """One picture in sizes that differ by the square root of 2."""

    def __init__(self, picture: np.ndarray) -> None:
        """picture: uint8 RGB (H, W, 3)."""
        if max(picture.shape[:2]) > LARGEST:
            picture = _resized(picture, LARGEST / max(picture.shape[:2]))
        self.levels = [picture]
        while min(picture.shape[:2]) * 0.5 ** (len(self.levels) / 2) >= SMALLEST:
            self.levels.append(_resized(picture, 0.5 ** (len(self.levels) / 2)))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the largest level."""
        return self.levels[0].shape[:2]

    def reduced(self, scale: float, least: float) -> tuple[np.ndarray, float]:
        """The smallest level of which at least `least` pixels fall on one, where `scale` of the largest do;
        and how many of its own do."""
        wanted = int(2 * np.log2(max(scale / least, 1)) + 1e-9)
        level = min(wanted, len(self.levels) - 1)
        return self.levels[level], scale * 0.5 ** (level / 2)


def load_stills(paths: list[Path]) -> list[Still]:
    """All images, and the stills of all videos."""
    return [still for path in paths for still in stills_of(path)]


def stills_of(path: Path) -> list[Still]:
    """An image, or the stills of a video."""
    stills = [read_image(path)] if path.suffix.lower() in IMAGES else video_stills(path)
    return [Still(still) for still in stills]


def _resized(picture: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
