"""What the rivals share at test time: the command line, the walk over the videos, the pictures."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from common.checkpoints import stored_entry
from common.errors import UserError
from common.images import to_tensor, write_image
from common.layout import ADAPTED
from common.runtime.kept import Kept
from common.runtime.seeding import derive_seed, numpy_generator, seed_everything
from common.stage import Stage, open_stage, section_settings, weights_record
from common.videos import Video, VideoFrames
from DeblurringModel.checks import check_settings
from DeblurringModel.inference.restoring import clips_of, restored_frames
from DeblurringModel.variants import model_spec, network_layout, work_name
from scripts.rivals.windows import WINDOW, Place, Read, cut, patch_side

READ = (
    "model",
    "architecture",
    "interface",
    "weights",
    "channel_order",
    "crop_size",
    "loss",
    "borders",
    "clip_length",
    "clip_overlap",
    "tile",
    "tile_overlap",
)
"""Keys of the section deblurring that a rival's result depends on."""
Choose = Callable[[Read, int, tuple[int, int], int, np.random.Generator], list[Place]]
"""(read, frames, size, side, random numbers) -> places to cut windows at."""


def open_rival(
    description: str,
    steps: int,
    rate: float,
    arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> Stage:
    """A stage with the options --weights, --steps and --rate, whose defaults are given. arguments: adds further ones.
    UserError for settings that cannot work."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--weights", type=Path, required=True, help="what the rival's training wrote (last.pth)"
        )
        parser.add_argument(
            "--steps", type=int, default=steps, help=f"steps for each video (default {steps})"
        )
        parser.add_argument("--rate", type=float, default=rate, help=f"learning rate (default {rate:g})")
        if arguments is not None:
            arguments(parser)

    stage = open_stage(description, add)
    options = stage.options
    if options.steps < 0 or not 0 <= options.rate < float("inf"):
        raise UserError(f"--steps, --rate: expected 0 or more, found {options.steps} and {options.rate:g}")
    # A rival shares whole videos among the processes, not batches.
    check_settings(stage.config, 1)
    return stage


def check_file(stage: Stage, rival: str) -> None:
    """UserError where the file --weights says that it is another rival's, or of another deblurring network's
    training."""
    path, model = stage.options.weights, stage.config.deblurring.model
    weights_record(path)
    for name, expected in (("rival", rival), ("network", model)):
        found = stored_entry(path, name)
        if found != expected:
            raise UserError(
                f"{path}: expected weights of {rival} trained with {model}, found {name} {found!r}; "
                "scripts/rivals/ has a trainer for each"
            )


def windows_of(stage: Stage, video: Video, choose: Choose) -> Tensor | None:
    """The windows (N, 5, 3, s, s), RGB in [0, 1], that are learned from; None for a video shorter than one. What is
    drawn depends on runtime.seed and the video's name."""
    frames = len(video.frames)
    if frames < WINDOW:
        stage.say(f"{video.name}: fewer than {WINDOW} frames, restored with the unadapted network")
        return None
    read, runtime = VideoFrames(video, Kept(stage.config.runtime.cache_gib)).read, stage.config.runtime
    height, width = read(0).shape[:2]
    spec = model_spec(stage.config)
    side = patch_side(height, width, stage.config.deblurring.crop_size, spec.multiple)
    places = choose(read, frames, (height, width), side, numpy_generator(runtime.seed, "patches", video.name))
    return to_tensor(cut(read, places, side))


def restore_adapted(stage: Stage, settings: dict[str, Any], adapted: Callable[[Video], nn.Module]) -> None:
    """Restore every video with the network that `adapted` makes for it; frames that exist are not made again.

    settings: what the result depends on beside the configuration. A video of which frames are missing is adapted to
    again, which gives the same network.
    """
    config, layout = stage.config.deblurring, network_layout(stage.config)
    folder, work = layout.variant(ADAPTED), work_name(layout, ADAPTED)
    values = {name: value for name, value in section_settings(config).items() if name in READ}
    stage.claim(
        folder,
        {
            **settings,
            "rival_weights": weights_record(stage.options.weights),
            "deblurring": values,
            "precision": stage.precision,
            "seed": stage.config.runtime.seed,
            "dataset": stage.inputs(),
        },
        work,
    )
    spec = model_spec(stage.config)
    for video in stage.progress(stage.world.share(stage.videos), "adapting to each video", "video"):
        clips = [
            clip
            for clip in clips_of(video, spec, config.clip_length, config.clip_overlap, config.borders)
            if not all(video.restored(folder, position).exists() for _, position in clip.outputs)
        ]
        if not clips:
            continue
        with stage.timed(work):
            seed_everything(derive_seed(stage.config.runtime.seed, "adaptation", video.name))
            network = adapted(video).eval()
            for position, picture in restored_frames(
                network, spec, video, clips, stage.config, stage.world.device, stage.say
            ):
                write_image(video.restored(folder, position), picture)
    stage.world.barrier()
    stage.say(f"adapted -> {folder}")
