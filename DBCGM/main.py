"""Stage 2, DBCGM (Domain-adaptive Blur Condition Generation Module): how does this video blur?

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, <output>/rsdm/magnitude, <output>/rsdm/sharp_regions.json
Writes   <output>/dbcgm/condition/<video>/<frame>.npy   float32 (3, H, W): direction x, y, magnitude in pixels
         <output>/dbcgm/preview/<video>/<frame>.png     the same as a colour wheel
         <output>/dbcgm/shutter/<video>.json            how long the video exposes (dbcgm.magnitude shutter)
         <output>/dbcgm/motion/<video>/<frame>.npy      float32 (2, H, W): the motion behind the direction, in pixels
                                                        per frame interval (with dbcgm.motion)
Usage    python DBCGM/main.py --config configs/demo.yaml
         torchrun --nproc_per_node=2 DBCGM/main.py --config configs/demo.yaml
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from contextlib import nullcontext
from functools import partial

import numpy as np
import torch

from common.checkpoints import sha256
from common.config import DbcgmConfig
from common.errors import UserError
from common.flow import Flow, load_flow
from common.formats.raft_weights import weights_file
from common.images import read_array, write_array, write_image
from common.layout import SETTINGS, Layout
from common.regions_file import Region, by_frame, read_regions
from common.rendering.condition_view import condition_picture
from common.runtime.background import Writer, prefetch
from common.runtime.entry import run
from common.runtime.kept import Kept
from common.runtime.seeding import numpy_generator
from common.stage import Stage, open_stage, section_settings, unfinished
from common.videos import FrameReader, Video
from DBCGM.adaptation import clamp_magnitude
from DBCGM.exposure import fit_video, in_words, read_fit, write_fit
from DBCGM.frame import Inputs, NearFlows, frame_condition, random_frame

WORK = "stage 2, DBCGM"
HINT = "run python RSDM/main.py first"
NEAR_GIB = 0.25
"""Memory for frames that are needed again: the walk goes in order, and a frame is a neighbour of few."""


def main() -> None:
    """Run stage 2 with the settings of the command line."""
    stage = open_stage(__doc__.splitlines()[0])
    make_conditions(stage)
    stage.say_report()


def make_conditions(stage: Stage) -> None:
    """A condition for every frame that stage 1 chose, or for all frames that have an orientation."""
    config, layout = stage.config.dbcgm, stage.layout
    config = replace(config, weights=weights_file(config.flow, config.weights))
    regions = read_regions(layout.sharp_regions, stage.videos)
    more = {"seed": stage.config.runtime.seed} if config.condition == "random" else {}
    # Flow is float32 whatever runtime.precision says, but CUDA may compute it with TF32.
    more |= {"precision": "TF32"} if "TF32" in stage.precision else {}
    maps = layout.rsdm / SETTINGS
    stage.claim(
        layout.dbcgm,
        {
            "dbcgm": section_settings(config),
            "sharp_regions": sha256(layout.sharp_regions),
            # Of the magnitude maps, which the boxes alone do not identify.
            "rsdm": sha256(maps) if maps.exists() else None,
            "dataset": stage.inputs(),
        }
        | more,
        WORK,
    )
    frames = frames_wanted(config, regions, stage.videos)
    missing = unfinished(frames, lambda frame: layout.condition(*frame[0].at(frame[1])).exists(), stage.world)
    unfitted = unfinished(
        stage.videos if uses_shutter(config) else [],
        lambda video: layout.shutter(video.name).exists(),
        stage.world,
    )
    flow = None
    if (missing or unfitted) and config.condition != "random":
        flow = load_flow(config.flow, config.weights, stage.world.device, config.iterations)
    with stage.timed(WORK) if missing or unfitted else nullcontext():
        reader = FrameReader(
            stage.videos, Kept(min(NEAR_GIB, stage.world.memory_share(stage.config.runtime.cache_gib)))
        )
        fit_exposures(layout, unfitted, reader, flow, stage.world.device)
        stage.world.barrier()
        if missing:
            write_conditions(stage, missing, reader, flow)
    stage.world.barrier()
    stage.say(
        f"stage 2: conditions of {len(frames)} frames -> {layout.conditions} (look at {layout.previews})"
    )


def frames_wanted(
    config: DbcgmConfig,
    regions: list[Region],
    videos: list[Video],
) -> list[tuple[Video, int]]:
    """(video, position) of the frames that get a condition."""
    if config.frames != "all":
        named = {video.name: video for video in videos}
        return [(named[name], position) for name, position in by_frame(regions)]
    # The outermost frames have no flow on one side, and with five frames the second ones neither.
    first = 1 if config.trajectory == "central" else 2
    return [(video, position) for video in videos for position in range(first, len(video.frames) - first)]


def write_conditions(
    stage: Stage,
    frames: list[tuple[Video, int]],
    reader: FrameReader,
    flow: Flow | None,
) -> None:
    """Condition, preview and, where asked for, motion of each frame (video, position) on disk."""
    config, layout, workers = stage.config.dbcgm, stage.layout, stage.config.runtime.workers
    exposures = {}
    if uses_shutter(config):
        exposures = {video.name: read_fit(layout.shutter(video.name)).tau for video, _ in frames}
    read = prefetch(lambda frame: read_inputs(config, layout, reader, *frame), frames, workers)
    seed, flows = stage.config.runtime.seed, NearFlows(flow, stage.world.device)
    with Writer(workers) as writer:
        for (video, position), inputs in stage.progress(
            zip(frames, read), "stage 2, blur conditions", "frame", len(frames)
        ):
            if config.condition == "random":
                rng = numpy_generator(seed, "condition", video.name, video.names[position])
                made = random_frame(inputs, config.random_magnitude, rng)
            else:
                made = frame_condition(config, flows, inputs, exposures.get(video.name))
            writer(write, layout, config.motion, video, position, *made)


def write(
    layout: Layout,
    with_motion: bool,
    video: Video,
    position: int,
    result: np.ndarray,
    motion: np.ndarray,
) -> None:
    """Write a frame's files."""
    frame = video.at(position)
    write_image(layout.preview(*frame), condition_picture(result))
    if with_motion:
        write_array(layout.motion(*frame), motion)
    # Last, because a frame counts as done when this one exists.
    write_array(layout.condition(*frame), result)


