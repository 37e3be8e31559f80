"""Clips, that is video files and folders of images, read frame by frame."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.checkpoints import sha256
from common.errors import UserError
from common.images import read_with_changes
from common.videos import FRAME_SUFFIXES, check_link, check_name, check_size, in_order, is_frame
from scripts.video.colour import BT709, Colour
from scripts.video.containers import KINDS
from scripts.video.film import Film
from scripts.video.reading import VideoReader

VIDEO_SUFFIXES = tuple(KINDS)
"""Video files that can be written; any that FFmpeg's libraries decode can be read."""
IMAGES_FPS = 25.0
_OF_IMAGES = Colour(BT709, BT709, BT709)


@dataclass
class Source:
    """A clip. `notes` (messages on what was converted or is unusual), `film` and `fps` are complete when all
    frames are read. keep_going: whether a damaged video file is read as far as it goes."""

    path: Path
    fps: float = IMAGES_FPS
    keep_going: bool = False
    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """Names of the images without ending, empty for a video file."""
    film: Film | None = None
    """How the frames are shown."""
    missing: str = ""
    """Which frames of a damaged file are lost, as text."""

    @property
    def is_video(self) -> bool:
        """A video file, not a folder of images."""
        return self.path.is_file()

    @property
    def name(self) -> str:
        """Its name without a file's ending; of a link the link's own."""
        path = self.path.absolute()
        return path.stem if self.is_video else path.name or path.resolve().name

    def frames(self) -> Iterator[np.ndarray]:
        """All frames, uint8 RGB (H, W, 3), as many as can be decoded. Raises UserError for what cannot be
        read."""
        return self._decoded() if self.is_video else self._images()

    def identity(self) -> str:
        """What tells this clip from another: a digest of the file, or of the images' names, sizes and
        times."""
        if self.is_video:
            return sha256(self.path)
        listed = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in images_of(self.path)]
        return hashlib.sha256(repr(listed).encode()).hexdigest()

    def _decoded(self) -> Iterator[np.ndarray]:
        reader = VideoReader(self.path, self.keep_going)
        yield from reader.pictures()
        self.fps, self.notes, self.missing = reader.rate, self.notes + reader.notes, reader.missing
        self.film = Film(reader.times, reader.base, reader.end, reader.rate, reader.colour, reader.aspect)

    def _images(self) -> Iterator[np.ndarray]:
        paths, kinds, first = images_of(self.path), {}, None
        self.names = [path.stem for path in paths]
        for path in paths:
            image, changes = read_with_changes(path)
            first = first or (path.name, image.shape)
            check_size(path, image.shape, *first, "clip")
            for kind in changes:
                kinds[kind] = kinds.get(kind, 0) + 1
            yield image
        self.notes += [f"{count} of {len(paths)} images {kind}" for kind, count in kinds.items()]
        base = 1 / Fraction(self.fps).limit_denominator(1001)
        self.film = Film(list(range(len(paths))), base, len(paths), self.fps, _OF_IMAGES)


def open_source(path: Path) -> Source:
    """The clip at `path`, a video file or a folder of images; UserError for anything else."""
    path = path.expanduser()
    check_name(path.absolute())
    if path.is_dir():
        found = images_of(path)
        if not found:
            raise UserError(f"{path}: holds no images ({', '.join(FRAME_SUFFIXES)})")
        stems = [image.stem for image in found]
        double = next((stem for stem in stems if stems.count(stem) > 1), None)
        if double is not None:
            raise UserError(f"{path}: holds several images named {double}; keep one of them")
        others = sum(entry.is_file() and not entry.name.startswith(".") for entry in path.iterdir()) - len(
            found
        )
        return Source(path, notes=[f"{others} other files passed over"] if others else [])
    if not path.is_file():
        raise UserError(f"{path}: does not exist; expected a video file or a folder of images")
    if path.suffix.lower() in FRAME_SUFFIXES:
        raise UserError(f"{path}: is one image; expected a video file or a folder of images")
    return Source(path)


def images_of(folder: Path) -> list[Path]:
    """The image files of a folder in natural order. Raises UserError for a link whose target is missing."""
    found = [path for path in folder.iterdir() if is_frame(path) and not path.is_dir()]
    for path in found:
        check_link(path)
    return in_order(found)
