"""Stage 4, last: what was borrowed and what a network restored, fused.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, <output>/deblurring/<model>/aligned, a folder of restored videos,
         and the weights that restored them
Writes   <output>/deblurring/<model>/fused/<video>/<frame>.png, the network's result where nothing is borrowed
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.checkpoints import sha256
from common.errors import UserError
from common.images import read_image, write_image
from common.layout import ALIGNED, FUSED, PICTURE, SETTINGS, WEIGHT
from common.runtime.background import Writer
from common.stage import Stage
from common.videos import Video
from DeblurringModel.adapted import weights_of
from DeblurringModel.aligned import fusion
from DeblurringModel.borrowing import Wanted, file_of, share_of, wanted_positions
from DeblurringModel.inference.clips import Clip
from DeblurringModel.inference.restoring import clips_of, restored_frames
from DeblurringModel.variants import load_network, model_spec, network_layout, work_name


def fuse(stage: Stage, restored: Mapping[str, Path], only: Wanted = None) -> Path:
    """Fuse what was borrowed with the restored videos; returns the folder. Frames that exist are not made
    again.

    restored: video name -> folder with its restored frames, one level below the folder of a variant. The
    network of that variant looks at the borrowed pictures as well: `borrow` has to have made those of all
    frames `around` the wanted ones.
    """
    layout = network_layout(stage.config)
    aligned, folder = layout.variant(ALIGNED), layout.variant(FUSED)
    made_from = {name: sha256(path.parent / SETTINGS) for name, path in restored.items()}
    stage.claim(
        folder, {ALIGNED: sha256(aligned / SETTINGS), "restored": made_from}, work_name(layout, FUSED)
    )
    weights = {
        variant: weights_of(stage, variant) for variant in {path.parent.name for path in restored.values()}
    }
    for video in stage.videos:
        own = weights[restored[video.name].parent.name][video.name]
        _fuse_video(stage, video, wanted_positions(video, only), restored[video.name], own)
    stage.world.barrier()
    stage.say(f"stage 4: {FUSED} -> {folder}")
    return folder


def _fuse_video(stage: Stage, video: Video, wanted: list[int], restored: Path, weights: Path | None) -> None:
    """Fuse those of the wanted frames that are missing, this process its share."""
    layout = network_layout(stage.config)
    aligned, folder = layout.variant(ALIGNED), layout.variant(FUSED)
    # Fewer frames are restored than there are with deblurring.borders drop.
    missing = [
        at
        for at in share_of(wanted, stage.world)
        if not video.restored(folder, at).exists() and _frame(restored, video, at).exists()
    ]
    if not missing:
        return
    with stage.timed(work_name(layout, FUSED)), Writer(stage.config.runtime.workers) as write:
        looks = _second_looks(stage, video, missing, aligned, weights)
        for at, again in stage.progress(looks, f"stage 4, {FUSED} {video.name}", "frame", len(missing)):
            picture = _fused(video, at, aligned, _frame(restored, video, at), again)
            write(write_image, video.restored(folder, at), picture)


def _frame(restored: Path, video: Video, position: int) -> Path:
    return restored / f"{video.names[position]}.png"


def _second_looks(
    stage: Stage,
    video: Video,
    positions: list[int],
    aligned: Path,
    weights: Path | None,
) -> Iterator[tuple[int, np.ndarray | None]]:
    """(position, what the network makes of the borrowed picture) for the positions; None where nothing was
    borrowed."""
    left = {at for at in positions if read_image(aligned / file_of(video, WEIGHT, at)).any()}
    yield from ((at, None) for at in positions if at not in left)
    if not left:
        return
    clips = [clip for clip in _clips(stage, video) if any(at in left for _, at in clip.outputs)]
    pictures = [aligned / file_of(video, PICTURE, at) for at in range(len(video.frames))]
    if not pictures[0].exists():
        # It is not read as a picture then, but tells the size that all frames have.
        pictures[0] = video.frames[0]
    shown = replace(video, frames=tuple(pictures))
    device = stage.world.device
    network = load_network(stage.config, weights, device).eval()
    looked = restored_frames(network, model_spec(stage.config), shown, clips, stage.config, device, stage.say)
    for at, picture in looked:
        if at in left:
            left.remove(at)
            yield at, picture


def _clips(stage: Stage, video: Video) -> list[Clip]:
    config = stage.config.deblurring
    spec = model_spec(stage.config)
    return clips_of(video, spec, config.clip_length, config.clip_overlap, config.borders)


def around(stage: Stage, wanted: Wanted) -> Wanted:
    """The wanted frames, and those that the network's clips around them read."""
    if wanted is None:
        return None
    read = {}
    for video in stage.videos:
        own = wanted.get(video.name, ())
        clips = [clip for clip in _clips(stage, video) if any(at in own for _, at in clip.outputs)]
        read[video.name] = {at for clip in clips for at in clip.inputs}
    return read


def _fused(
    video: Video,
    position: int,
    aligned: Path,
    restored: Path,
    again: np.ndarray | None,
) -> np.ndarray:
    over, weight = (aligned / file_of(video, kind, position) for kind in (PICTURE, WEIGHT))
    try:
        return fusion.fuse(
            read_image(video.frames[position]),
            read_image(over),
            read_image(weight)[..., 0],
            read_image(restored),
            again,
        )
    except ValueError as error:
        raise UserError(f"{restored}: {error}; run the stages again with --overwrite") from None
