"""Train a deblurring network on a source domain (GoPro or rendered): blurry clip -> sharp frames.

Reads    data.root and data.validation: <video>/{Blur/RGB,Sharp/RGB}/<frame>.png;
         with data.render, data.content in place of data.root
Writes   output/{last,best}.pth, log.csv, sample.png (blurry, restored, sharp)
Usage    python DeblurringModel/pretrain.py --config configs/train/estrnn_demo.yaml
         torchrun --nproc_per_node=4 DeblurringModel/pretrain.py --config configs/train/estrnn_gopro.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import numpy as np
from torch import Tensor, nn

from common.images import to_tensor, write_image
from common.runtime.entry import run
from common.training.loop import Task
from common.training.recipe import (
    Setup,
    build,
    check_crop,
    mean_figures,
    open_recipe,
    train,
)
from DeblurringModel import losses, models
from DeblurringModel.ESTRNN.identity import start_as_identity
from DeblurringModel.ESTRNN.model import ESTRNN
from DeblurringModel.validation import restored_frames, side_by_side


def main() -> None:
    """Read the recipe and train."""
    setup = open_recipe(__doc__.splitlines()[0])
    recipe = setup.config.network
    name = recipe.name or "ESTRNN"

    def make() -> nn.Module:
        network = models.build(name, **recipe.architecture)
        if recipe.initialise == "identity":
            if not isinstance(network, ESTRNN):
                raise ValueError("identity is a start for ESTRNN only")
            start_as_identity(network)
        return network

    network = build(make)
    spec = models.spec(name)
    check_crop(setup, spec.multiple, spec.minimum)
    schedule = setup.config.schedule
    distance = losses.named(schedule.loss, schedule.fourier_weight, spec.training_loss)

    def loss(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        blurry, sharp = batch
        restored = net(models.to_range(blurry, spec))
        target = sharp[:, spec.past : sharp.shape[1] - spec.future]
        return distance(restored, models.to_range(target, spec))

    task = Task(
        lambda items: blurry_and_sharp(items, setup, spec.past),
        loss,
        lambda net: validate(net, setup, spec),
        best="psnr",
    )
    train(setup, network, task, dict(recipe.architecture), name)


def blurry_and_sharp(items: list[int], setup: Setup, past: int = 0) -> tuple[Tensor, Tensor]:
    """Blurry and sharp clips (B, T, 3, s, s), RGB in [0, 1].

    past: frames before the first one that the network restores. In a share data.first_frames of the clips these are
    mirrored from the frames after it, as those of a video's first frame are at test time.
    """
    share = setup.config.data.first_frames
    blurry, sharp = [], []
    for item in items:
        crop, augmentation, rng = setup.draw(item)
        clip = augmentation.image(setup.train.images("Blur/RGB", crop))
        if past and share and len(clip) > 2 * past and rng.uniform() < share:
            clip = np.concatenate([clip[past + 1 : 2 * past + 1][::-1], clip[past:]])
        blurry.append(clip)
        sharp.append(augmentation.image(setup.train.images("Sharp/RGB", crop)))
    return to_tensor(np.stack(blurry)), to_tensor(np.stack(sharp))


def validate(network: nn.Module, setup: Setup, spec: models.Spec) -> dict[str, float]:
    """PSNR of restored whole frames (middle of five) against the sharp ones, and of the blurry ones
    themselves."""
    rows, shown = [], []
    for frame in restored_frames(network, spec, setup.validation):
        rows.append(frame.figures())
        if len(shown) < 3:
            shown.append(frame)
    write_image(setup.folder / "sample.png", side_by_side(shown))
    return mean_figures(rows)


if __name__ == "__main__":
    run(main)
