"""Sensor noise: estimate its level, remove it, and add it again after blurring, which removes it.

With blurring.window moved the patch is denoised, blurred, and given new noise. If the input held the target's
noise, the network would learn to keep noise. From noise that is independent of the target's it learns to
remove noise, even if the target is noisy (Lehtinen et al., Noise2Noise, 2018).
"""

import cv2
import numpy as np
from skimage.restoration import denoise_nl_means

_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Insensitive to slopes and edges along the axes (Immerkaer, Fast noise variance estimation, 1996)."""
_MAD_TO_DEVIATION = 0.6745


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of the noise in uint8 RGB (H, W, 3), in grey levels, all colours together.

    From the median of the second differences, which edges hardly move. Fine texture counts as noise, so
    blurry frames show the noise of a video better than sharp ones.
    """
    response = cv2.filter2D(image.astype(np.float32), -1, _MASK)[1:-1, 1:-1]
    return float(np.median(np.abs(response)) / _MAD_TO_DEVIATION / np.linalg.norm(_MASK))


def without_noise(image: np.ndarray, level: float) -> np.ndarray:
    """`image` uint8 (H, W, 3) without white noise of deviation `level` grey levels (non-local means)."""
    if level == 0:
        return image
    sigma = level / 255
    smooth = denoise_nl_means(
        image.astype(np.float32) / 255,
        patch_size=5,
        patch_distance=6,
        h=0.8 * sigma,
        fast_mode=True,
        sigma=sigma,
        channel_axis=-1,
    )
    return (np.clip(smooth, 0, 1) * 255 + 0.5).astype(np.uint8)


def with_noise_of(image: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """`image` uint8 (H, W, 3) with white noise added so that its noise level is at least `level`."""
    missing = np.sqrt(max(0.0, level**2 - noise_level(image) ** 2))
    noisy = image + missing * rng.standard_normal(image.shape, dtype=np.float32)
    return (np.clip(noisy, 0, 255) + 0.5).astype(np.uint8)
