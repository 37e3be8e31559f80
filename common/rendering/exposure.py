"""From sharp content and a path to one exposed frame: warp, composite, average in the sensor's light, add
noise."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from common.rendering.camera import blur_condition, trajectory
from common.rendering.pieces import bright_parts_raised

DISPLAY_GAMMA = 2.2


@dataclass(frozen=True)
class Sensor:
    """How light becomes a frame.

    exposure: shutter time as a fraction of the frame time. samples: sub-exposures that are averaged.
    linear: average in linear light (a real shutter) or of gamma-encoded samples (as GoPro training data is
    made).
    gamma: the camera's own encoding exponent. read_noise, shot_noise: standard deviations at black and at
    white (both of values in [0, 1], added to the blurry frame and never to the sharp one).
    """

    exposure: tuple[float, float]
    samples: int
    linear: bool
    gamma: float
    read_noise: float
    shot_noise: float
    raised: tuple[float, float] = (1.0, 1.0)
    stored: str = ""
    quality: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Layer:
    """Picture content with premultiplied opacity: colour (h, w, 3) and alpha (h, w), float32 in [0, 1], and
    the matrix (3, 3) from frame to content coordinates at pose zero."""

    colour: np.ndarray
    alpha: np.ndarray | None
    place: np.ndarray


def warp(
    layer: Layer,
    to_frame: np.ndarray,
    height: int,
    width: int,
    interpolation: int = cv2.INTER_LINEAR,
) -> tuple[np.ndarray, np.ndarray | None]:
    """The layer as seen with the content-to-frame matrix `to_frame`: colour (H, W, 3) and alpha (H, W) or
    None."""
    frame_to_content = (layer.place @ np.linalg.inv(to_frame))[:2]
    flags = interpolation | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REFLECT_101 if layer.alpha is None else cv2.BORDER_CONSTANT
    colour = cv2.warpAffine(layer.colour, frame_to_content, (width, height), flags=flags, borderMode=border)
    if layer.alpha is None:
        return colour, None
    return colour, cv2.warpAffine(
        layer.alpha, frame_to_content, (width, height), flags=flags, borderMode=border
    )


def composite(
    layers: list[Layer],
    matrices: list[np.ndarray],
    height: int,
    width: int,
    interpolation: int = cv2.INTER_LINEAR,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """All layers from back to front with a matrix each: picture (H, W, 3) and the alphas of the upper
    layers."""
    picture, alphas = warp(layers[0], matrices[0], height, width, interpolation)[0], []
    for layer, matrix in zip(layers[1:], matrices[1:]):
        colour, alpha = warp(layer, matrix, height, width, interpolation)
        picture *= 1 - alpha[..., None]
        picture += colour
        alphas.append(alpha)
    return picture, alphas


def expose(
    layers: list[Layer],
    paths: np.ndarray,
    middles: list[np.ndarray],
    sensor: Sensor,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One frame: blurry and sharp uint8 (H, W, 3), and the exact condition (3, H, W) float32.

    layers: content in display encoding (exponent 2.2), background first. paths: (L, N, 3, 3) content-to-frame
    matrices of each layer at the N sub-exposures; middles: the L matrices at mid-exposure. Bright parts are
    raised by the first factor of sensor.raised.
    """
    if sensor.linear:
        layers = [replace(layer, colour=_in_light(layer, sensor.raised[0])) for layer in layers]
    total = np.zeros((height, width, 3), np.float32)
    for n in range(paths.shape[1]):
        total += composite(layers, list(paths[:, n]), height, width)[0]
    blurry = total / paths.shape[1]
    # Cubic for the one sharp frame: linear interpolation at half-pixel positions would itself blur it.
    sharp, alphas = composite(layers, middles, height, width, cv2.INTER_CUBIC)
    encode = (1 if sensor.linear else DISPLAY_GAMMA) / sensor.gamma
    blurry, sharp = (np.clip(picture, 0, 1) ** np.float32(encode) for picture in (blurry, sharp))
    deviation = np.sqrt(sensor.read_noise**2 + sensor.shot_noise**2 * blurry)
    blurry = blurry + deviation * rng.standard_normal(blurry.shape, dtype=np.float32)
    condition = blur_condition(trajectory(paths[0], middles[0], height, width))
    for alpha, path, middle in zip(alphas, paths[1:], middles[1:]):
        condition = np.where(alpha > 0.5, blur_condition(trajectory(path, middle, height, width)), condition)
    return to_bytes(blurry), to_bytes(sharp), condition


def _in_light(layer: Layer, raised: float) -> np.ndarray:
    """The layer's colour in linear light, bright parts raised, premultiplied: the opacity itself is no light
    and stays as it is."""
    if layer.alpha is None:
        return bright_parts_raised(layer.colour ** np.float32(DISPLAY_GAMMA), raised)
    alpha = np.maximum(layer.alpha, np.float32(1e-6))[..., None]
    return alpha * bright_parts_raised((layer.colour / alpha) ** np.float32(DISPLAY_GAMMA), raised)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Float values in [0, 1] (clipped) to uint8 by rounding."""
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
