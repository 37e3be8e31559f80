"""A data set of videos on disk: which videos there are, which frames, in which order."""

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.images import read_image
from common.layout import restored_file
from common.runtime.kept import Kept

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of image files that are frames."""
_WHOLE, _DECIMAL = re.compile(r"(\d+)"), re.compile(r"(\d+(?:\.\d+)?)")
_POINT = re.compile(r"\d\.(\d+)(?![\d.])")
_COUNTER = 0.2
"""Share of the numbers of a range from which they are a counter with gaps."""

LAYOUT = "expected <root>/<video>/Blur/RGB/<frame>.png (dataset.blur names the inner folder)"


@dataclass(frozen=True)
class Video:
    """One video: its name, its blurry frames in order, and the matching ground truth frames (empty if
    none)."""

    name: str
    frames: tuple[Path, ...]
    sharp: tuple[Path, ...]

    @property
    def names(self) -> list[str]:
        """The frames' names without ending, in order."""
        return [path.stem for path in self.frames]

    def at(self, position: int) -> tuple[str, str]:
        """Names of the video and of a frame, without ending."""
        return self.name, self.frames[position].stem

    def restored(self, folder: Path, position: int) -> Path:
        """A frame of the result in the folder of a variant; see `common.layout.restored_file`."""
        return restored_file(folder, *self.at(position))


class VideoFrames:
    """Reads a video's frames, which all have the size of the first one. Threads may share it."""

    def __init__(self, video: Video, kept: Kept | None = None) -> None:
        """kept: where decoded frames are kept; without it each is decoded whenever it is read."""
        self._paths, self._kept = video.frames, kept or Kept(0)
        self._shape: tuple[int, ...] | None = None

    def read(self, position: int) -> np.ndarray:
        """The frame uint8 RGB (H, W, 3), not to be changed in place; UserError where it has another size than
        the video's first frame."""
        image, first = self._decoded(self._paths[position]), self._paths[0]
        if self._shape is None:
            self._shape = image.shape if position == 0 else self._decoded(first).shape
        check_size(self._paths[position], image.shape, first.name, self._shape)
        return image

    def _decoded(self, path: Path) -> np.ndarray:
        return self._kept(path, lambda: read_image(path))


class FrameReader:
    """Reads the frames of several videos, each once while the memory that `kept` may use lasts. Threads may
    share it."""

    def __init__(self, videos: Iterable[Video], kept: Kept | None = None) -> None:
        self._videos = {video.name: VideoFrames(video, kept) for video in videos}

    def read(self, video: Video, position: int) -> np.ndarray:
        """See `VideoFrames.read`."""
        return self._videos[video.name].read(position)


def check_size(
    path: Path,
    shape: tuple[int, ...],
    first: str,
    expected: tuple[int, ...],
    whole: str = "video",
) -> None:
    """UserError where a frame of `shape` (H, W, 3), read from `path`, has not the shape of the frame named
    `first`. whole: what the frames belong to, for the message."""
    if shape != expected:
        raise UserError(
            f"{path}: is {shape[1]} x {shape[0]} pixels, {first} is {expected[1]} x {expected[0]}; "
            f"all frames of a {whole} need one size"
        )


def sorted_frames(folder: Path) -> list[Path]:
    """The image files of a folder (FRAME_SUFFIXES, in capitals too) in natural order: number by number, 12
    before 100, blur_2 before blur_10, seq1_10 before seq2_4.

    Neighbours in time are neighbours in this list; nothing is computed from the numbers themselves, so gaps
    are allowed. Names of one number (7, 07) follow each other alphabetically; those without digits come
    first. Raises UserError as `check_name` does, for two files of one name but for the ending, and for a
    link whose target is missing.
    """
    try:
        found = [path for path in folder.iterdir() if is_frame(path)]
    except FileNotFoundError:
        return []
    for path in found:
        check_name(path)
        check_link(path)
    paths = in_order(found)
    stems: dict[str, Path] = {}
    for path in paths:
        other = stems.setdefault(path.stem, path)
        if other != path:
            raise UserError(
                f"{folder}: {other.name} and {path.name} are two files of one frame; remove one of them"
            )
    return paths


