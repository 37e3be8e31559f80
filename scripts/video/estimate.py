"""How long the adaptation of a clip will take, from one measured piece of each kind of work."""

import time
from collections.abc import Callable

import torch

from BlurringModel.reblurring.crops import context_crop
from BlurringModel.reblurring.measured import TRIED
from BlurringModel.reblurring.moments import REACH
from BlurringModel.reblurring.patches import frames_to_blur
from BlurringModel.reblurring.sampling import LineModel, Model, evaluations, load_model
from common.flow import load_flow
from common.images import read_image
from common.regions_file import Region
from common.rendering.alignment import align, prepared
from common.rendering.neighbours import LEAST_SIDE, MOST_NEIGHBOURS
from common.runtime.distributed import mixed_precision
from common.stage import Stage
from common.videos import FrameReader
from DBCGM.frame import NearFlows, frame_condition
from DBCGM.main import read_inputs, uses_shutter
from DeblurringModel import models
from DeblurringModel.fine_tuning import epochs_and_steps
from DeblurringModel.inference.restoring import clips_of, restored_frames
from DeblurringModel.pair_sources import BORROWED, restores_regions
from DeblurringModel.variants import load_network, model_spec

_LONG = 20.0
"""Seconds from which a piece is not measured a second time."""


def seconds_left(stage: Stage, regions: list[Region], restored: int) -> dict[str, float]:
    """Seconds that each of the remaining steps will take, roughly, by the name of the step.

    regions: what stage 1 found; restored: number of frames that will be restored. Nothing is written.
    """
    rehearsed = len(frames_to_blur(regions)) if restores_regions(stage.config.deblurring) else 0
    config, frames = stage.config.deblurring, sum(len(video.frames) for video in stage.videos)
    borrows = 0
    if config.pairs in BORROWED:
        # In all frames, whatever is restored.
        borrows = frames
    elif config.fusion == "aligned":
        # At most: the frames around a restored one are borrowed for as well, and windows overlap.
        spec = model_spec(stage.config)
        borrows = min(frames, restored * (spec.past + 1 + spec.future))
    # At most: a frame that borrows nothing is restored once.
    looked_at_again = restored if config.fusion == "aligned" else 0
    return {
        "blur conditions": conditions_seconds(stage, regions),
        "reblurring": reblurring_seconds(stage, regions),
        "fine-tuning": fine_tuning_seconds(stage, regions),
        "restoring": restoring_seconds(stage, regions, restored + rehearsed + looked_at_again),
    } | ({"borrowing": borrowing_seconds(stage, borrows)} if borrows else {})


def seconds_of(work: Callable[[], object]) -> float:
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
    # Any exposure takes the same time.
    exposure = 0.5 if uses_shutter(config) else None

    def one() -> None:
        inputs = read_inputs(config, stage.layout, FrameReader(stage.videos), region.video, region.position)
        frame_condition(config, NearFlows(flow, stage.world.device), inputs, exposure)

    return count * seconds_of(one)


def reblurring_seconds(stage: Stage, regions: list[Region]) -> float:
    """Stage 3: one crop blurred once, times crops and steps."""
    config, runtime = stage.config.blurring, stage.config.runtime
    frames = frames_to_blur(regions)
    model = load_model(config, stage.world, runtime.precision, runtime.compile)
    pictures = {"center": 1, "all": 2 * REACH + 1, "moved": (2 * REACH + 1) * config.moved.copies}[
        config.window
    ]
    if config.area == "frame":
        crops = [read_image(frame.video.frames[0]).shape[:2] for frame in frames]
    else:
        crops = [_span(box, config.margin) for frame in frames for box in frame.boxes]
    height, width = (-(-side // model.multiple) * model.multiple for side in crops[0])
    area = sum(rows * columns for rows, columns in crops) / (height * width)
    passes = 1 if isinstance(model, LineModel) else evaluations(config, model.network)
    seconds = seconds_of(one_blur(stage, model, height, width)) * area * pictures * passes
    if config.model == "measured":
        every = sum(len(video.frames) for video in stage.videos)
        seconds += every * TRIED * alignment_seconds(stage)
    return seconds


def one_blur(stage: Stage, model: Model, height: int, width: int) -> Callable[[], object]:
    """One evaluation of the model on one crop: a pass of the U-Net, or the blur along lines of 10
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
    crop = context_crop(box, margin, box[2] + margin, box[3] + margin)
    return crop[2] - crop[0], crop[3] - crop[1]


def fine_tuning_seconds(stage: Stage, regions: list[Region]) -> float:
    """Stage 4: one step on noise, times the steps."""
    config, spec = stage.config.deblurring, model_spec(stage.config)
    copies = 0 if config.pairs == "aligned" else stage.config.blurring.moved.copies
    # At most: how many frames borrow enough for a pair is not known before.
    borrowed = sum(len(video.frames) for video in stage.videos) if config.pairs in BORROWED else 0
    epochs, per_epoch = epochs_and_steps(config, len(regions) * (copies + config.rehearsal) + borrowed)
    network = load_network(stage.config, config.weights, stage.world.device).train()
    size = (config.batch_size, 2 * REACH + 1, 3, config.crop_size, config.crop_size)
    windows = models.to_range(torch.rand(size, device=stage.world.device), spec)

    def step() -> None:
        with mixed_precision(network, stage.world.device, stage.config.runtime.precision):
            restored = network(windows)
            loss = spec.adaptation_loss(restored[:, :1], windows[:, REACH : REACH + 1])
        loss.backward()

    return epochs * per_epoch * seconds_of(step)


def restoring_seconds(stage: Stage, regions: list[Region], restored: int) -> float:
    """Stage 4: the shortest clip restored, times the frames that the configured clips read."""
    config, spec, video = stage.config.deblurring, model_spec(stage.config), regions[0].video
    network = load_network(stage.config, config.weights, stage.world.device).eval()
    short = clips_of(video, spec, max(spec.past + 1 + spec.future, 5), 0, config.borders)[0]
    own = clips_of(video, spec, config.clip_length, config.clip_overlap, config.borders)[0]
    seconds = seconds_of(
        lambda: list(
            restored_frames(network, spec, video, [short], stage.config, stage.world.device, stage.say)
        )
    )
    return restored * seconds / len(short.inputs) * len(own.inputs) / len(own.outputs)


def borrowing_seconds(stage: Stage, restored: int) -> float:
    """Stage 4: one neighbour laid over a frame, times the neighbours tried and the frames."""
    return restored * MOST_NEIGHBOURS * alignment_seconds(stage)


def alignment_seconds(stage: Stage) -> float:
    """One frame laid over another, and the blur between the two."""
    frame, neighbour = (read_image(path) for path in stage.videos[0].frames[:2])
    if min(frame.shape[:2]) < LEAST_SIDE:
        return 0.0
    return seconds_of(lambda: align(prepared(frame), neighbour))
