"""How near ID-Blau comes to the true blur: crops of a source domain, reblurred with the true condition."""

from dataclasses import replace

import numpy as np

from BlurringModel.id_blau.dataset import Sample, sharp_condition_blur
from BlurringModel.id_blau.diffusion import GaussianDiffusion, seeded_draws
from common.config import DiffusionConfig
from common.errors import UserError
from common.images import to_image
from common.metrics import psnr
from common.runtime.seeding import derive_seed, numpy_generator
from common.training.augmentation import Turn
from common.training.recipe import mean_figures, validation_frames
from common.training.source_domain import SourceDomain, Window

FRAMES = 24


def fixed_crops(domain: SourceDomain, size: int) -> list[Sample]:
    """A crop of size x size pixels of FRAMES frames, always the same, without augmentation; UserError for a
    frame smaller than the crop."""
    samples = []
    for video, position in validation_frames(domain, FRAMES):
        frame = domain.videos[video][position]
        height, width = domain.frame("Blur/RGB", video, frame).shape[:2]
        if min(height, width) < size:
            raise UserError(
                f"{domain.root / video}: frames of {width} x {height} pixels are smaller than "
                f"schedule.crop_size {size}"
            )
        rng = numpy_generator("validation", video, frame)
        window = Window(
            video, (frame,), int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1)), size
        )
        samples.append((window, Turn(), rng))
    return samples


def reblur(
    network: GaussianDiffusion,
    domain: SourceDomain,
    samples: list[Sample],
    recipe: DiffusionConfig,
    steps: int,
    eta: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sharp, reblurred (DDIM, `steps` of it) and truly blurred crops, each (B, s, s, 3) uint8."""
    # Without augmentation published and aligned conditions are equal, so this serves both.
    plain = replace(recipe, strategy=[], reverse_direction=False)
    blurred, given = sharp_condition_blur(samples, domain, plain)
    draw = seeded_draws([derive_seed("validation", index) for index in range(len(samples))])
    device = next(network.parameters()).device
    sampled = network.ddim_sample(given.to(device), draw(0, blurred.shape).to(device), steps, eta, draw).cpu()
    return tuple(to_image(part + 0.5) for part in (given[:, :3], sampled, blurred))


def reblurring_figures(sharp: np.ndarray, reblurred: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Mean PSNR in dB of reblurred crops against truly blurred ones, and of the sharp crops as they are, the
    zero line."""
    return mean_figures(
        [
            {"psnr_reblurred": psnr(again, true), "psnr_sharp": psnr(plain, true)}
            for plain, again, true in zip(sharp, reblurred, truth)
        ]
    )
