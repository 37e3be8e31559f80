"""Rival reblurring loss, training: a module that blurs what is blurred and leaves alone what is sharp.

Mean absolute difference between the reblurred results of the deblurring network, which stays as it is, and their blurry
input, plus that between reblurred sharp frames and themselves (Nah et al., Clean Images are Hard to Reblur, ICLR 2022).

Reads    as DeblurringModel/pretrain.py; network.weights: of the deblurring network
Writes   output/{last,best}.pth, log.csv
Usage    python scripts/rivals/train_reblurring_loss.py --config configs/train/rival_reblurring_loss.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.runtime import start

start.prepare(__name__)

import torch
from torch import Tensor, nn

from common.checkpoints import load_into
from common.config import require
from common.images import pad_to_multiple, to_tensor
from common.runtime.distributed import place
from common.runtime.entry import run
from common.training.loop import Task
from common.training.recipe import Setup, mean_figures, open_recipe, train
from DeblurringModel.losses import mean_absolute_error
from DeblurringModel.pairs import REACH
from DeblurringModel.pretrain import blurry_and_sharp
from DeblurringModel.validation import restored_frames
from scripts.rivals.inner_loop import Deblurring
from scripts.rivals.networks import MULTIPLE, ReblurringNetwork
from scripts.rivals.reblurring_loss import NAME, changed, reblurred
from scripts.rivals.training import deblurring_network, windows_in, without_weights


def main() -> None:
    """Read the recipe and train."""
    setup = open_recipe(__doc__.splitlines()[0])
    weights = require(setup.config.network.weights, "network.weights", "of the deblurring network")
    name, network, use = deblurring_network(setup)
    load_into(network, weights)
    place(network, setup.world.device).eval().requires_grad_(False)
    task = Task(
        lambda items: blurry_and_sharp(items, setup),
        lambda module, batch: loss(module, network, batch, use),
        lambda module: validate(module, network, setup, use),
        best="loss_validated",
        higher_is_better=False,
    )
    architecture = dict(setup.config.network.architecture)
    train(without_weights(setup), ReblurringNetwork(), task, architecture, name, rival=NAME)


def loss(module: nn.Module, network: nn.Module, batch: tuple[Tensor, ...], use: Deblurring) -> Tensor:
    """The loss on (blurry, sharp) clips (B, T, 3, s, s), RGB in [0, 1]."""
    blurry, sharp = map(windows_in, batch)
    with torch.no_grad():
        restored = use.restored(network, blurry)
    return halves(module, restored, blurry[:, REACH], sharp[:, REACH])


def halves(module: nn.Module, restored: Tensor, blurry: Tensor, sharp: Tensor) -> Tensor:
    """The two parts of the loss on pictures (B, 3, H, W)."""
    return mean_absolute_error(reblurred(module, restored), blurry) + changed(module, sharp)


def validate(module: nn.Module, network: nn.Module, setup: Setup, use: Deblurring) -> dict[str, float]:
    """The loss on whole frames, and of a module that changes nothing: that of the restored ones as they are."""
    rows, device = [], setup.world.device
    for frame in restored_frames(network, use.spec, setup.validation):
        restored, blurry, sharp = (
            pad_to_multiple(to_tensor(picture, device)[None], MULTIPLE)
            for picture in (frame.restored, frame.blurry, frame.sharp)
        )
        found = halves(module, restored, blurry, sharp)
        unchanged = mean_absolute_error(restored, blurry)
        rows.append({"loss_validated": float(found), "loss_unchanged": float(unchanged)})
    return mean_figures(rows)


if __name__ == "__main__":
    run(main)