def read_inputs(
    config: DbcgmConfig,
    layout: Layout,
    reader: FrameReader,
    video: Video,
    position: int,
) -> Inputs:
    """What the condition of one frame is made of, read from disk. UserError where a neighbour is missing or
    sizes differ."""
    images = read_frames(config, reader, video, position)
    place = (video.name, position)
    if config.condition != "dbcgm" or config.magnitude == "shutter":
        return Inputs(place, images)
    length = magnitude(layout, video, position)
    if length.shape != tuple(images.shape[2:]):
        raise UserError(
            f"{layout.magnitude(*video.at(position))}: is {length.shape}, the frame {tuple(images.shape[2:])}; "
            "run python RSDM/main.py --overwrite"
        )
    # As released, neighbours are counted among the frames that have an orientation (all but the first and
    # last of the video), so the two at each end of that list are not adapted.
    if not config.adapt_magnitude or not 3 <= position < len(video.frames) - 3:
        return Inputs(place, images, length)
    neighbours = [magnitude(layout, video, position + step) for step in (-2, -1, 1, 2)]
    return Inputs(place, images, length, neighbours)


def read_frames(config: DbcgmConfig, reader: FrameReader, video: Video, position: int) -> torch.Tensor:
    """The frames uint8 (N, 3, H, W) that the condition of one frame is made of: itself alone where it is
    random, three around it with dbcgm.trajectory central, five with five_frame."""
    reach = 1 if config.trajectory == "central" else 2
    if config.condition == "random":
        reach = 0
    if not reach <= position < len(video.frames) - reach:
        raise UserError(
            f"{video.frames[position]}: has no {reach} neighbours on both sides, which "
            f"dbcgm.trajectory {config.trajectory} needs; {HINT}"
        )
    images = [reader.read(video, at) for at in range(position - reach, position + reach + 1)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def uses_shutter(config: DbcgmConfig) -> bool:
    """Whether blur lengths come from the video's exposure."""
    return config.magnitude == "shutter" and config.condition == "dbcgm"


def fit_exposures(
    layout: Layout,
    videos: list[Video],
    reader: FrameReader,
    flow: Flow,
    device: torch.device,
) -> None:
    """Fit the exposure of each video, print it, and keep it in a file."""
    for video in videos:
        blur = [float(magnitude(layout, video, position).mean()) for position in range(len(video.frames))]
        fit = fit_video(partial(reader.read, video), blur, flow, device)
        write_fit(layout.shutter(video.name), fit)
        print(f"stage 2: {video.name} {in_words(fit)}", flush=True)


def magnitude(layout: Layout, video: Video, position: int) -> np.ndarray:
    """A frame's magnitude map (H, W) in pixels, from stage 1's raw map."""
    return clamp_magnitude(read_array(layout.magnitude(*video.at(position)), 2, HINT))


if __name__ == "__main__":
    run(main)
