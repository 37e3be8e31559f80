"""How long the adaptation of a clip will take, from one measured piece of each kind of work."""

import time
from collections.abc import Callable

import torch

from BlurringModel.reblurring.crops import context_window
from BlurringModel.reblurring.moments import REACH
from BlurringModel.reblurring.sampling import LineModel, Model, load_model
from BlurringModel.reblurring.shots import frames_to_blur
from common.flow import load_flow
from common.images import read_image
from common.regions_file import Region
from common.runtime.distributed import mixed_precision
from common.stage import Stage
from DBCGM.main import frame_condition, read_frames
from DeblurringModel import models
from DeblurringModel.aligned import targets
from DeblurringModel.aligned.warping import offer, prepared
from DeblurringModel.fine_tuning import epochs_and_steps
from DeblurringModel.restoring import clips_of, restored_frames
from DeblurringModel.variants import load_network, model_spec

_LONG = 20.0
"""Seconds from which a piece is not measured a second time."""


def seconds_left(stage: Stage, regions: list[Region], restored: int) -> dict[str, float]:
    """Seconds that each of the remaining steps will take, roughly, by the name of the step.

    regions: what stage 1 found; restored: number of frames that will be restored. Nothing is written.
    """
    rehearsed = len(frames_to_blur(regions)) if stage.config.deblurring.rehearsal else 0
    borrows = stage.config.deblurring.fusion == "aligned"
    return {
        "blur conditions": conditions_seconds(stage, regions),
        "reblurring": reblurring_seconds(stage, regions),
        "fine-tuning": fine_tuning_seconds(stage, regions),
        "restoring": restoring_seconds(stage, regions, restored + rehearsed),
    } | ({"borrowing": borrowing_seconds(stage, restored)} if borrows else {})


def measured(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes, when it is not done for the first time."""
    for attempt in range(2):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        if seconds > _LONG:
            break
    return seconds


def conditions_seconds(stage: Stage, regions: list[Region]) -> float:
    """Stage 2: optical flow of one frame, times the frames that get a condition."""
    config, region = stage.config.dbcgm, regions[0]
    everywhere = config.frames == "all"
    count = sum(len(video.frames) for video in stage.videos) if everywhere else len(frames_to_blur(regions))
    if config.condition == "random":
        return 0.0
    flow = load_flow(config.flow, config.weights, stage.world.device, config.iterations)
    place = region.video, region.position
    return count * measured(lambda: frame_condition(stage, flow, *place, read_frames(stage, *place)))


def reblurring_seconds(stage: Stage, regions: list[Region]) -> float:
    """Stage 3: one window blurred once, times windows and steps."""
    config, runtime = stage.config.blurring, stage.config.runtime
    frames = frames_to_blur(regions)
    model = load_model(config, stage.world, runtime.precision, runtime.compile)
    pictures = {"center": 1, "all": 2 * REACH + 1, "moved": (2 * REACH + 1) * config.moved.copies}[
        config.window
    ]
    if config.area == "frame":
        windows = [read_image(frame.video.frames[0]).shape[:2] for frame in frames]
    else:
        windows = [_span(box, config.margin) for frame in frames for box in frame.boxes]
    height, width = (-(-side // model.multiple) * model.multiple for side in windows[0])
    area = sum(rows * columns for rows, columns in windows) / (height * width)
    return measured(one_blur(stage, model, height, width)) * area * pictures * evaluations(stage, model)


def evaluations(stage: Stage, model: Model) -> int:
    """How often the model computes for one picture."""
    config = stage.config.blurring
    if isinstance(model, LineModel):
        return 1
    return config.steps if config.sampler == "ddim" else model.network.num_timesteps


def one_blur(stage: Stage, model: Model, height: int, width: int) -> Callable[[], object]:
    """One evaluation of the model on one window: a pass of the U-Net, or the blur along lines of 10
    pixels."""
    if isinstance(model, LineModel):
        crop = torch.rand(1, 6, height, width)
        crop[:, 3:] = torch.tensor([1.0, 0.0, 10.0])[:, None, None]
        return lambda: model(crop, [0], [(0, 0, height, width)], (height, width))
    network = model.network.model
    given = torch.zeros(1, 9, height, width, device=stage.world.device).contiguous(
        memory_format=torch.channels_last
    )
    step = torch.ones(1, device=stage.world.device)

    def one_pass() -> None:
        with (
            torch.inference_mode(),
            mixed_precision(network, stage.world.device, stage.config.runtime.precision),
        ):
            network(given, step)

    return one_pass


def _span(box: tuple[int, int, int, int], margin: int) -> tuple[int, int]:
    window = context_window(box, margin, box[2] + margin, box[3] + margin)
    return window[2] - window[0], window[3] - window[1]


def fine_tuning_seconds(stage: Stage, regions: list[Region]) -> float:
    """Stage 4: one step on noise, times the steps."""
    config, spec = stage.config.deblurring, model_spec(stage.config)
    copies = stage.config.blurring.moved.copies
    epochs, per_epoch = epochs_and_steps(config, len(regions) * (copies + config.rehearsal))
    network = load_network(stage, config.weights).train()
    size = (config.batch_size, 2 * REACH + 1, 3, config.crop_size, config.crop_size)
    windows = models.to_range(torch.rand(size, device=stage.world.device), spec)

    def step() -> None:
        with mixed_precision(network, stage.world.device, stage.config.runtime.precision):
            restored = network(windows)
            loss = spec.adaptation_loss(restored[:, :1], windows[:, REACH : REACH + 1])
        loss.backward()

    return epochs * per_epoch * measured(step)


def restoring_seconds(stage: Stage, regions: list[Region], restored: int) -> float:
    """Stage 4: short clips restored, times the frames."""
    config, spec, video = stage.config.deblurring, model_spec(stage.config), regions[0].video
    network = load_network(stage, config.weights).eval()
    length = max(spec.past + 1 + spec.future, 5)
    clip = clips_of(video, spec, length, 0, config.borders)[:1]
    seconds = measured(lambda: list(restored_frames(network, spec, video, clip, stage)))
    return restored * seconds / len(clip[0].outputs)


def borrowing_seconds(stage: Stage, restored: int) -> float:
    """Stage 4: one neighbour laid over a frame, times the neighbours tried and the frames."""
    frame, neighbour = (read_image(path) for path in stage.videos[0].frames[:2])
    if min(frame.shape[:2]) < targets.LEAST_SIDE:
        return 0.0
    return restored * targets.MOST_NEIGHBOURS * measured(lambda: offer(prepared(frame), neighbour))