def is_frame(path: Path) -> bool:
    """Whether a file's name is that of a frame; hidden files are none."""
    return path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".")


def check_link(path: Path) -> None:
    """UserError for a symbolic link whose target is missing."""
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path}: a link to {os.readlink(path)}, which is missing; copy the file again")


def frame_file(folder: Path, name: str) -> Path:
    """The frame of this name, without ending, in a folder; the PNG file's path where there is none."""
    png = folder / f"{name}.png"
    if png.exists():
        return png
    return next((path for path in folder.glob(f"{glob.escape(name)}.*") if is_frame(path)), png)


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Files in natural order of their names; see `sorted_frames`.

    A point between two numbers is a decimal one (t0.25 before t0.5) where the digits after it differ in
    number, and begin with zeros or are few of the numbers between the smallest and the largest.
    """
    paths = list(paths)
    parts = {part for path in paths for part in _POINT.findall(path.stem)}
    counted = {int(part) for part in parts}
    decimal = len({len(part) for part in parts}) > 1 and (
        len(counted) < _COUNTER * (max(counted) - min(counted) + 1)
        or any(part.startswith("0") for part in parts if len(part) > 1)
    )
    number = _DECIMAL if decimal else _WHOLE
    return sorted(paths, key=lambda path: _order(path, number))


def _order(path: Path, number: re.Pattern) -> tuple[bool, list[str | Fraction], str]:
    """Text and numbers of a name take turns, so that like is compared with like."""
    pieces: list[str | Fraction] = list(number.split(path.stem))
    pieces[1::2] = [Fraction(piece) for piece in pieces[1::2]]
    pieces[::2] = [piece.casefold() for piece in pieces[::2]]
    return len(pieces) > 1, pieces, path.name


def check_name(path: Path) -> None:
    """UserError for a file or folder name with control characters (a line break) or bytes that are not UTF-8:
    the stages could not pass it on in JSON, or name it in one line."""
    if any(
        ord(character) < 32 or 0x7F <= ord(character) < 0xA0 or 0xD800 <= ord(character) < 0xE000
        for character in path.name
    ):
        raise UserError(f"{path.parent}: the name {path.name!r} in it is not text; rename it")


def find_videos(
    root: Path,
    blur: str = "Blur/RGB",
    sharp: str = "Sharp/RGB",
    only: list[str] | None = None,
    minimum: int = 5,
) -> list[Video]:
    """All videos below `root`, sorted by name.

    blur, sharp: inner folders. only: names to keep (all where empty). minimum: fewest frames a video may
    have.
    Raises UserError for a missing or empty data set or video, unknown names, too few frames, or ground truth
    frames whose names differ from the blurry ones.
    """
    if not root.is_dir():
        raise UserError(f"{root}: dataset.root does not exist; {LAYOUT}")
    try:
        names = sorted(path.name for path in root.iterdir() if (path / blur).is_dir())
    except OSError as error:
        raise UserError(f"{root}: dataset.root cannot be read ({error.strerror})") from None
    if not names:
        raise UserError(f"{root}: no video found; {LAYOUT}")
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise UserError(
            f"dataset.videos: {unknown[0]} is not among the videos of {root}: {', '.join(names[:8])}"
        )
    return [_video(root / name, blur, sharp, minimum) for name in names if not only or name in only]


def _video(folder: Path, blur: str, sharp: str, minimum: int) -> Video:
    frames = sorted_frames(folder / blur)
    check_name(folder)
    if not frames:
        raise UserError(f"{folder / blur}: contains no frames ({', '.join(FRAME_SUFFIXES)})")
    if len(frames) < minimum:
        raise UserError(
            f"{folder / blur}: has {len(frames)} frames; at least {minimum} are needed (dataset.min_frames)"
        )
    truth = sorted_frames(folder / sharp) if (folder / sharp).is_dir() else []
    if truth:
        by_name = {path.stem: path for path in truth}
        missing = [path.name for path in frames if path.stem not in by_name]
        if missing:
            raise UserError(f"{folder / sharp}: ground truth frame {missing[0]} is missing")
        truth = [by_name[path.stem] for path in frames]
    return Video(folder.name, tuple(frames), tuple(truth))
