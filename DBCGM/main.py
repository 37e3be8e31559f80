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

from common.runtime import environment, interrupts

if __name__ == "__main__":
    environment.require()
    interrupts.end_at_once()

from contextlib import nullcontext

import numpy as np
import torch

from common.checkpoints import sha256
from common.config import DbcgmConfig
from common.errors import UserError
from common.flow import Flow, load_flow
from common.formats.raft_weights import weights_file
from common.images import on_device, read_array, read_image, write_array, write_image
from common.layout import SETTINGS, Layout
from common.regions_file import by_frame, read_regions
from common.rendering.condition_view import condition_picture
from common.runtime.background import Writer, prefetch
from common.runtime.entry import run
from common.runtime.seeding import numpy_generator
from common.stage import Stage, open_stage, section_settings, unfinished
from common.videos import Video
from DBCGM.ablation import flow_condition, random_condition
from DBCGM.adaptation import adapt_magnitude, clamp_magnitude, condition
from DBCGM.boe import central_motion, five_frame_motion, five_frame_trajectory, orientation
from DBCGM.exposure import fit_video, in_words, read_fit, write_fit

WORK = "stage 2, DBCGM"
HINT = "run python RSDM/main.py first"
CENTRAL = ((1, 2), (1, 0))
FIVE_FRAME = ((0, 1), (1, 2), (2, 3), (3, 4))
"""The pairs of frames whose flows a trajectory is made of, by their places in `read_frames`."""


def main() -> None:
    """Stage 2 as the command line asks for it."""
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
    # The outermost frames have no flow on one side, and with five frames the second ones neither.
    first = 1 if config.trajectory == "central" else 2
    if config.frames == "all":
        frames = [
            (video, position)
            for video in stage.videos
            for position in range(first, len(video.frames) - first)
        ]
    else:
        videos = {video.name: video for video in stage.videos}
        frames = [(videos[name], position) for name, position in by_frame(regions)]
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
        fit_exposures(stage, flow, unfitted)
        stage.world.barrier()
        if missing:
            write_conditions(stage, missing, flow)
    stage.world.barrier()
    stage.say(
        f"stage 2: conditions of {len(frames)} frames -> {layout.conditions} (look at {layout.previews})"
    )


def write_conditions(stage: Stage, frames: list[tuple[Video, int]], flow: Flow | None) -> None:
    """Condition, preview and, where asked for, motion of each frame (video, position) on disk."""
    config, layout, workers = stage.config.dbcgm, stage.layout, stage.config.runtime.workers
    exposures = {}
    if uses_shutter(config):
        exposures = {video.name: read_fit(layout.shutter(video.name)).tau for video, _ in frames}
    read = prefetch(lambda frame: read_frames(stage, *frame), frames, workers)
    with Writer(workers) as writer:
        for (video, position), images in stage.progress(
            zip(frames, read), "stage 2, blur conditions", "frame", len(frames)
        ):
            writer(
                write,
                layout,
                config.motion,
                video,
                position,
                *frame_condition(stage, flow, video, position, images, exposures.get(video.name)),
            )


def write(
    layout: Layout, with_motion: bool, video: Video, position: int, result: np.ndarray, motion: np.ndarray
) -> None:
    """Write a frame's files."""
    frame = video.at(position)
    write_image(layout.preview(*frame), condition_picture(result))
    if with_motion:
        write_array(layout.motion(*frame), motion)
    # Last, because a frame counts as done when this one exists.
    write_array(layout.condition(*frame), result)


def read_frames(stage: Stage, video: Video, position: int) -> torch.Tensor:
    """The frames uint8 (N, 3, H, W) that the condition of one frame is made of: itself alone where it is
    random, three around it with dbcgm.trajectory central, five with five_frame."""
    trajectory = stage.config.dbcgm.trajectory
    reach = 1 if trajectory == "central" else 2
    if stage.config.dbcgm.condition == "random":
        reach = 0
    if not reach <= position < len(video.frames) - reach:
        raise UserError(
            f"{video.frames[position]}: has no {reach} neighbours on both sides, which "
            f"dbcgm.trajectory {trajectory} needs; {HINT}"
        )
    paths = video.frames[position - reach : position + reach + 1]
    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images):
        if image.shape != images[0].shape:
            raise UserError(
                f"{path}: is {image.shape[1]} x {image.shape[0]} pixels, {paths[0].name} is "
                f"{images[0].shape[1]} x {images[0].shape[0]}; all frames of a video need one size"
            )
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def frame_condition(
    stage: Stage,
    flow: Flow | None,
    video: Video,
    position: int,
    images: torch.Tensor,
    exposure: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The condition float32 (3, H, W) of one frame, as dbcgm.condition says, and its motion float32 (2, H, W)
    in pixels per frame interval.

    images: those of `read_frames`. flow: None where the condition is random; the motion then is as long as
    the blur. exposure: the video's, as a share of the frame interval, where dbcgm.magnitude asks for it.
    """
    config = stage.config.dbcgm
    if config.condition == "random":
        height, width = images.shape[2:]
        rng = numpy_generator(stage.config.runtime.seed, "condition", video.name, video.names[position])
        drawn = random_condition(height, width, config.random_magnitude, rng)
        return drawn, drawn[:2] * drawn[2]
    central = config.trajectory == "central"
    with torch.inference_mode():
        flows = list(flow.between(on_device(images, stage.world.device), CENTRAL if central else FIVE_FRAME))
    moved = central_motion(*flows) if central else five_frame_motion(flows)
    motion = moved.float().cpu().numpy()
    if config.condition == "optical_flow":
        return flow_condition(moved), motion
    direction = orientation(*flows) if central else five_frame_trajectory(flows)
    if exposure is not None:
        length = np.float32(exposure) * np.hypot(*motion) + np.float32(config.magnitude_offset)
        return condition(direction.cpu().numpy(), length), motion
    # As released, neighbours are counted among the frames that have an orientation (all but the first and
    # last of the video), so the two at each end of that list are not adapted.
    inside = 3 <= position < len(video.frames) - 3
    adapts = config.adapt_magnitude and inside
    neighbours = (
        [magnitude(stage.layout, video, position + step) for step in (-2, -1, 1, 2)] if adapts else None
    )
    adapted = adapt_magnitude(magnitude(stage.layout, video, position), neighbours, config.magnitude_offset)
    if adapted.shape != direction.shape[1:]:
        raise UserError(
            f"{video.frames[position]}: frame and magnitude map differ in size; "
            "run python RSDM/main.py --overwrite"
        )
    return condition(direction.cpu().numpy(), adapted), motion


def uses_shutter(config: DbcgmConfig) -> bool:
    """Whether blur lengths come from the video's exposure."""
    return config.magnitude == "shutter" and config.condition == "dbcgm"


def fit_exposures(stage: Stage, flow: Flow | None, videos: list[Video]) -> None:
    """Find out how long each of the videos exposes, say it, and keep it in a file."""
    for video in videos:
        blur = [
            float(magnitude(stage.layout, video, position).mean()) for position in range(len(video.frames))
        ]
        fit = fit_video(video, blur, flow, stage.world.device)
        write_fit(stage.layout.shutter(video.name), fit)
        print(f"stage 2: {video.name} {in_words(fit)}", flush=True)


def magnitude(layout: Layout, video: Video, position: int) -> np.ndarray:
    """A frame's magnitude map (H, W) in pixels, from stage 1's raw map."""
    return clamp_magnitude(read_array(layout.magnitude(*video.at(position)), 2, HINT))


if __name__ == "__main__":
    run(main)
