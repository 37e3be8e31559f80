"""Blur along straight lines: what a constant motion during the exposure does to a picture.

A blur condition (3, H, W) is a direction, the unit vector (x right, y down), and a length in pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_SAMPLES_A_PIXEL = 6
"""Bilinear interpolation bends at every pixel, so a few samples between two of them are needed."""


def line_blur(images: Tensor, conditions: Tensor, gamma: float = 1.0) -> Tensor:
    """Pictures whose every pixel is the mean along its own line, which is centred on it.

    images: (B, C, H, W) in [0, 1]. conditions: (B, 3, H, W), length in pixels. gamma: exponent of the
    pictures' encoding; the mean is taken in linear light, images ** gamma. Returns (B, C, H, W) in [0, 1]. A
    pixel of length zero stays as it is. Beyond the border the picture is mirrored. Raises ValueError for
    other shapes.
    """
    if images.ndim != 4 or conditions.shape != (len(images), 3, *images.shape[2:]):
        raise ValueError(
            f"expected images (B, C, H, W) and conditions (B, 3, H, W), got {tuple(images.shape)} and "
            f"{tuple(conditions.shape)}"
        )
    light = images if gamma == 1 else images.clamp(0, 1) ** gamma
    # One by one: an item's samples must not depend on what it shares a batch with.
    means = torch.cat([_means(item, line) for item, line in zip(light.split(1), conditions.split(1))])
    blurred = means if gamma == 1 else means.clamp(0, 1) ** (1 / gamma)
    return torch.where(conditions[:, 2:] > 0, blurred, images)


def _means(image: Tensor, condition: Tensor) -> Tensor:
    """The means (1, C, H, W) along the lines of one picture, by the midpoint rule."""
    height, width = image.shape[2:]
    line = condition[:, :2] * condition[:, 2:]
    count = max(1, math.ceil(_SAMPLES_A_PIXEL * float(condition[:, 2].amax())))
    rows, columns = (torch.arange(size, dtype=torch.float32, device=image.device) for size in (height, width))
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    line = line.permute(0, 2, 3, 1).contiguous()
    last = torch.tensor([max(1, width - 1), max(1, height - 1)], device=image.device)
    total = torch.zeros_like(image)
    for index in range(count):
        grid = line * ((index + 0.5) / count - 0.5)
        # The sampler's coordinates: -1 and 1 are the centres of the outermost pixels.
        grid.add_(places).mul_(2).div_(last).sub_(1)
        total += F.grid_sample(image, grid, padding_mode="reflection", align_corners=True)
    return total / count


def turned(conditions: Tensor) -> Tensor:
    """Conditions (..., 3, H, W) with every direction turned by 90 degrees: blur across the motion."""
    x, y, length = conditions.unbind(dim=-3)
    return torch.stack([-y, x, length], dim=-3)
