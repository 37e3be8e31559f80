"""A data set of videos on disk: which videos there are, which frames, in which order."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError

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


def sorted_frames(folder: Path) -> list[Path]:
    """The PNG files of a folder, numerically by the digits of their names (12 before 100, blur_2 before
    blur_10).

    Neighbours in time are neighbours in this list; nothing is computed from the numbers themselves, so gaps
    are allowed. Names of one number (7, 07), and those without digits, follow each other alphabetically.
    Raises UserError as `check_name` does.
    """
    paths = [path for path in folder.glob("*.png") if not path.name.startswith(".")]
    for path in paths:
        check_name(path)
    return sorted(paths, key=frame_order)


def frame_order(path: Path) -> tuple[int, str]:
    """Sort key of a frame's files: all digits of the name read as one number, then the name."""
    return int("".join(filter(str.isdecimal, path.stem)) or 0), path.name


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
        raise UserError(f"{folder / blur}: contains no PNG frames")
    if len(frames) < minimum:
        raise UserError(
            f"{folder / blur}: has {len(frames)} frames; at least {minimum} are needed (dataset.min_frames)"
        )
    truth = sorted_frames(folder / sharp) if (folder / sharp).is_dir() else []
    if truth:
        by_name = {path.name: path for path in truth}
        missing = [path.name for path in frames if path.name not in by_name]
        if missing:
            raise UserError(f"{folder / sharp}: ground truth frame {missing[0]} is missing")
        truth = [by_name[path.name] for path in frames]
    return Video(folder.name, tuple(frames), tuple(truth))
