"""From a video's frames to blur magnitude maps."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from common.constants import MAGNITUDE_SCALE
from common.errors import UserError
from common.images import pad_to_multiple, to_tensor


def estimate(network: nn.Module, frames: np.ndarray, device: torch.device) -> np.ndarray:
    """Raw magnitude maps float32 (B, H, W), in units of 205 pixels, of frames uint8 RGB (B, H, W, 3) of any
    size.

    Sizes the network accepts (0 or 7 modulo 8) are fed as they are, for the same numbers as the released
    code; others are padded at the right and bottom and the map is cropped back.
    """
    height, width = frames.shape[1:3]
    # The network is fed BGR, the order in which the authors' code reads images.
    images = to_tensor(frames[..., ::-1], device)
    if height % 8 not in (0, 7) or width % 8 not in (0, 7) or min(height, width) < 23:
        images = pad_to_multiple(images, 8, minimum=24)
    images = images.contiguous(memory_format=torch.channels_last)
    maps = network(images)
    if (
        maps.ndim != 4
        or maps.shape[:2] != (len(frames), 1)
        or maps.shape[2] < height
        or maps.shape[3] < width
    ):
        raise UserError(
            f"rsdm.estimator: has to return {(len(frames), 1, *images.shape[2:])} for pictures "
            f"{tuple(images.shape)}, found {tuple(maps.shape)}"
        )
    return maps[:, 0, :height, :width].float().cpu().numpy()


def with_moving_neighbours(
    magnitudes: Sequence[np.ndarray],
    positions: Sequence[int],
    minimum: float,
) -> list[int]:
    """Those of `positions` whose previous and next frame both have a mean magnitude of at least `minimum`
    pixels; all of them where none has.

    Around a standstill the neighbours of a sharp frame are sharp as well, and a network fine-tuned there
    learns to copy them. magnitudes: raw maps (H, W) of all frames of a video, in units of 205 pixels; 0 <
    position < last.
    """
    means = [float(magnitude.mean()) * MAGNITUDE_SCALE for magnitude in magnitudes]
    moving = [position for position in positions if min(means[position - 1], means[position + 1]) >= minimum]
    return moving or list(positions)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of two equally long series without ties; 0 where one of them is
    constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    ranks = np.argsort(np.argsort([first, second], axis=1), axis=1)
    return float(np.corrcoef(ranks)[0, 1])
