"""Train ID-Blau: sharp frame and blur condition -> blurred frame, by diffusion.

Reads    data.root (or data.content, see data.render) and data.validation:
         <video>/{Blur/RGB,Sharp/RGB}/<frame>.png, Condition/<frame>.npy
Writes   output/{last,best}.pth, log.csv, sample.png (sharp; reblurred with the true condition, with the same
         turned by 90 degrees, along lines; true blur)
Usage    python BlurringModel/id_blau/train.py --config configs/train/id_blau_demo.yaml
         torchrun --nproc_per_node=4 BlurringModel/id_blau/train.py --config configs/train/id_blau_gopro.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.runtime import start

start.prepare(__name__)

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from BlurringModel.id_blau.dataset import Sample, sharp_condition_blur
from BlurringModel.id_blau.diffusion import ONE_STEP, GaussianDiffusion, linear_betas
from BlurringModel.id_blau.initial import start_from_input
from BlurringModel.id_blau.strategies import TOKENS
from BlurringModel.id_blau.unet import UNet
from BlurringModel.id_blau.validation import fixed_crops, reblur, reblurring_figures
from common.config import DiffusionConfig
from common.errors import UserError
from common.images import write_image
from common.runtime.entry import run
from common.training.loop import Task
from common.training.recipe import Setup, build, check_crop, open_recipe, train


def main() -> None:
    """Read the recipe and train."""
    setup = open_recipe(__doc__.splitlines()[0])
    recipe = setup.config.diffusion
    architecture = dict(setup.config.network.architecture)
    unknown = [token for token in recipe.strategy if token not in TOKENS]
    if unknown:
        raise UserError(f"diffusion.strategy: expected some of {', '.join(TOKENS)}, found {unknown[0]!r}")
    if recipe.sampling_steps == 1 and recipe.prediction == "noise":
        raise UserError(f"diffusion.sampling_steps: {ONE_STEP}")
    betas = linear_betas(recipe.num_timesteps, recipe.beta_1, recipe.beta_T)
    network = build(lambda: GaussianDiffusion(UNet(**architecture), betas, recipe.prediction))
    check_crop(setup, network.model.multiple, network.model.multiple)
    samples = fixed_crops(setup.validation, setup.config.schedule.crop_size)
    if setup.config.network.initialise == "identity":
        start_from_input(network.model, recipe.prediction)
    task = Task(
        lambda items: sharp_condition_blur([setup.draw(item, 1) for item in items], setup.train, recipe),
        lambda net, batch: diffusion_loss(net, batch, recipe),
        lambda net: validate(net, setup, samples),
        best="psnr_reblurred",
    )
    metadata = {
        "prediction": recipe.prediction,
        "direction": recipe.direction,
        "magnitude_scale": recipe.magnitude_scale,
    }
    train(setup, network, task, architecture, "ID-Blau", **metadata)


def diffusion_loss(network: nn.Module, batch: tuple[Tensor, ...], recipe: DiffusionConfig) -> Tensor:
    """Charbonnier distance between prediction and truth (noise or image) at a random timestep per sample.

    With a timestep_power above 1 small timesteps are drawn more often. There the noise is weak and hard to
    predict, so a short training learns these steps last; it learns the large ones at once.
    """
    blurred, given = batch
    uniform = torch.rand(len(blurred), device=blurred.device)
    timesteps = (
        (uniform**recipe.timestep_power * network.num_timesteps).long().clamp(max=network.num_timesteps - 1)
    )
    return network.loss(blurred, given, timesteps, training_noise(blurred, recipe.offset_noise))


def training_noise(like: Tensor, offset: float) -> Tensor:
    """White noise of the shape of `like` (B, 3, H, W), plus smooth noise of deviation `offset`.

    White noise hardly changes the mean colour of large areas. A network trained with it alone learns to copy
    that colour from the noisy image, and keeps the wrong colours that the first steps of sampling leave
    there. With smooth noise in the training it has to take the colour from the sharp image.
    """
    noise = torch.randn_like(like)
    if offset:
        constant = torch.randn(*like.shape[:2], 1, 1, device=like.device)
        coarse = torch.randn(*like.shape[:2], 4, 4, device=like.device)
        noise = noise + offset * (constant + F.interpolate(coarse, like.shape[2:], mode="bicubic")) / 2**0.5
    return noise


def validate(network: nn.Module, setup: Setup, samples: list[Sample]) -> dict[str, float]:
    """How near the reblurred crops come to the truly blurred ones, with the true and with a wrong direction.
    sample.png shows some."""
    recipe = setup.config.diffusion
    crops = reblur(
        network,
        setup.validation,
        samples,
        recipe,
        lambda condition, noise, draw: network.ddim_sample(condition, noise, recipe.sampling_steps),
    )
    columns = (crops.sharp, crops.network, crops.network_turned, crops.line, crops.truth)
    shown = [np.concatenate(row, axis=1) for row in zip(*(column[:6] for column in columns))]
    write_image(setup.folder / "sample.png", np.concatenate(shown))
    return reblurring_figures(crops)


if __name__ == "__main__":
    run(main)
