"""Training samples of the Blur Magnitude Estimator."""

import numpy as np
import torch

from common.constants import MAGNITUDE_SCALE
from common.images import to_tensor
from common.training.augmentation import Augmentation
from common.training.source_domain import Crop, SourceDomain


def blur_and_magnitude(
    samples: list[tuple[Crop, Augmentation, np.random.Generator]],
    domain: SourceDomain,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blurry crops (B, 3, s, s), BGR in [0, 1], and their magnitudes (B, 1, s, s) in units of 205 pixels."""
    images = np.stack(
        [augmentation.image(domain.images("Blur/RGB", crop)[0]) for crop, augmentation, _ in samples]
    )
    magnitudes = np.stack(
        [augmentation.plane(domain.condition_crop(crop)[2:]) for crop, augmentation, _ in samples]
    )
    return to_tensor(images[..., ::-1]), torch.from_numpy(np.ascontiguousarray(magnitudes)) / MAGNITUDE_SCALE
