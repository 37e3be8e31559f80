"""Magnitude adaptation over neighbouring frames, and the blur condition made of direction and magnitude."""

from collections.abc import Sequence

import numpy as np

from common.constants import MAGNITUDE_SCALE

_NEIGHBOURS = 4


def clamp_magnitude(raw: np.ndarray, scale: float = MAGNITUDE_SCALE) -> np.ndarray:
    """Blur length in pixels, float32, same shape; `raw` is a magnitude map in units of `scale` pixels."""
    return np.clip(np.asarray(raw, dtype=np.float32), 0, 1) * np.float32(scale)


def adapt_magnitude(
    current: np.ndarray,
    neighbours: Sequence[np.ndarray] | None,
    offset: float,
) -> np.ndarray:
    """Blur length that frame t would have if it moved like its neighbours, float32 (H, W), pixels.

    current: M_t, (H, W), pixels. neighbours: M_{t-2}, M_{t-1}, M_{t+1}, M_{t+2}; the result is M_t / max(M_t)
    * mean(neighbours) + offset. None, for a frame without four neighbours, gives M_t + offset. The paper has
    no offset, the released code adds 10 pixels. A frame that does not move at all gives `offset`. Raises
    ValueError for another number of neighbours or differing shapes.
    """
    current = np.asarray(current, dtype=np.float32)
    if neighbours is None:
        return current + np.float32(offset)
    shapes = [np.shape(neighbour) for neighbour in neighbours]
    if current.ndim != 2 or shapes != [current.shape] * _NEIGHBOURS:
        raise ValueError(
            f"neighbours: expected {_NEIGHBOURS} maps (H, W) of shape {current.shape}, got {shapes}"
        )
    peak = current.max()
    relative = current / peak if peak > 0 else np.zeros_like(current)
    return relative * np.mean(neighbours, axis=0, dtype=np.float32) + np.float32(offset)


def condition(orientation: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Blur condition float32 (3, H, W): x, y of the direction, magnitude in pixels.

    orientation: (2, H, W), unit vectors or zero; magnitude: (H, W), pixels. Raises ValueError for other
    shapes.
    """
    orientation, magnitude = np.asarray(orientation), np.asarray(magnitude)
    if magnitude.ndim != 2 or orientation.shape != (2, *magnitude.shape):
        raise ValueError(f"expected (2, H, W) and (H, W), got {orientation.shape} and {magnitude.shape}")
    return np.concatenate([orientation, magnitude[None]]).astype(np.float32)
