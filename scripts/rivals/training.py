"""What the trainers of the rivals share."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from common.images import pad_to_multiple, to_image, to_tensor
from common.metrics import psnr
from common.training.recipe import Setup, build, check_crop, mean_figures, validation_frames
from DeblurringModel import losses, models
from DeblurringModel.pairs import REACH
from DeblurringModel.validation import FRAMES, restored_frames, window_at
from scripts.rivals.inner_loop import Deblurring
from scripts.rivals.networks import MULTIPLE
from scripts.rivals.windows import WINDOW


def deblurring_network(setup: Setup) -> tuple[str, nn.Module, Deblurring]:
    """The recipe's deblurring network: name, network with PyTorch's initial weights, how it is used. UserError for a
    network that there is not, or that cannot take the recipe's crops."""
    recipe, schedule = setup.config.network, setup.config.schedule
    name = recipe.name or "ESTRNN"
    network = build(lambda: models.build(name, **recipe.architecture))
    spec = models.spec(name)
    # Multiples of each other: all are powers of two.
    check_crop(setup, max(spec.multiple, MULTIPLE), spec.minimum)
    distance = losses.named(schedule.loss, schedule.fourier_weight, spec.training_loss)
    return name, network, Deblurring(spec, distance, precision=setup.config.runtime.precision)


def without_weights(setup: Setup) -> Setup:
    """The same recipe, whose network.weights were already used."""
    network = replace(setup.config.network, weights=None)
    return replace(setup, config=replace(setup.config, network=network))


def windows_in(clips: Tensor) -> Tensor:
    """All windows of clips (B, T, 3, H, W): (B (T - 4), 5, 3, H, W)."""
    return torch.cat([clips[:, first : first + WINDOW] for first in range(clips.shape[1] - WINDOW + 1)])


def validate(network: nn.Module, reblurring: nn.Module, use: Deblurring, setup: Setup) -> dict[str, float]:
    """PSNR in dB over whole frames: of restored and of blurry ones against the sharp ones, of reblurred and of sharp
    ones against the blurry ones."""
    rows = [frame.figures() for frame in restored_frames(network, use.spec, setup.validation)]
    return mean_figures(rows) | mean_figures(reblurred_figures(reblurring, setup))


def reblurred_figures(reblurring: nn.Module, setup: Setup) -> list[dict[str, float]]:
    """The second half of `validate`, frame by frame."""
    domain, rows = setup.validation, []
    device = next(reblurring.parameters()).device
    for video, position in validation_frames(domain, FRAMES, margin=REACH):
        sharp = window_at(domain, "Sharp/RGB", video, position)
        blurry = domain.frame("Blur/RGB", video, domain.videos[video][position])
        height, width = blurry.shape[:2]
        window = pad_to_multiple(to_tensor(sharp, device)[None], MULTIPLE)
        made = to_image(reblurring(window)[0, :, :height, :width])
        rows.append({"psnr_reblurred": psnr(made, blurry), "psnr_sharp": psnr(sharp[REACH], blurry)})
    return rows
