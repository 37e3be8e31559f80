"""What the three trainers share: read the recipe, open the data, start the loop, record how it was made."""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.checkpoints import load_into
from common.config import TrainConfig, as_dict, require
from common.config_loader import load_config
from common.errors import UserError
from common.layout import BEST, LAST
from common.runtime import distributed
from common.runtime.command_line import add_config_options
from common.runtime.distributed import World
from common.runtime.precision import resolve_precision
from common.runtime.provenance import claim_together
from common.runtime.seeding import numpy_generator, seed_everything
from common.training.augmentation import Augmentation
from common.training.frame_cache import FrameCache
from common.training.loop import Plan, Task, fit
from common.training.rendered_domain import RenderedCrop, RenderedDomain
from common.training.schedule import cosine
from common.training.source_domain import Crop, SourceDomain
from common.training.stages import Stages, planned

HINT = "scripts/make_synthetic_dataset.py makes one"


@dataclass(frozen=True)
class Setup:
    """A trainer's opened recipe. `folder` is where everything goes."""

    config: TrainConfig
    world: World
    train: SourceDomain | RenderedDomain
    validation: SourceDomain
    folder: Path

    @cached_property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        schedule = self.config.schedule
        steps = schedule.steps or schedule.epochs * math.ceil(
            (len(self.train) if schedule.epochs else 0) / schedule.batch_size
        )
        if steps < 1:
            raise UserError("schedule.steps and schedule.epochs are both 0: set one of them")
        return steps

    @cached_property
    def stages(self) -> Stages:
        """What crop, frames and batch size hold when. UserError for a batch that the processes cannot
        share."""
        stages = planned(self.config.schedule, self.steps)
        for size in {stage.batch_size for stage in stages.stages}:
            if size % self.world.size:
                raise UserError(
                    f"schedule.batch_size: {size} cannot be divided among {self.world.size} processes"
                )
        return stages

    def draw(
        self,
        item: int,
        frames: int | None = None,
    ) -> tuple[Crop | RenderedCrop, Augmentation, np.random.Generator]:
        """Crop, flips and the rest of the random stream of sample number `item` of the whole training;
        `frames` successive frames, None for as many as its stage says."""
        rng = numpy_generator(self.config.runtime.seed, "sample", item)
        stage = self.stages.at_item(item)
        crop = self.train.draw(rng, stage.crop_size, frames or stage.frames)
        augment = self.config.data.augment
        augmentation = (
            Augmentation() if augment == "none" else Augmentation.draw(rng, augment == "flip_rotate")
        )
        return crop, augmentation, rng


def open_recipe(description: str) -> Setup:
    """Parse `--config FILE [--set section.key=value ...] [--overwrite]`, join the process group, open the
    data."""
    parser = argparse.ArgumentParser(description=description)
    add_config_options(
        parser,
        "recipe, see configs/train/",
        required=True,
        overwrite="start anew in a folder that holds another training",
    )
    options = parser.parse_args()
    config = load_config(TrainConfig, options.config, options.overrides)
    world = distributed.start(config.runtime.device, config.runtime.tf32)
    config = resolve_precision(config, world)
    frames = FrameCache(world.memory_share(config.runtime.cache_gib))
    train = training_domain(config, frames)
    validation = SourceDomain(require(config.data.validation, "data.validation", HINT), frames)
    folder = require(config.output, "output", "folder for checkpoints and log")
    settings = {name: value for name, value in as_dict(config).items() if name not in ("output", "runtime")}
    runtime = config.runtime
    precision = distributed.precision_record(world.device, runtime.precision, runtime.tf32, runtime.compile)
    settings["runtime"] = {"precision": precision, "seed": runtime.seed}
    setup = Setup(config, world, train, validation, folder)
    # Impossible sizes are refused before anything is written.
    setup.stages  # noqa: B018
    claim_together(world, folder, settings, config, options.overwrite)
    seed_everything(config.runtime.seed)
    return setup


