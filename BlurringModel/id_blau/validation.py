"""How near ID-Blau comes to the true blur: crops of a source domain, reblurred with the true condition."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from BlurringModel.id_blau.dataset import Sample, crops, encode_direction, normalise_condition
from BlurringModel.id_blau.diffusion import Draw, GaussianDiffusion, seeded_draws
from common.config import DiffusionConfig
from common.errors import UserError
from common.images import to_image, to_tensor
from common.metrics import psnr
from common.rendering.line_blur import line_blur, turned
from common.runtime.seeding import derive_seed, numpy_generator
from common.training.augmentation import Augmentation
from common.training.recipe import validation_frames
from common.training.source_domain import Crop, SourceDomain

FRAMES = 24
Sampler = Callable[[torch.Tensor, torch.Tensor, Draw], torch.Tensor]
"""From conditions (B, 6, H, W), initial noise (B, 3, H, W) and further draws to blurred images (B, 3, H, W)."""


def fixed_crops(domain: SourceDomain, size: int, every: bool = False) -> list[Sample]:
    """A crop of size x size pixels of FRAMES frames, or of every frame, always the same, without
    augmentation; UserError for a frame smaller than the crop."""
    samples = []
    for video, position in validation_frames(domain, len(domain) if every else FRAMES):
        frame = domain.videos[video][position]
        height, width = domain.frame("Blur/RGB", video, frame).shape[:2]
        if min(height, width) < size:
            raise UserError(
                f"{domain.root / video}: frames of {width} x {height} pixels are smaller than "
                f"schedule.crop_size {size}"
            )
        rng = numpy_generator("validation", video, frame)
        crop = Crop(
            video, (frame,), int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1)), size
        )
        samples.append((crop, Augmentation(), rng))
    return samples


@dataclass(frozen=True)
class Reblurred:
    """Crops of a data set, each (B, s, s, 3) uint8: sharp, truly blurred, blurred by the network with the
    true condition, with the same turned by 90 degrees and with no blur at all, and blurred along straight
    lines."""

    sharp: np.ndarray
    truth: np.ndarray
    network: np.ndarray
    network_turned: np.ndarray
    network_still: np.ndarray
    line: np.ndarray


def reblur(
    network: GaussianDiffusion,
    domain: SourceDomain,
    samples: list[Sample],
    recipe: DiffusionConfig,
    sampler: Sampler,
    gamma: float = 1.0,
) -> Reblurred:
    """The crops `samples`, reblurred by the sampler.

    recipe: how the network is given a condition. gamma: exponent of the pictures' encoding for the line blur.
    """
    truth, sharp, conditions = crops(samples, domain, aligned=True)
    images, lines = to_tensor(sharp), torch.from_numpy(conditions)
    device = next(network.parameters()).device
    draw = seeded_draws([derive_seed("validation", index) for index in range(len(samples))])

    def sampled(condition: torch.Tensor) -> np.ndarray:
        seen = encode_direction(normalise_condition(condition, recipe.magnitude_scale), recipe.direction)
        given = torch.cat([images - 0.5, seen], dim=1).to(device)
        return to_image(sampler(given, draw(0, images.shape).to(device), draw).cpu() + 0.5)

    return Reblurred(
        sharp,
        truth,
        sampled(lines),
        sampled(turned(lines)),
        sampled(torch.zeros_like(lines)),
        to_image(line_blur(images, lines, gamma)),
    )


def reblurring_figures(crops: Reblurred) -> dict[str, float]:
    """Mean PSNR in dB against the truly blurred crops: of the network's with the true condition, with the
    condition turned by 90 degrees, of a blur along straight lines, and of the sharp crops as they are; and of
    the network's with no blur against the sharp crops (psnr_still).

    A network that reads the direction is worse with the turned condition. One that takes fine texture away
    where nothing is to be blurred has a low psnr_still: pairs made with it teach to sharpen what is sharp.
    """
    compared = {
        "psnr_reblurred": (crops.network, crops.truth),
        "psnr_turned": (crops.network_turned, crops.truth),
        "psnr_line": (crops.line, crops.truth),
        "psnr_sharp": (crops.sharp, crops.truth),
        "psnr_still": (crops.network_still, crops.sharp),
    }
    return {
        name: float(np.mean([psnr(mine, other) for mine, other in zip(*pictures)]))
        for name, pictures in compared.items()
    }
