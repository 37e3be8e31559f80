"""sharp_regions.json as stage 1 keeps it: read where it is whole, written where it says something else, and in words
where it says that there is nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.config import RsdmConfig
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


def why_left_out(config: RsdmConfig, target: int, frames: int, size: tuple[int, int]) -> str:
    """Why a video of so many frames of `size` (height, width) has no region, of `target` that were wanted."""
    if not target:
        return _none_wanted(config, frames)
    side, (height, width) = config.min_size, size
    why = "fits" if config.patches == "random" else "is sharp at any threshold"
    return f"no region of {side} x {side} pixels {why} (frames are {width} x {height}, {frames} of them)"


def why_none(config: RsdmConfig, wanted: bool, frames: int) -> str:
    """Why no video has a region, and what to do. wanted: whether there was to be one; frames: of the longest
    video."""
    if not wanted:
        return f"rsdm.ratio: {_none_wanted(config, frames)}; raise it, or set rsdm.min_regions=1"
    side = config.min_size
    return (
        f"rsdm.min_size: no video has a sharp region of {side} x {side} pixels; use a smaller rsdm.min_size "
        "(and deblurring.crop_size), or videos with more frames"
    )


def _none_wanted(config: RsdmConfig, frames: int) -> str:
    return f"{config.ratio:g} of {frames} frames is less than one region (rsdm.ratio, rsdm.min_regions)"
