"""The four metrics of a set's frames, kept on disk video by video."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.checkpoints import sha256
from common.errors import UserError
from common.images import read_image
from common.layout import SETTINGS
from common.metrics import psnr, psnr_column_mean, ssim, ssim_three_axis
from common.runtime.files import read_json, write_json
from common.videos import Video
from DeblurringModel.evaluation import ground_truth

METRICS = {
    "psnr": psnr,
    "ssim": ssim,
    "psnr_column_mean": psnr_column_mean,
    "ssim_three_axis": ssim_three_axis,
}
BORDER = 2
"""Frames at each end of a video that the figures for the table leave out: they have no two neighbours."""


@dataclass(frozen=True)
class Figures:
    """Means by metric: `table` over the frames 2 .. n-3 of every video, `every` over all frames; and their
    numbers."""

    table: dict[str, float]
    every: dict[str, float]
    table_frames: int
    every_frames: int


def evaluate_frames(
    videos: Sequence[Video], restored: Path | None, kept: Path, jobs: int, label: str
) -> Figures:
    """Measure the pictures of `restored` (<video>/<frame>.png), or the blurry frames where that is None.

    kept: folder for the values of each video, which are measured again only when the settings the pictures
    were made with, a picture or a ground truth frame has changed since. jobs: threads. Raises UserError where
    a picture is missing or does not fit its ground truth.
    """
    folders = {
        video: video.frames
        if restored is None
        else tuple(video.restored(restored, position) for position in range(len(video.frames)))
        for video in videos
    }
    for video, pictures in folders.items():
        gone = [path for path in pictures if not path.is_file()]
        if gone:
            raise UserError(
                f"{gone[0]}: not restored ({len(gone)} of {len(pictures)} frames of {video.name} missing)"
            )
    states = {video: _state(video, pictures, restored) for video, pictures in folders.items()}
    values = {video: _known(kept / f"{video.name}.json", states[video]) for video in videos}
    open_videos = [video for video in videos if values[video] is None]
    with ThreadPoolExecutor(jobs) as pool:
        for video in tqdm(
            open_videos, desc=f"measuring {label}", unit="video", disable=not open_videos, dynamic_ncols=True
        ):
            work = partial(_frame, video, folders[video])
            values[video] = dict(zip(video.names, pool.map(work, range(len(video.frames)))))
            write_json(kept / f"{video.name}.json", {"measured_on": states[video], "frames": values[video]})
    frames = [list(values[video].values()) for video in videos]
    every = [frame for video in frames for frame in video]
    table = [frame for video in frames for frame in video[BORDER:-BORDER]]
    return Figures(_means(table), _means(every), len(table), len(every))


def _frame(video: Video, pictures: Sequence[Path], position: int) -> dict[str, float]:
    image = read_image(pictures[position])
    truth = ground_truth(video, position, image)
    return {name: function(image, truth) for name, function in METRICS.items()}


def _state(video: Video, pictures: Sequence[Path], restored: Path | None) -> dict[str, Any]:
    """What the values depend on: how the pictures were made, and which files they and the ground truth
    are."""
    digest = hashlib.sha256()
    for path in (*pictures, *video.sharp):
        facts = path.stat()
        digest.update(f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return {
        "settings": sha256(restored / SETTINGS) if restored is not None else None,
        "files": digest.hexdigest(),
        "metrics": list(METRICS),
    }


def _known(path: Path, state: dict[str, Any]) -> dict[str, dict[str, float]] | None:
    if not path.exists():
        return None
    content = read_json(path)
    return content["frames"] if content.get("measured_on") == state else None


def _means(frames: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(frame[name] for frame in frames) / len(frames) for name in METRICS}
