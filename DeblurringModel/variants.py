"""The deblurring network of a configuration: its facts, its weights, its folder."""

from pathlib import Path

from torch import nn

from common.checkpoints import load_checkpoint, load_into
from common.config import Config, DeblurringConfig, require
from common.errors import UserError
from common.layout import ADAPTED, ADAPTED_BEST_GT, BEST, LAST, NetworkLayout
from common.regions_file import read_regions
from common.runtime.distributed import place
from common.stage import Stage
from common.videos import Video
from DeblurringModel import models

WEIGHTS_HINT = "GoPro-trained weights of {}, see README.md (Published weights)"
HINT = "run python DeblurringModel/deblur_finetune_DDP.py first"


def model_spec(config: Config) -> models.Spec:
    """Facts about the configured network; UserError for an unknown one."""
    try:
        return models.spec(config.deblurring.model, config.deblurring.interface)
    except ValueError as error:
        raise UserError(str(error)) from None


def network_layout(stage: Stage) -> NetworkLayout:
    """Where the configured network's files are."""
    return stage.layout.network(stage.config.deblurring.model)


def work_name(stage: Stage, part: str) -> str:
    """What the time of one part of stage 4 is counted under (`common.stage.Stage.timed`)."""
    return f"stage 4, {part} {network_layout(stage).name}"


def load_network(stage: Stage, weights: Path | None) -> nn.Module:
    """The configured network with the given weights, on this process's device."""
    config = stage.config.deblurring
    require(weights, "deblurring.weights", WEIGHTS_HINT.format(config.model))
    model_spec(stage.config)
    try:
        network = models.build(config.model, **config.architecture)
    except ValueError as error:
        raise UserError(str(error)) from None
    load_into(network, weights)
    return place(network, stage.world.device)


def weights_folder(stage: Stage, video: Video | None) -> Path:
    """Where fine-tuning keeps its checkpoints: one folder, or one per video (deblurring.scope video)."""
    folder = network_layout(stage).weights
    return folder / video.name if stage.config.deblurring.scope == "video" and video is not None else folder


def adapted_variants(config: DeblurringConfig) -> tuple[str, ...]:
    """The adapted results that deblurring.select asks for: the first is `adapted`; with `both`, that one is
    the last epoch's and `adapted_best_gt` that of the epoch chosen by ground truth, of the same training."""
    return (ADAPTED, ADAPTED_BEST_GT) if config.select == "both" else (ADAPTED,)


def adapted_weights(stage: Stage, video: Video, variant: str) -> Path:
    """The adapted weights that restore `video`; the unadapted ones where it had no sharp region to learn
    from.

    Raises UserError where fine-tuning has not been run or not come to its end.
    """
    config, folder = stage.config.deblurring, weights_folder(stage, video)
    if config.scope == "video" and not _has_region(stage, video):
        return require(config.weights, "deblurring.weights", "GoPro-trained weights")
    last = folder / LAST
    if not last.exists():
        raise UserError(f"{last}: no adapted weights; {HINT}")
    stored = load_checkpoint(last)
    steps = stored.get("epochs", 0) * stored.get("steps_per_epoch", 0)
    if stored.get("step", steps) < steps:
        raise UserError(f"{last}: fine-tuning stopped after step {stored['step']} of {steps}; {HINT}")
    chosen = config.select in ("best_gt", "best_pairs") or variant == ADAPTED_BEST_GT
    return folder / BEST if chosen else last


def _has_region(stage: Stage, video: Video) -> bool:
    regions = read_regions(stage.layout.sharp_regions, stage.videos)
    return any(region.video.name == video.name for region in regions)
