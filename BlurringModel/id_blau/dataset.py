"""Training samples of ID-Blau."""

import random

import numpy as np
import torch

from BlurringModel.id_blau.strategies import set_condition
from common.config import DiffusionConfig
from common.images import to_tensor
from common.training.augmentation import Augmentation
from common.training.source_domain import Crop, SourceDomain

Sample = tuple[Crop, Augmentation, np.random.Generator]


def normalise_condition(condition: torch.Tensor, scale: float) -> torch.Tensor:
    """Condition (..., 3, H, W) in pixels -> what the network sees: magnitude / scale, at most 1."""
    magnitude = (condition[..., 2:, :, :] / scale).clamp(max=1)
    return torch.cat([condition[..., :2, :, :], magnitude], dim=-3)


def encode_direction(condition: torch.Tensor, direction: str) -> torch.Tensor:
    """Condition (..., 3, H, W) with its unit vectors as the network is given them.

    direction: "vector", (cos a, sin a) as published, or "axis", (cos 2a, sin 2a). Blur along a and along
    a + 180 degrees is the same: of the vector a network has to learn an even function, and a short training
    learns the mean over all directions instead. The axis is the same for both. Where there is no direction,
    (0, 0), there is none afterwards.
    """
    if direction == "vector":
        return condition
    x, y, magnitude = condition.unbind(dim=-3)
    return torch.stack([x * x - y * y, 2 * x * y, magnitude], dim=-3)


def crops(
    samples: list[Sample],
    domain: SourceDomain,
    aligned: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blurred and sharp crops (B, s, s, 3) uint8 and conditions (B, 3, s, s) in pixels, augmented.

    aligned: the condition map moves with the picture; otherwise its vectors only, as in the published
    training.
    """
    blurred, sharp, conditions = [], [], []
    for crop, augmentation, _ in samples:
        blurred.append(augmentation.image(domain.images("Blur/RGB", crop)[0]))
        sharp.append(augmentation.image(domain.images("Sharp/RGB", crop)[0]))
        condition = domain.condition_crop(crop)
        conditions.append(
            augmentation.condition(condition) if aligned else augmentation.condition_as_published(condition)
        )
    return np.stack(blurred), np.stack(sharp), np.stack(conditions)


def sharp_condition_blur(
    samples: list[Sample],
    domain: SourceDomain,
    recipe: DiffusionConfig,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blurred crops (B, 3, s, s) in [-0.5, 0.5], and what the network is given (B, 6, s, s): the sharp crop
    in the same range and the condition.

    recipe.align_condition: see `crops`. recipe.reverse_direction: for half of the samples the direction
    points the other way, since averaging over the exposure forgets the order of time.
    """
    blurred, sharp, conditions = crops(samples, domain, recipe.align_condition)
    seen = []
    for condition, (_, _, rng) in zip(conditions, samples):
        if recipe.reverse_direction and rng.integers(2):
            condition = condition * np.array([-1, -1, 1], np.float32)[:, None, None]
        normalised = normalise_condition(torch.from_numpy(condition), recipe.magnitude_scale)
        if recipe.strategy and rng.integers(2):
            stream = random.Random(int(rng.integers(2**32)))
            normalised = set_condition(normalised[None], recipe.strategy, rng=stream)[0]
        seen.append(encode_direction(normalised, recipe.direction))
    given = torch.cat([to_tensor(sharp) - 0.5, torch.stack(seen)], dim=1)
    return to_tensor(blurred) - 0.5, given
