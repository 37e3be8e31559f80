"""Training samples of ID-Blau."""

import random

import numpy as np
import torch

from BlurringModel.id_blau.strategies import set_condition
from common.config import DiffusionConfig
from common.images import to_tensor
from common.training.augmentation import Turn
from common.training.source_domain import SourceDomain, Window

Sample = tuple[Window, Turn, np.random.Generator]


def normalise_condition(condition: torch.Tensor, scale: float) -> torch.Tensor:
    """Condition (..., 3, H, W) in pixels -> what the network sees: magnitude / scale, at most 1."""
    magnitude = (condition[..., 2:, :, :] / scale).clamp(max=1)
    return torch.cat([condition[..., :2, :, :], magnitude], dim=-3)


def sharp_condition_blur(
    samples: list[Sample], domain: SourceDomain, recipe: DiffusionConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blurred crops (B, 3, s, s) in [-0.5, 0.5], and what the network is given (B, 6, s, s): the sharp crop
    in the same range and the condition.

    recipe.align_condition: move the condition map with the picture, or change its vectors only as the
    published training does. recipe.reverse_direction: for half of the samples the direction points the other
    way, since averaging over the exposure forgets the order of time.
    """
    blurred, sharp, conditions = [], [], []
    for window, turn, rng in samples:
        blurred.append(turn.image(domain.images("Blur/RGB", window)[0]))
        sharp.append(turn.image(domain.images("Sharp/RGB", window)[0]))
        condition = domain.condition_crop(window)
        condition = (
            turn.condition(condition) if recipe.align_condition else turn.condition_as_published(condition)
        )
        if recipe.reverse_direction and rng.integers(2):
            condition = condition * np.array([-1, -1, 1], np.float32)[:, None, None]
        normalised = normalise_condition(
            torch.from_numpy(np.ascontiguousarray(condition)), recipe.magnitude_scale
        )
        if recipe.strategy and rng.integers(2):
            stream = random.Random(int(rng.integers(2**32)))
            normalised = set_condition(normalised[None], recipe.strategy, rng=stream)[0]
        conditions.append(normalised)
    given = torch.cat([to_tensor(np.stack(sharp)) - 0.5, torch.stack(conditions)], dim=1)
    return to_tensor(np.stack(blurred)) - 0.5, given
