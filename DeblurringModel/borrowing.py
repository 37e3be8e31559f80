"""Stage 4, beside the network: borrow from the video's own sharp moments.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png
Writes   <output>/deblurring/<model>/aligned/<video>/
             picture/<frame>.png   what was borrowed, over the blurry frame
             weight/<frame>.png    grey: 255 where a pixel is borrowed entirely
             source/<frame>.png    grey: 128 + how many frames later its source is; 0: nothing borrowed
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from common.config import as_dict
from common.images import write_image
from common.layout import ALIGNED, PICTURE, SOURCE, WEIGHT
from common.runtime.background import Writer
from common.runtime.distributed import World
from common.stage import Stage
from common.videos import Video, VideoFrames
from DeblurringModel.aligned import fusion, targets
from DeblurringModel.aligned.warping import Borrowed
from DeblurringModel.variants import network_layout, work_name

THIS_FRAME = 128
"""What a source picture holds for the frame itself, were it borrowed from."""
Wanted = Mapping[str, Collection[int]] | None
"""Video name -> positions of the frames wanted; None: all frames of all videos."""


def borrow(stage: Stage, only: Wanted = None) -> Path:
    """Borrow for the wanted frames of every video; returns the folder. What exists is not made again."""
    layout = network_layout(stage.config)
    folder, work = layout.variant(ALIGNED), work_name(layout, "borrowing")
    stage.claim(
        folder,
        {"aligned": as_dict(stage.config.deblurring.aligned), "dataset": stage.inputs()},
        work,
    )
    reach, workers = stage.config.deblurring.aligned.reach, stage.config.runtime.workers
    for video in stage.videos:
        wanted = wanted_positions(video, only)
        missing = [
            at for at in share_of(wanted, stage.world) if not (folder / file_of(video, WEIGHT, at)).exists()
        ]
        if not missing:
            continue
        with stage.timed(work), Writer(workers) as write:
            for position, frame, borrowed in stage.progress(
                _borrowed(video, missing, reach, workers),
                f"stage 4, borrowing {video.name}",
                "frame",
                len(missing),
            ):
                write(_write, folder, video, position, frame, borrowed)
    stage.world.barrier()
    stage.say(f"stage 4: {ALIGNED} -> {folder}")
    return folder


def _borrowed(
    video: Video,
    positions: Collection[int],
    reach: int,
    workers: int,
) -> Iterator[tuple[int, np.ndarray, Borrowed]]:
    frames = VideoFrames(video)
    for position, borrowed in targets.borrow(
        frames.read, len(video.frames), positions, reach, workers=workers
    ):
        yield position, frames.read(position), borrowed


def _write(folder: Path, video: Video, position: int, frame: np.ndarray, borrowed: Borrowed) -> None:
    offset = np.where(borrowed.source < 0, 0, THIS_FRAME + borrowed.source - position)
    weight = (borrowed.weight * 255 + 0.5).astype(np.uint8)
    write_image(folder / file_of(video, PICTURE, position), fusion.laid_over(frame, borrowed))
    write_image(folder / file_of(video, SOURCE, position), offset.astype(np.uint8))
    # The weight comes last: where it is, the frame is complete.
    write_image(folder / file_of(video, WEIGHT, position), weight)


def wanted_positions(video: Video, only: Wanted) -> list[int]:
    """Positions of the wanted frames of `video`, in order."""
    return sorted(range(len(video.frames)) if only is None else only.get(video.name, ()))


def share_of(positions: list[int], world: World) -> list[int]:
    """Those of `positions` that this process works on."""
    # A run of frames for each process: neighbours in time read the same frames.
    rank, size = world.rank, world.size
    return positions[len(positions) * rank // size : len(positions) * (rank + 1) // size]


def file_of(video: Video, kind: str, position: int) -> Path:
    """What was borrowed for a frame, below the folder of all of it; kind: PICTURE, WEIGHT or SOURCE."""
    return Path(video.name) / kind / f"{video.names[position]}.png"
