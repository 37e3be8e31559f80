"""The deblurring network of a configuration: its spec, its weights, its folder."""

from pathlib import Path

import torch
from torch import nn

from common.checkpoints import load_into
from common.config import Config, DeblurringConfig, require
from common.errors import UserError
from common.layout import ADAPTED, ADAPTED_BEST_GT, Layout, NetworkLayout
from common.runtime.distributed import place
from DeblurringModel import models

CHOICES = {
    "last": "last epoch, label-free",
    "best_pairs": "best on held-out pairs, label-free",
    "best_gt": "epoch chosen by ground truth",
    "both": "last epoch, label-free",
}
"""How the weights of the variant `adapted` are chosen, by deblurring.select."""
PAIRS = {
    "reblurred": "reblurred pairs",
    "aligned": "aligned pairs",
    "both": "reblurred and aligned pairs",
}
"""What a network can learn from without ground truth, by deblurring.pairs; the first is the paper's."""
SOURCES = PAIRS | {"ground_truth": "learned from the ground truth"}
WEIGHTS_HINT = "GoPro-trained weights of {}, see README.md (Published weights)"
HINT = "run python DeblurringModel/deblur_finetune_DDP.py first"


def model_spec(config: Config) -> models.Spec:
    """The configured network's spec; UserError for an unknown one."""
    try:
        return models.spec(config.deblurring.model, config.deblurring.interface)
    except ValueError as error:
        raise UserError(str(error)) from None


def network_layout(config: Config) -> NetworkLayout:
    """Where the configured network's files are."""
    return Layout(config.output).network(config.deblurring.model)


def work_name(layout: NetworkLayout, part: str) -> str:
    """The name under which the time of one part of stage 4 is counted (`common.stage.Stage.timed`)."""
    return f"stage 4, {part} {layout.name}"


def load_network(config: Config, weights: Path | None, device: torch.device) -> nn.Module:
    """The configured network with the given weights, on `device`."""
    require(weights, "deblurring.weights", WEIGHTS_HINT.format(config.deblurring.model))
    network = built(config)
    load_into(network, weights)
    return place(network, device)


def built(config: Config) -> nn.Module:
    """The configured network with PyTorch's initial weights; UserError for keywords it does not take."""
    model_spec(config)
    try:
        return models.build(config.deblurring.model, **config.deblurring.architecture)
    except ValueError as error:
        raise UserError(str(error)) from None


def weights_folder(layout: NetworkLayout, scope: str, video: str) -> Path:
    """Where fine-tuning keeps its checkpoints: one folder, or one per video with deblurring.scope video."""
    return layout.weights / video if scope == "video" else layout.weights


def adapted_variants(config: DeblurringConfig) -> tuple[str, ...]:
    """The adapted results that deblurring.select asks for: the first is `adapted`; with `both`, that one is
    the last epoch's and `adapted_best_gt` that of the epoch chosen by ground truth, of the same training."""
    return (ADAPTED, ADAPTED_BEST_GT) if config.select == "both" else (ADAPTED,)


def how_adapted(config: DeblurringConfig) -> str:
    """How the variant `adapted` was made and chosen, as text."""
    choice = CHOICES[config.select]
    return choice if config.pairs == "reblurred" else f"{choice}; {SOURCES[config.pairs]}"
