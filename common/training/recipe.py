"""What the three trainers do alike: read the recipe, open the data, start the loop, record how it was
made."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from common.checkpoints import load_into
from common.config import TrainConfig, as_dict, require
from common.config_loader import load_config
from common.errors import UserError
from common.runtime import distributed
from common.runtime.distributed import World
from common.runtime.precision import settled
from common.runtime.provenance import claim_together
from common.runtime.seeding import numpy_generator, seed_everything
from common.training.augmentation import Turn
from common.training.loop import Plan, Task, cosine, fit
from common.training.source_domain import SourceDomain, Window


@dataclass(frozen=True)
class Setup:
    """A trainer's opened recipe. `folder` is where everything goes."""

    config: TrainConfig
    world: World
    train: SourceDomain
    validation: SourceDomain
    folder: Path

    def draw(self, item: int, frames: int) -> tuple[Window, Turn, np.random.Generator]:
        """Crop, flips and the rest of the random stream of sample number `item` of the whole training."""
        rng = numpy_generator(self.config.runtime.seed, "sample", item)
        window = self.train.draw(rng, self.config.schedule.crop_size, frames)
        augment = self.config.data.augment
        turn = Turn() if augment == "none" else Turn.draw(rng, augment == "flip_rotate")
        return window, turn, rng


def open_recipe(description: str) -> Setup:
    """Parse `--config FILE [--set section.key=value ...] [--overwrite]`, join the process group, open the
    data."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, help="recipe, see configs/train/")
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="section.key=value",
        help="change single keys",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="start anew in a folder that holds another training"
    )
    options = parser.parse_args()
    config = load_config(TrainConfig, options.config, options.overrides)
    world = distributed.start(config.runtime.device, config.runtime.tf32)
    config = settled(config, world)
    hint = "scripts/make_synthetic_dataset.py makes one"
    train = SourceDomain(require(config.data.root, "data.root", hint), config.runtime.cache_gib)
    validation = SourceDomain(
        require(config.data.validation, "data.validation", hint), config.runtime.cache_gib
    )
    if config.schedule.batch_size % world.size:
        raise UserError(
            f"schedule.batch_size: {config.schedule.batch_size} cannot be divided among "
            f"{world.size} processes"
        )
    folder = require(config.output, "output", "folder for checkpoints and log")
    settings = {name: value for name, value in as_dict(config).items() if name not in ("output", "runtime")}
    runtime = config.runtime
    precision = distributed.precision_record(world.device, runtime.precision, runtime.tf32, runtime.compile)
    settings["runtime"] = {"precision": precision, "seed": runtime.seed}
    claim_together(world, folder, settings, config, options.overwrite)
    seed_everything(config.runtime.seed)
    return Setup(config, world, train, validation, folder)


def build(make: Callable[[], nn.Module]) -> nn.Module:
    """The network that `make` returns; what it cannot take becomes a UserError that names the section."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise UserError(f"network (name, architecture, initialise): {error}") from None


def check_crop(setup: Setup, multiple: int, minimum: int) -> None:
    """UserError unless the network can take the recipe's crops."""
    size = setup.config.schedule.crop_size
    if size % multiple or size < minimum:
        raise UserError(
            f"schedule.crop_size: expected a multiple of {multiple}, at least {minimum}, found {size}"
        )


def train(
    setup: Setup, network: nn.Module, task: Task, architecture: dict, name: str, **more: str | float
) -> None:
    """Run the recipe's schedule on `network` and say where the result lies. `more`: facts for its
    checkpoints."""
    config, schedule = setup.config, setup.config.schedule
    steps = schedule.steps or schedule.epochs * math.ceil(len(setup.train) / schedule.batch_size)
    if steps < 1:
        raise UserError("schedule.steps and schedule.epochs are both 0: set one of them")
    if config.network.weights is not None:
        load_into(network, config.network.weights)
    plan = Plan(
        steps,
        schedule.batch_size,
        lambda step: cosine(
            step, steps, schedule.learning_rate, schedule.min_learning_rate, schedule.warmup_steps
        ),
        schedule.gradient_clip,
        config.runtime.precision,
        config.runtime.seed,
        config.runtime.workers,
        schedule.validate_every,
        schedule.save_every,
        label=name,
        compile=config.runtime.compile,
    )
    facts = {"network": name, "architecture": architecture, **more}
    rows = fit(network, task, plan, setup.folder, setup.world, facts)
    if setup.world.main:
        figures = (
            ", ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()) if rows else "nothing to do"
        )
        print(f"{figures}\nweights: {setup.folder / 'best.pth'}, all states: {setup.folder / 'last.pth'}")


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
