"""Stage 4, beside the network: borrow from the video's own sharp moments, fuse with what a network restored.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, and for the fused result a folder of restored videos
Writes   <output>/deblurring/<model>/aligned/<video>/
             picture/<frame>.png   what was borrowed, over the blurry frame
             weight/<frame>.png    grey: 255 where a pixel is borrowed entirely
             source/<frame>.png    grey: 128 + how many frames later its source is; 0: nothing borrowed
         <output>/deblurring/<model>/fused/<video>/<frame>.png, the network's result where nothing is borrowed
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from common.checkpoints import sha256
from common.config import as_dict
from common.errors import UserError
from common.images import read_image, write_image
from common.layout import ALIGNED, FUSED, PICTURE, SETTINGS, SOURCE, WEIGHT
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
        wanted = _wanted(video, only)
        missing = [
            at for at in _share(wanted, stage.world) if not (folder / _file(video, WEIGHT, at)).exists()
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
    write_image(folder / _file(video, PICTURE, position), fusion.laid_over(frame, borrowed))
    write_image(folder / _file(video, SOURCE, position), offset.astype(np.uint8))
    # The weight comes last: where it is, the frame is complete.
    write_image(folder / _file(video, WEIGHT, position), weight)


def fuse(stage: Stage, restored: Mapping[str, Path], only: Wanted = None) -> Path:
    """Fuse what was borrowed with the restored videos; returns the folder. Frames that exist are not made
    again.

    restored: video name -> folder with its restored frames, one level below the folder of a variant.
    """
    layout = network_layout(stage.config)
    aligned, folder, work = layout.variant(ALIGNED), layout.variant(FUSED), work_name(layout, FUSED)
    made_from = {name: sha256(path.parent / SETTINGS) for name, path in restored.items()}
    stage.claim(folder, {ALIGNED: sha256(aligned / SETTINGS), "restored": made_from}, work)
    for video in stage.videos:
        places = [video.restored(folder, position) for position in range(len(video.frames))]
        missing = [at for at in _share(_wanted(video, only), stage.world) if not places[at].exists()]
        if not missing:
            continue
        with stage.timed(work), Writer(stage.config.runtime.workers) as write:
            for position in stage.progress(missing, f"stage 4, {FUSED} {video.name}", "frame"):
                path = restored[video.name] / f"{video.names[position]}.png"
                # Fewer frames are restored than there are with deblurring.borders drop.
                if path.exists():
                    write(write_image, places[position], _fused(video, position, aligned, path))
    stage.world.barrier()
    stage.say(f"stage 4: {FUSED} -> {folder}")
    return folder


def _fused(video: Video, position: int, aligned: Path, restored: Path) -> np.ndarray:
    over, weight = (aligned / _file(video, kind, position) for kind in (PICTURE, WEIGHT))
    try:
        return fusion.fuse(
            read_image(video.frames[position]),
            read_image(over),
            read_image(weight)[..., 0],
            read_image(restored),
        )
    except ValueError as error:
        raise UserError(f"{restored}: {error}; run the stages again with --overwrite") from None


def _wanted(video: Video, only: Wanted) -> list[int]:
    return sorted(range(len(video.frames)) if only is None else only.get(video.name, ()))


def _share(positions: list[int], world: World) -> list[int]:
    # A run of frames for each process: neighbours in time read the same frames.
    rank, size = world.rank, world.size
    return positions[len(positions) * rank // size : len(positions) * (rank + 1) // size]


def _file(video: Video, kind: str, position: int) -> Path:
    return Path(video.name) / kind / f"{video.names[position]}.png"
