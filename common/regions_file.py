"""The list of sharp regions that stage 1 writes and the others read; the authors' own file reads as well."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.errors import UserError
from common.runtime.files import read_json
from common.videos import Video

HINT = "run python RSDM/main.py first"


@dataclass(frozen=True)
class Region:
    """A sharp box (r0, c0, r1, c1), maxima exclusive, in frame number `position` of `video`."""

    video: Video
    position: int
    box: tuple[int, int, int, int]

    @property
    def frame(self) -> str:
        """The frame's name without ending."""
        return self.video.names[self.position]


def read_regions(path: Path, videos: list[Video]) -> list[Region]:
    """All regions, in the file's order, of the given videos; those of other videos are passed over.

    The video and frame come from the entries of the same name, or else from the end of `path`
    (.../<video>/ori/<frame>.png). Raises UserError for a missing or malformed file, a frame the video does
    not have, and when nothing is left.
    """
    if not path.exists():
        raise UserError(f"{path}: missing; {HINT}")
    content = read_json(path)
    entries = content.get("sharp_regions") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UserError(f'{path}: expected {{"sharp_regions": [...]}}; {HINT}')
    by_name = {video.name: video for video in videos}
    positions = {video.name: {name: index for index, name in enumerate(video.names)} for video in videos}
    regions = []
    for number, entry in enumerate(entries):
        name, frame, box = _parse(entry, f"{path}: sharp_regions[{number}]")
        if name not in by_name:
            continue
        if frame not in positions[name]:
            raise UserError(f"{path}: sharp_regions[{number}]: video {name} has no frame {frame}")
        regions.append(Region(by_name[name], positions[name][frame], box))
    if not regions:
        raise UserError(f"{path}: holds no region of the videos in dataset.root; {HINT}")
    return regions


def _parse(entry: object, where: str) -> tuple[str, str, tuple[int, int, int, int]]:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected path and bbox, found {entry!r}")
    box = entry.get("bbox")
    if not (
        isinstance(box, list)
        and len(box) == 4
        and all(type(side) is int for side in box)
        and 0 <= box[0] < box[2]
        and 0 <= box[1] < box[3]
    ):
        raise UserError(f"{where}: bbox has to be four whole numbers [r0, c0, r1, c1], found {box!r}")
    parts = PurePosixPath(str(entry.get("path", "")).replace("\\", "/")).parts
    name = entry.get("video", parts[-3] if len(parts) >= 3 else None)
    frame = entry.get("frame", PurePosixPath(parts[-1]).stem if parts else None)
    if not isinstance(name, str) or not isinstance(frame, str):
        raise UserError(f"{where}: path has to end in <video>/ori/<frame>.png")
    return name, frame, tuple(box)


def by_frame(regions: list[Region]) -> dict[tuple[str, int], list[Region]]:
    """Regions by (video name, frame position): frames in the order of first mention, each frame once."""
    frames: dict[tuple[str, int], list[Region]] = {}
    for region in regions:
        frames.setdefault((region.video.name, region.position), []).append(region)
    return frames
