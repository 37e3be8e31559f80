"""What is known about the published data sets, and what the prepare scripts share: pairs, links, checks."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.runtime.files import read_json
from common.videos import Video, find_videos, sorted_frames

Pair = tuple[Path, Path]
"""A blurry frame and its ground truth."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_SHOWN = 5


def published() -> dict[str, Any]:
    """The published figures and the facts about the data sets, scripts/evaluation/paper/published.json."""
    return read_json(Path(__file__).with_name("evaluation") / "paper" / "published.json")


def png_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, read from the file's header. Raises UserError for what is no PNG file."""
    try:
        with open(path, "rb") as file:
            header = file.read(24)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if len(header) < 24 or not header.startswith(_PNG_START):
        raise UserError(f"{path}: not a PNG image; download or unpack it again")
    return struct.unpack(">II", header[16:24])


def deviations(name: str, videos: Sequence[Video]) -> list[str]:
    """In which ways `videos` are not the published set `name` (a key of `published()["sets"]`): number of
    videos, frames in a video, size. Empty where nothing known contradicts."""
    facts, found = published()["sets"][name], []
    if facts["videos"] is not None and len(videos) != facts["videos"]:
        found.append(f"{len(videos)} videos, the published set has {facts['videos']}")
    if facts["frames"] is not None:
        low, high = facts["frames"]
        odd = [
            f"{video.name} ({len(video.frames)})" for video in videos if not low <= len(video.frames) <= high
        ]
        expected = str(low) if low == high else f"about {(low + high) // 2}"
        found += _listed(odd, f"frames in a video, the published set has {expected}")
    if facts["size"] is not None:
        sizes = [
            (f"{video.name}/{frame.name}", *png_size(frame)) for video in videos for frame in video.frames
        ]
        odd = [
            f"{frame} ({width} x {height})"
            for frame, width, height in sizes
            if [width, height] != facts["size"]
        ]
        found += _listed(odd, "frame size, the published set has {} x {} pixels".format(*facts["size"]))
    return found


def _listed(items: list[str], what: str) -> list[str]:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return [f"{what}: {', '.join(items[:_SHOWN])}{more}"] if items else []


def number(path: Path) -> int:
    """The number in a frame's name: all its digits, as in `sorted_frames`."""
    return int("".join(filter(str.isdecimal, path.stem)) or 0)


def pair_by_number(blur: Iterable[Path], sharp: Iterable[Path], where: str) -> tuple[list[Pair], list[str]]:
    """Blurry frames and ground truth of the same number, in numerical order, and a line for each frame that
    has no counterpart. `where` names the video in those lines."""
    first, second = ({number(path): path for path in sorted(paths, key=number)} for paths in (blur, sharp))
    missing = [
        f"{where}: no ground truth for {path.name}" for key, path in first.items() if key not in second
    ]
    missing += [
        f"{where}: no blurry frame for {path.name}" for key, path in second.items() if key not in first
    ]
    return [(path, second[key]) for key, path in first.items() if key in second], missing


def link(source: Path, target: Path) -> None:
    """Make `target` a symbolic link to `source`. An earlier link is replaced, a real file or folder is
    refused."""
    source = source.resolve()
    if target.is_symlink():
        if target.resolve() == source:
            return
        target.unlink()
    elif target.exists():
        if target.resolve() == source:
            return
        raise UserError(
            f"{target}: in the way, no link of an earlier preparation; remove it or choose another --out"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source, target_is_directory=source.is_dir())


def unexpected_entries(folder: Path, expected: Iterable[str]) -> list[str]:
    """A line for each entry of `folder` that this preparation did not make: it would be measured with the
    rest."""
    names = set(expected)
    return (
        [
            f"{path}: not part of this preparation; remove it"
            for path in sorted(folder.iterdir())
            if path.name not in names
        ]
        if folder.is_dir()
        else []
    )


def finish(name: str, root: Path, problems: list[str]) -> None:
    """Print what lies in `root`, how it differs from the published set, and what is missing.

    Raises UserError when anything is missing.
    """
    title = published()["sets"][name]["title"]
    for problem in problems:
        print(f"missing or wrong: {problem}")
    if problems:
        raise UserError(f"{title}: {len(problems)} problem(s), listed above; correct them and run this again")
    videos = find_videos(root)
    sizes = sorted({png_size(video.frames[0]) for video in videos})
    frames = sorted({len(video.frames) for video in videos})
    shown = ", ".join(f"{width} x {height}" for width, height in sizes[:_SHOWN])
    more = ", ..." if len(sizes) > _SHOWN else ""
    print(f"{title}: {len(videos)} videos of {_span(frames)} frames, {shown}{more} -> {root}")
    for line in deviations(name, videos):
        print(f"warning: {line}")


def _span(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def frames_in(folder: Path) -> list[Path]:
    """The PNG frames of a folder in numerical order; empty where there is no such folder."""
    return sorted_frames(folder) if folder.is_dir() else []
