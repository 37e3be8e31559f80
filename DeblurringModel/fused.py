"""Stage 4, last: what was borrowed and what a network restored, fused.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, <output>/deblurring/<model>/aligned, a folder of restored videos
Writes   <output>/deblurring/<model>/fused/<video>/<frame>.png, the network's result where nothing is borrowed
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.checkpoints import sha256
from common.errors import UserError
from common.images import read_image, write_image
from common.layout import ALIGNED, FUSED, PICTURE, SETTINGS, WEIGHT
from common.runtime.background import Writer
from common.stage import Stage
from common.videos import Video
from DeblurringModel.aligned import fusion
from DeblurringModel.borrowing import Wanted, file_of, share_of, wanted_positions
from DeblurringModel.variants import network_layout, work_name


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
        missing = [
            at for at in share_of(wanted_positions(video, only), stage.world) if not places[at].exists()
        ]
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
    over, weight = (aligned / file_of(video, kind, position) for kind in (PICTURE, WEIGHT))
    try:
        return fusion.fuse(
            read_image(video.frames[position]),
            read_image(over),
            read_image(weight)[..., 0],
            read_image(restored),
        )
    except ValueError as error:
        raise UserError(f"{restored}: {error}; run the stages again with --overwrite") from None
