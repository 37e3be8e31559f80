"""A camera's way from light to picture: white balance, Bayer mosaic, noise, demosaicing, tone curve.

Light is linear RGB in [0, 1], 1 being where the sensor saturates. Raw values are those of the mosaic, in the
same unit. Source of the order of the steps: Brooks et al., "Unprocessing Images for Learned Raw Denoising",
CVPR 2019; RSBlur (Rim et al., ECCV 2022) shows what each of them is worth.
"""

from dataclasses import dataclass

import cv2
import numpy as np

DISPLAY_GAMMA = 2.2
LINEAR = (np.arange(256, dtype=np.float32) / 255) ** np.float32(DISPLAY_GAMMA)
"""Light of each display value."""

SHOT = (2e-5, 2e-3)
READ = (5e-5, 5e-3)
_LEVELS, _SCALE, _BLACK = 16384, 15000.0, 0.06
"""The converter has 14 bits; its black level keeps the noise of dark pixels from being cut off at zero."""
_FEW = 20.0
"""Electrons below which the Poisson distribution is drawn itself; above, the normal one is as good."""


@dataclass(frozen=True)
class Pipeline:
    """One camera with its settings.

    shot: variance of the photon noise at white, in the raw unit: one electron's worth. read: standard
    deviation of the read noise. red, blue: white balance gains (green has 1). gamma: exponent of the tone
    curve. contrast: factor about middle grey in the encoded picture.
    """

    shot: float
    read: float
    red: float
    blue: float
    gamma: float
    contrast: float


def draw_pipeline(rng: np.random.Generator) -> Pipeline:
    """Noise log-uniform over two decades, gamma 2.2 +- 0.2, gains as cameras have them in daylight to lamp
    light."""
    shot, read = (float(np.exp(rng.uniform(*np.log(bounds)))) for bounds in (SHOT, READ))
    return Pipeline(
        shot,
        read,
        float(rng.uniform(1.2, 2.4)),
        float(rng.uniform(1.2, 2.4)),
        float(rng.uniform(DISPLAY_GAMMA - 0.2, DISPLAY_GAMMA + 0.2)),
        float(rng.uniform(0.85, 1.15)),
    )


def sensed(light: np.ndarray, pipeline: Pipeline) -> np.ndarray:
    """Light (H, W, 3) float32 -> raw values of all three colours (H, W, 3): clipped where the sensor
    saturates, white balance undone."""
    return np.clip(light, 0, 1) / np.array([pipeline.red, 1.0, pipeline.blue], np.float32)


def to_raw(light: np.ndarray, pipeline: Pipeline) -> np.ndarray:
    """As `sensed`, but one colour a pixel (H, W), as the Bayer mosaic has it: red at the top left, blue
    diagonally below. H and W are even."""
    raw = np.empty(light.shape[:2], np.float32)
    for row, column, channel, gain in (
        (0, 0, 0, pipeline.red),
        (0, 1, 1, 1.0),
        (1, 0, 1, 1.0),
        (1, 1, 2, pipeline.blue),
    ):
        np.clip(light[row::2, column::2, channel], 0, 1, out=raw[row::2, column::2])
        raw[row::2, column::2] /= np.float32(gain)
    return raw


def add_noise(raw: np.ndarray, pipeline: Pipeline, rng: np.random.Generator) -> np.ndarray:
    """Raw values with Poisson noise of the light and normal read noise: variance shot * raw + read**2."""
    deviation = np.sqrt(np.float32(pipeline.shot) * raw + np.float32(pipeline.read**2))
    noisy = raw + deviation * rng.standard_normal(raw.shape, dtype=np.float32)
    few = raw < _FEW * pipeline.shot
    if few.any():
        electrons = rng.poisson(raw[few] / pipeline.shot)
        noisy[few] = electrons * pipeline.shot + pipeline.read * rng.standard_normal(len(electrons))
    return noisy


def tone_table(pipeline: Pipeline) -> np.ndarray:
    """(3, 16384) uint8: the display value of each converter value, for red, green and blue: gains, clipping,
    gamma, contrast."""
    light = np.maximum(np.arange(_LEVELS, dtype=np.float32) / np.float32(_SCALE) - np.float32(_BLACK), 0)
    encoded = light ** np.float32(1 / pipeline.gamma)
    gains = np.array([pipeline.red, 1.0, pipeline.blue], np.float32)[:, None] ** np.float32(
        1 / pipeline.gamma
    )
    shown = np.minimum(gains * encoded, 1)
    shown = np.clip(0.5 + np.float32(pipeline.contrast) * (shown - 0.5), 0, 1)
    return (shown * 255 + 0.5).astype(np.uint8)


def demosaic(raw: np.ndarray) -> np.ndarray:
    """Raw mosaic (H, W) -> the converter's values of all three colours (H, W, 3) uint16, edge-aware. The
    outermost pixels are extrapolated."""
    # OpenCV names a mosaic by the second row's second and third pixel.
    return cv2.demosaicing(converted(raw), cv2.COLOR_BayerBG2RGB_EA)


def develop(raw: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Converter values (H, W, 3) uint16 -> picture uint8 RGB by `tone_table`."""
    return np.stack([table[channel].take(raw[..., channel]) for channel in range(3)], axis=-1)


def converted(raw: np.ndarray) -> np.ndarray:
    """Raw values, at most 1, as the converter's uint16."""
    levels = (np.minimum(raw, 1) + np.float32(_BLACK)) * np.float32(_SCALE) + np.float32(0.5)
    return np.clip(levels, 0, _LEVELS - 1).astype(np.uint16)
