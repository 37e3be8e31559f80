"""Pairs, loss, length and validation of a fine-tuning."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from common.config import Config, DeblurringConfig, RuntimeConfig
from common.errors import UserError
from common.images import to_image
from common.metrics import psnr
from common.regions_file import Region
from common.runtime.distributed import World
from common.training.loop import Plan
from common.training.schedule import cosine
from common.videos import Video
from DeblurringModel import models
from DeblurringModel.evaluation import ground_truth
from DeblurringModel.inference.clips import block
from DeblurringModel.inference.restoring import clips_of, restored_frames
from DeblurringModel.losses import weighted
from DeblurringModel.pair_sources import TRUE
from DeblurringModel.pairs import Pair, Pairs, hold_out, rehearsal_pairs


def chosen_pairs(
    config: DeblurringConfig,
    regions: list[Region],
    made: list[Pair],
    rehearsal: Path,
    seed: int,
) -> tuple[list[Pair], list[Pair]]:
    """(training pairs, held-out pairs), as deblurring.select and rehearsal say.

    made: the pairs that deblurring.pairs asks for. rehearsal: folder of the unadapted results on the frames with
    `regions`.
    """
    held_out: list[Pair] = []
    if config.select == "best_pairs":
        made, held_out = hold_out(made, seed)
    if config.pairs != TRUE:
        # No rehearsal of a frame with a held-out patch: it would show the network that patch.
        shown = {pair.source or pair.name for pair in held_out}
        rehearsed = rehearsal_pairs(regions, rehearsal, config.rehearsal)
        made = made + [pair for pair in rehearsed if pair.name not in shown]
    return made, held_out


def middle_loss(
    config: DeblurringConfig,
    spec: models.Spec,
) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    """The training's loss: of (network, what `Pairs.batch` gives), the distance between
    the restored middle frames and the sharp ones. UserError where deblurring.loss cannot be loaded."""
    distance = chosen_loss(config.loss, spec)

    def loss(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        windows, sharp = (models.to_range(part, spec, config.channel_order) for part in batch[:2])
        restored = models.checked(network(windows), windows, spec)
        middle = windows.shape[1] // 2 - spec.past
        return distance(weighted(restored[:, middle : middle + 1], sharp, *batch[2:]), sharp)

    return loss


def chosen_loss(name: str | None, spec: models.Spec) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that deblurring.loss names; UserError where it cannot be loaded."""
    try:
        return models.adaptation_loss(name, spec)
    except ValueError as error:
        raise UserError(str(error)) from None


def epochs_and_steps(config: DeblurringConfig, pairs: int) -> tuple[int, int]:
    """(epochs, steps in each) of a fine-tuning on so many pairs."""
    per_epoch = math.ceil(pairs / config.batch_size)
    # On one short video ten epochs are a dozen steps. The least number leaves large data sets as published.
    return max(config.epochs, math.ceil(config.min_steps / per_epoch)), per_epoch


def interval(per_epoch: int) -> int:
    """Steps between checkpoints: every epoch, but not more often than every 50 steps on very short videos.
    Validations on the ground truth (deblurring.select) are as rare, where deblurring.min_steps has multiplied
    the epochs."""
    return per_epoch * max(1, 50 // per_epoch)


def plan_of(
    config: DeblurringConfig,
    runtime: RuntimeConfig,
    spec: models.Spec,
    epochs: int,
    per_epoch: int,
    label: str,
    validate_first: bool,
) -> Plan:
    """The training's schedule, of so many epochs of `per_epoch` steps. label: what the progress bar says.
    validate_first: whether the unadapted network is a candidate too."""
    rate = spec.learning_rate if config.learning_rate is None else config.learning_rate
    clip = spec.gradient_clip if config.gradient_clip is None else config.gradient_clip

    def keep(step: int) -> str | None:
        epoch, rest = divmod(step, per_epoch)
        kept = config.keep_every and not rest and not epoch % config.keep_every
        return f"epoch_{epoch}.pth" if kept else None

    return Plan(
        epochs * per_epoch,
        config.batch_size,
        lambda step: cosine(step // per_epoch, epochs, rate, config.min_learning_rate),
        clip,
        runtime.precision,
        runtime.seed,
        runtime.workers,
        validate_every=per_epoch if epochs == config.epochs else interval(per_epoch),
        save_every=interval(per_epoch),
        validate_first=validate_first,
        keep=keep,
        label=label,
        section="deblurring",
        compile=runtime.compile,
        optimizer=config.optimizer or "adam",
        weight_decay=config.weight_decay,
        patience=config.patience,
    )


def pairs_psnr(
    network: nn.Module,
    spec: models.Spec,
    pairs: Pairs,
    channel_order: str,
    world: World,
) -> float:
    """Mean PSNR over the pairs of the restored middle frame against the sharp patch, `Pairs.centre` crops. All
    processes have to call it; each looks at its share."""
    values = []
    for index in world.share(range(len(pairs))):
        windows, sharp, *weight = pairs.centre(index)
        restored = models.restore(network, spec, windows.to(world.device), channel_order)
        middle = windows.shape[1] // 2 - spec.past
        value = weighted_psnr(restored[0, middle].cpu(), sharp[0, 0], *(part[0, 0] for part in weight))
        values.append((index, value))
    return mean_of_all(values, world)


def weighted_psnr(restored: Tensor, sharp: Tensor, weight: Tensor | None = None) -> float:
    """PSNR in dB of (3, H, W) in [0, 1], as 8-bit pictures, of which each error counts with its weight in
    [0, 1] (as a square)."""
    if weight is None:
        return psnr(to_image(restored), to_image(sharp))
    counted = weighted(restored.clamp(0, 1), sharp, weight)
    return psnr(to_image(counted), to_image(sharp)) + 10 * math.log10(float(weight.square().mean()))


def ground_truth_psnr(
    network: nn.Module,
    spec: models.Spec,
    videos: list[Video],
    config: Config,
    world: World,
    say: Callable[[str], None],
) -> float:
    """Mean PSNR over the frames of all videos against their ground truth, which nothing else of the
    fine-tuning reads: it serves the comparison with the released code's choice of the epoch
    (deblurring.select best_gt, both). All processes have to call it; each restores its part of every video."""
    deblurring, values = config.deblurring, []
    for number, video in enumerate(videos):
        clips = clips_of(video, spec, deblurring.clip_length, deblurring.clip_overlap, "drop")
        own = block(clips, world.rank, world.size)
        values += [
            ((number, position), psnr(picture, ground_truth(video, position, picture)))
            for position, picture in restored_frames(network, spec, video, own, config, world.device, say)
        ]
    return mean_of_all(values, world)


def mean_of_all(values: list[tuple[Any, float]], world: World) -> float:
    """Mean of the numbers of all processes, added in the order of their keys, so that it is the same however
    many there are."""
    every = sorted(pair for part in world.gather(values) for pair in part)
    return sum(value for _, value in every) / len(every)