def training_domain(config: TrainConfig, frames: FrameCache) -> SourceDomain | RenderedDomain:
    """The data set data.root, or samples rendered from data.content; UserError where not exactly one is
    asked for."""
    data = config.data
    if data.render == "none":
        if data.content:
            raise UserError("data.content is what data.render: real renders from; set that, or leave it out")
        return SourceDomain(require(data.root, "data.root", HINT), frames)
    if data.root is not None:
        raise UserError("data.root and data.render are both set: train on a data set or on rendered samples")
    if not data.content:
        raise UserError("data.content is not set: data.render needs photographs or videos to render from")
    return RenderedDomain(data.content, data.sharp, data.longest, data.encoded)


def build(make: Callable[[], nn.Module]) -> nn.Module:
    """The network that `make` returns; what it cannot take becomes a UserError that names the section."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise UserError(f"network (name, architecture, initialise): {error}") from None


def check_crop(setup: Setup, multiple: int, minimum: int) -> None:
    """UserError unless the network can take the recipe's crops."""
    # The schedule's own size too: the validation uses it.
    for size in (setup.config.schedule.crop_size, *(stage.crop_size for stage in setup.stages.stages)):
        if size % multiple or size < minimum:
            raise UserError(
                f"schedule.crop_size: expected a multiple of {multiple}, at least {minimum}, found {size}"
            )


def train(
    setup: Setup,
    network: nn.Module,
    task: Task,
    architecture: dict,
    name: str,
    **more: str | float,
) -> None:
    """Run the recipe's schedule on `network` and say where the result lies. `more`: metadata for its
    checkpoints."""
    config, schedule = setup.config, setup.config.schedule
    if config.network.weights is not None:
        load_into(network, config.network.weights)
    plan = Plan(
        setup.steps,
        schedule.batch_size,
        lambda step: cosine(
            step, setup.steps, schedule.learning_rate, schedule.min_learning_rate, schedule.warmup_steps
        ),
        schedule.gradient_clip,
        config.runtime.precision,
        config.runtime.seed,
        config.runtime.workers,
        schedule.validate_every,
        schedule.save_every,
        label=name,
        compile=config.runtime.compile,
        items=setup.stages.items,
        optimizer=schedule.optimizer,
        weight_decay=schedule.weight_decay,
        average=schedule.average,
    )
    metadata = {"network": name, "architecture": architecture, **more}
    rendered = setup.train.seconds if isinstance(setup.train, RenderedDomain) else 0.0
    clock = Clock()
    rows = fit(network, clock.watching(task), plan, setup.folder, setup.world, metadata)
    if setup.world.main:
        figures = (
            ", ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()) if rows else "nothing to do"
        )
        if isinstance(setup.train, RenderedDomain) and clock.steps:
            print(clock.rendering(setup.train.seconds - rendered))
        best = f"weights: {setup.folder / BEST}, " if task.best else ""
        print(f"{figures}\n{best}all states: {setup.folder / LAST}")


class Clock:
    """Processor time of the steps of this process, without validations."""

    def __init__(self) -> None:
        self.steps, self._validating, self._start = 0, 0.0, time.process_time()

    def watching(self, task: Task) -> Task:
        """The same task, its losses counted as steps and its validations timed."""

        def loss(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
            # Without gradients it is the comparison with the initial weights, a small part of some steps.
            self.steps += torch.is_grad_enabled()
            return task.loss(network, batch)

        def validate(network: nn.Module) -> dict[str, float]:
            start = time.process_time()
            figures = task.validate(network)
            self._validating += time.process_time() - start
            return figures

        return replace(task, loss=loss, validate=validate if task.validate else None)

    def rendering(self, seconds: float) -> str:
        """A line about `seconds` of rendering beside the whole time of the steps so far."""
        step = (time.process_time() - self._start - self._validating) / self.steps
        part = seconds / self.steps
        return (
            f"rendering {1000 * part:.1f} ms of {1000 * step:.0f} ms a step "
            f"({100 * part / step:.1f} % of the processor time, over {self.steps} steps)"
        )


def mean_figures(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each named figure over the rows."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def validation_frames(domain: SourceDomain, count: int, margin: int = 0) -> list[tuple[str, int]]:
    """A fixed, even selection of (video, frame position), `margin` frames away from both ends of each
    video."""
    every = [
        (video, position)
        for video, frames in domain.videos.items()
        for position in range(margin, len(frames) - margin)
    ]
    if not every:
        raise UserError(f"{domain.root}: no video has {2 * margin + 1} frames for the validation")
    chosen = np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int)
    return [every[index] for index in chosen]
