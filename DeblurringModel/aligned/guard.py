"""Where an aligned neighbour is not to be trusted although, blurred, it explains the frame: things that move by
themselves and frames that are nearly sharp. Arrays in, arrays out."""

import cv2
import numpy as np

from common.rendering import kernels
from common.rendering.alignment import WITHIN, Aligned, Frame, to_grey

LEAST_SPREAD, CLEAR_SPREAD = 0.5, 1.0
"""Spread of the blur, pixels: up to the first the frame is sharp enough, from the second on it is blurred."""
SPREAD_ROOM = 1.0
"""Pixels by which a block's blur may be wider than the frame's usual blur; from as much beyond it as the two
add up to, nothing is taken."""
SUPPORT_WITHIN, LEAST_SUPPORT = 12.0, 0.2
"""Within so many pixels so much of the difference has to be explained; with less, less is taken."""


def guard(frame: Frame, laid: Aligned, weight: np.ndarray) -> np.ndarray:
    """`weight` float32 (H, W), as `trust` gives it, lowered where one of these holds:

    - The frame is hardly blurred against the neighbour, or no blur between them was found.
    - The blur is far wider than in most of the frame. Where the scene differs from the neighbour, a wide kernel
      can hide the difference: it blurs away what only the neighbour shows.
    - Little of the difference around is explained, so that what is explained is so by chance.
    """
    spread = kernels.at_pixels(laid.kernels.spread, *frame.grey.shape)
    blurred = np.clip((spread - LEAST_SPREAD) / (CLEAR_SPREAD - LEAST_SPREAD), 0, 1)
    usual = np.median(laid.kernels.spread) + SPREAD_ROOM
    support = np.clip(_explained(frame, laid, weight) / LEAST_SUPPORT, 0, 1)
    return weight * blurred * np.clip(2 - spread / usual, 0, 1) * support


def _explained(frame: Frame, laid: Aligned, weight: np.ndarray) -> np.ndarray:
    """float32 (H, W), 0 to 1: the mean weight around, places counted by how far neighbour and frame differ there
    beyond their noise."""
    change = cv2.GaussianBlur((to_grey(laid.picture) - frame.grey) ** 2, (0, 0), WITHIN)
    change = np.maximum(change - frame.noise**2 - 0.5 * laid.noise**2, 1e-3)
    taken, whole = (cv2.GaussianBlur(part, (0, 0), SUPPORT_WITHIN) for part in (weight * change, change))
    return taken / whole
