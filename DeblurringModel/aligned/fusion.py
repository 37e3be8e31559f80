"""Borrowed pictures and a network's results put together. Arrays in, arrays out."""

import numpy as np

from common.rendering.alignment import to_bytes
from DeblurringModel.aligned.warping import Borrowed


def laid_over(frame: np.ndarray, borrowed: Borrowed) -> np.ndarray:
    """weight x what was borrowed + (1 - weight) x the frame itself: the result without any network, uint8
    (H, W, 3)."""
    weight = borrowed.weight[..., None]
    return to_bytes(weight * borrowed.picture + (1 - weight) * frame)


SECOND_LOOK = 0.4
"""Share of what a network changes in borrowed pictures that is taken over. They are recorded pictures: nearly
sharp, with their noise. The network removes the noise, and sharpens too far what is sharp already. Chosen on
clips that no table uses; 0.3 to 0.5 differ little there."""


def fuse(
    frame: np.ndarray,
    over: np.ndarray,
    weight: np.ndarray,
    restored: np.ndarray,
    again: np.ndarray | None,
) -> np.ndarray:
    """weight x what was borrowed + (1 - weight) x a network's result, uint8 (H, W, 3).

    frame: the blurry frame; over: what was borrowed `laid_over` it; restored: the network's result; again:
    what the network makes of `over`, None where nothing was borrowed; all uint8 (H, W, 3). weight: uint8
    (H, W), 255 where all is borrowed. What the network changes is added to `over` where the frame still shows
    through, so brightness steps and seams have nowhere to come from. Raises ValueError for pictures of
    different sizes.
    """
    if not frame.shape == over.shape == restored.shape == (*weight.shape, 3):
        raise ValueError(
            "expected pictures of one size, got "
            f"{frame.shape}, {over.shape}, {weight.shape} and {restored.shape}"
        )
    taken = weight[..., None].astype(np.float32) / 255
    through = 1 - taken
    fused = over + through * (restored.astype(np.float32) - frame)
    if again is not None:
        fused += SECOND_LOOK * (taken * again - (over - through * frame))
    return to_bytes(fused)
