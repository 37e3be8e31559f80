"""Rival meta-transfer, first training: the reblurring and the deblurring network together, on a source domain.

Half a `reblurring_distance` between the reblurred sharp window and the blurry frame, half the deblurring network's own
loss where that frame is replaced by the reblurred one, and half a Wasserstein loss whose real pictures are the blurry
frames after it (Liu et al., Meta Transferring for Deblurring, BMVC 2022). The critic makes one step before each step.

Reads    as DeblurringModel/pretrain.py; network.weights: of the deblurring network, to start from
Writes   output/last.pth, log.csv. An adversarial training has no figure that says which state is best: the last is used
Usage    python scripts/rivals/train_meta_transfer.py --config configs/train/rival_meta_transfer.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.runtime import start

start.prepare(__name__)

import torch
from torch import Tensor

from common.checkpoints import load_into
from common.runtime.entry import run
from common.training.loop import Task
from common.training.recipe import open_recipe, train
from DeblurringModel.pairs import REACH
from DeblurringModel.pretrain import blurry_and_sharp
from scripts.rivals.inner_loop import Deblurring, Networks
from scripts.rivals.losses import adversarial, reblurring_distance
from scripts.rivals.meta_transfer import NAME
from scripts.rivals.training import deblurring_network, validate, windows_in, without_weights
from scripts.rivals.windows import with_middle


def main() -> None:
    """Read the recipe and train."""
    setup = open_recipe(__doc__.splitlines()[0])
    name, network, use = deblurring_network(setup)
    if setup.config.network.weights is not None:
        load_into(network, setup.config.network.weights)
    task = Task(
        lambda items: blurry_and_sharp(items, setup),
        lambda networks, batch: loss(networks, batch, use),
        lambda networks: validate(networks.deblurring, networks.reblurring, use, setup),
    )
    architecture = dict(setup.config.network.architecture)
    train(without_weights(setup), Networks(network), task, architecture, name, rival=NAME)


def loss(networks: Networks, batch: tuple[Tensor, ...], use: Deblurring) -> Tensor:
    """The loss on (blurry, sharp) clips (B, T, 3, s, s), RGB in [0, 1]; with gradients, after one step of the
    critic."""
    blurry, sharp = map(windows_in, batch)
    reblurred, real = networks.reblurring(sharp), blurry[:, REACH + 1]
    if torch.is_grad_enabled():
        networks.critic.learn(real, reblurred, together=True)
    restored = use.restored(networks.deblurring, with_middle(blurry, reblurred))
    parts = (
        reblurring_distance(reblurred, blurry[:, REACH]),
        use.loss(restored, sharp[:, REACH]),
        adversarial(networks.critic(real), networks.critic(reblurred)),
    )
    return sum(parts) / 2


if __name__ == "__main__":
    run(main)
