"""sharp_regions.json as stage 1 keeps it: read where it is whole, written where it says something else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.regions_file import read_regions
from common.runtime.files import read_json, write_json
from common.videos import Video


def kept_choice(path: Path, videos: Sequence[Video]) -> dict | None:
    """What the file holds, {"sharp_regions": [...], "videos": {...}}, where it is about all of these videos
    and every box is one of a frame of theirs; None for a missing, broken or other file."""
    if not path.exists():
        return None
    try:
        content = read_json(path)
        regions = read_regions(path, list(videos))
        about = list(content["videos"])
        complete = about == [video.name for video in videos] and len(regions) == len(content["sharp_regions"])
        named = all({"video", "frame"} <= set(region) for region in content["sharp_regions"])
    except (UserError, KeyError, TypeError):
        return None
    return content if complete and named else None


def write_choice(path: Path, choice: dict) -> None:
    """Write the file unless it says the same already."""
    try:
        kept = read_json(path) if path.exists() else None
    except UserError:
        kept = None
    if not _same(kept, choice):
        write_json(path, choice)


def _same(kept: Any, choice: dict) -> bool:
    """Whether `kept` says what `choice` does. Their paths may differ: these name the data set's folder, and
    one that was renamed would get a new file, which later stages, by its hash, would take for another
    choice."""
    try:
        without = [[{**region, "path": None} for region in of["sharp_regions"]] for of in (kept, choice)]
        return without[0] == without[1] and kept["videos"] == choice["videos"]
    except (KeyError, TypeError):
        return False
