"""Borrowed pictures and a network's results put together. Arrays in, arrays out."""

import cv2
import numpy as np

from common.rendering import kernels
from common.rendering.alignment import WITHIN, to_bytes, to_grey
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
LEAST_WEIGHT = 0.02
"""Below it an 8-bit picture does not tell what was borrowed."""
OWN_ERROR = 0.5
"""Share of the error that the weight stands for, and of the noise, that counts against what was borrowed where a
network has a result as well: the weight is cautious. Chosen on the same clips."""


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
    through, so brightness steps and seams have nowhere to come from. Where the network's result is nearer to
    what was borrowed than this is to the truth, as far as that can be told, less is borrowed. Raises
    ValueError for pictures of different sizes.
    """
    if not frame.shape == over.shape == restored.shape == (*weight.shape, 3):
        raise ValueError(
            "expected pictures of one size, got "
            f"{frame.shape}, {over.shape}, {weight.shape} and {restored.shape}"
        )
    if not weight.any():
        return restored
    taken = weight[..., None].astype(np.float32) / 255
    through = 1 - taken
    fused = over + through * (restored.astype(np.float32) - frame)
    if again is not None:
        fused += SECOND_LOOK * (taken * again - (over - through * frame))
    return to_bytes(
        restored + still_gained(frame, over, taken[..., 0], restored)[..., None] * (fused - restored)
    )


def still_gained(frame: np.ndarray, over: np.ndarray, weight: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """How much of the weight float32 (H, W) is left beside a network's result: 0 to 1, float32 (H, W).

    The weight was found against the blurry frame: 1 - error / change, where change is how far what was borrowed is
    from the frame (`common.rendering.alignment.trust`). A network may have come nearer to the truth. Then it is
    nearer to what was borrowed, too, and the same error is a larger share of that distance.
    """
    blurry, result = to_grey(frame.astype(np.float32)), to_grey(restored.astype(np.float32))
    shown = to_grey(over.astype(np.float32)) - (1 - weight) * blurry
    borrowed = np.where(weight > LEAST_WEIGHT, shown / np.maximum(weight, LEAST_WEIGHT), blurry)
    noise = kernels.noise_level(blurry) ** 2
    change, distance = (
        np.maximum(cv2.GaussianBlur((borrowed - other) ** 2, (0, 0), WITHIN) - less, 1e-3)
        for other, less in ((blurry, 1.5 * noise), (result, 0.0))
    )
    error = OWN_ERROR * ((1 - weight) * change + noise)
    left = np.minimum(weight, np.clip(1 - error / distance, 0, 1))
    left = np.minimum(weight, cv2.GaussianBlur(left, (0, 0), 1.5))
    return left / np.maximum(weight, 1e-3)
