"""Rival meta-transfer, second training: from which weights does the inner loop get farthest?

For each clip the networks are adapted as at test time (scripts/rivals/inner_loop.py), on its blurry frames alone. The
gradient of the supervised losses at the adapted weights is then applied to the unadapted ones (first order; Liu et al.,
Meta Transferring for Deblurring, BMVC 2022). Supervised are the deblurring network on blurry windows of the clip and
the reblurring network on sharp ones, both at random places. The critic is that of the first training.

Reads    as DeblurringModel/pretrain.py; network.weights: last.pth of scripts/rivals/train_meta_transfer.py
Writes   output/last.pth, log.csv
Usage    python scripts/rivals/meta_learn.py --config configs/train/rival_meta_learning.yaml
"""

import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.runtime import start

start.prepare(__name__)

import numpy as np
import torch
from torch import Tensor

from common.config import require
from common.images import to_tensor
from common.runtime.distributed import mixed_precision
from common.runtime.entry import run
from common.training.loop import Task
from common.training.recipe import Setup, open_recipe, train
from DeblurringModel.pairs import REACH
from scripts.rivals.inner_loop import Deblurring, Inner, Networks, adapt, first_order
from scripts.rivals.losses import reblurring_distance
from scripts.rivals.meta_transfer import INNER, NAME
from scripts.rivals.training import deblurring_network, validate
from scripts.rivals.windows import LARGEST, anywhere, cut, sharpest

SUPERVISED = 4
"""Windows of a clip that the outer step looks at."""
HINT = "last.pth of scripts/rivals/train_meta_transfer.py"


def main() -> None:
    """Read the recipe and train."""
    setup = open_recipe(__doc__.splitlines()[0])
    require(setup.config.network.weights, "network.weights", HINT)
    name, network, use = deblurring_network(setup)
    task = Task(
        lambda items: episodes(items, setup),
        lambda networks, batch: loss(networks, batch, use, INNER),
        lambda networks: validate(networks.deblurring, networks.reblurring, use, setup),
    )
    train(setup, Networks(network), task, dict(setup.config.network.architecture), name, rival=NAME)


def episodes(items: list[int], setup: Setup) -> tuple[Tensor, Tensor, Tensor]:
    """Windows of each clip, RGB in [0, 1]: its sharpest (B, patches, 5, 3, s, s), and (B, SUPERVISED, 5, 3, s, s)
    blurry and sharp ones at the same places. s: LARGEST, or the clip's own size where that is smaller."""
    made = []
    for item in items:
        crop, augmentation, rng = setup.draw(item)
        blurry, sharp = (
            augmentation.image(setup.train.images(kind, crop)) for kind in ("Blur/RGB", "Sharp/RGB")
        )
        frames, *size = blurry.shape[:3]
        side = min(LARGEST, *size)
        chosen = sharpest(blurry.__getitem__, frames, tuple(size), side, rng, INNER.patches)
        places = anywhere(frames, tuple(size), side, rng, SUPERVISED)
        parts = (blurry, chosen), (blurry, places), (sharp, places)
        made.append([cut(clip.__getitem__, where, side) for clip, where in parts])
    return tuple(to_tensor(np.stack(parts)) for parts in zip(*made))


def loss(networks: Networks, batch: tuple[Tensor, ...], use: Deblurring, inner: Inner) -> Tensor:
    """The mean supervised loss of the networks adapted to each of the `episodes`; see `first_order` for its
    gradient."""
    parts = []
    for windows, blurry, sharp in zip(*batch):
        adapted = copy.deepcopy(networks)
        for network in (adapted.deblurring, adapted.reblurring):
            network.requires_grad_()
        adapt(adapted, windows, use, inner)
        with torch.enable_grad(), mixed_precision(networks, blurry.device, use.precision):
            found = supervised(adapted, blurry, sharp, use)
        parts.append(first_order(found, adapted.trained(), networks.trained()))
    return torch.stack(parts).mean()


def supervised(networks: Networks, blurry: Tensor, sharp: Tensor, use: Deblurring) -> Tensor:
    """The deblurring network's own loss on blurry windows (B, 5, 3, s, s) + `reblurring_distance` on sharp ones."""
    restored = use.restored(networks.deblurring, blurry)
    reblurred = networks.reblurring(sharp)
    return use.loss(restored, sharp[:, REACH]) + reblurring_distance(reblurred, blurry[:, REACH])


if __name__ == "__main__":
    run(main)
