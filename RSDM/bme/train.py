"""Train the Blur Magnitude Estimator: blurry frame -> length of each pixel's path during the exposure.

Reads    data.root and data.validation: <video>/Blur/RGB/<frame>.png and <video>/Condition/<frame>.npy;
         with data.render, data.content in place of data.root
Writes   output/{last,best}.pth, log.csv, sample.png (blurry, true and estimated magnitude)
Usage    python RSDM/bme/train.py --config configs/train/bme_demo.yaml
         torchrun --nproc_per_node=2 RSDM/bme/train.py --config configs/train/bme_gopro.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.runtime import start

start.prepare(__name__)

import numpy as np
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from common.constants import MAGNITUDE_SCALE
from common.images import write_image
from common.layout import LAST
from common.rendering.condition_view import magnitude_picture
from common.runtime.entry import run
from common.training.loop import Task
from common.training.recipe import Setup, build, check_crop, open_recipe, train, validation_frames
from RSDM.bme.dataset import blur_and_magnitude
from RSDM.bme.model import BlurMagnitudeEstimator
from RSDM.magnitude import estimate, rank_correlation

VALIDATION_FRAMES = 32
STATISTICS_BATCHES = 16


def main() -> None:
    """Read the recipe and train."""
    setup = open_recipe(__doc__.splitlines()[0])
    architecture = {"backbone": setup.config.network.name or "resnet50", **setup.config.network.architecture}
    network = build(lambda: BlurMagnitudeEstimator(**architecture))
    check_crop(setup, 8, 24)
    fixed = setup.config.network.batch_statistics == "fixed"
    if fixed and not (setup.folder / LAST).exists():
        # In training mode batch normalisation uses the statistics of the batch. After some fifty layers the
        # network in evaluation mode then differs strongly from the trained one, unless training is very long.
        gather_statistics(network.to(setup.world.device), setup)
        network.eval()

    def loss(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        if fixed:
            keep_statistics(net)
        return magnitude_loss(net, batch)

    task = Task(
        lambda items: blur_and_magnitude([setup.draw(item, 1) for item in items], setup.train),
        loss,
        lambda net: validate(net, setup),
        best="error_px",
        higher_is_better=False,
    )
    train(setup, network, task, architecture, "BME")


def magnitude_loss(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Mean absolute error (paper) between network(BGR in [0, 1]) and magnitude / 205, both (B, 1, H, W)."""
    images, magnitudes = batch
    return (network(images).float() - magnitudes).abs().mean()


def validate(network: nn.Module, setup: Setup) -> dict[str, float]:
    """Mean absolute error in pixels and rank correlation of the frames' means over whole held-out frames;
    beside it the error of the best constant (the median of all true magnitudes)."""
    truths, estimates, pictures = [], [], []
    for video, position in validation_frames(setup.validation, VALIDATION_FRAMES):
        frame = setup.validation.videos[video][position]
        image = setup.validation.frame("Blur/RGB", video, frame)
        truths.append(np.array(setup.validation.condition(video, frame)[2]))
        estimates.append(estimate(network, image[None], setup.world.device)[0] * MAGNITUDE_SCALE)
        if len(pictures) < 4:
            pictures.append(
                np.concatenate(
                    [image, magnitude_picture(truths[-1]), magnitude_picture(estimates[-1])], axis=1
                )
            )
    same_size = [picture for picture in pictures if picture.shape == pictures[0].shape]
    write_image(setup.folder / "sample.png", np.concatenate(same_size))
    return magnitude_figures(truths, estimates)


def magnitude_figures(truths: list[np.ndarray], estimates: list[np.ndarray]) -> dict[str, float]:
    """Figures of magnitude maps (H, W) in pixels: mean absolute error, that of the best constant, and
    Spearman's rank correlation of the frames' mean magnitudes."""
    median = np.median(np.concatenate([truth.ravel() for truth in truths]))
    means = np.array([[truth.mean(), estimated.mean()] for truth, estimated in zip(truths, estimates)])
    return {
        "error_px": float(np.mean([np.abs(e - t).mean() for t, e in zip(truths, estimates)])),
        "constant_error_px": float(np.mean([np.abs(t - median).mean() for t in truths])),
        "frame_rank_correlation": rank_correlation(means[:, 1], means[:, 0]),
    }


def gather_statistics(network: nn.Module, setup: Setup) -> None:
    """Set the batch normalisation's statistics to those of the present weights on training crops."""
    size = setup.config.schedule.batch_size
    batches = (
        [setup.draw(-1 - number, 1) for number in range(start, start + size)]
        for start in range(0, STATISTICS_BATCHES * size, size)
    )
    update_bn(
        (blur_and_magnitude(batch, setup.train)[0] for batch in batches), network, device=setup.world.device
    )


def keep_statistics(network: nn.Module) -> None:
    """Use, and do not change, the stored statistics of batch normalisation, also while training."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()


if __name__ == "__main__":
    run(main)
