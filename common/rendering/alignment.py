"""A sharper picture of the same scene laid at a blurry frame's place, and the blur between the two. Arrays in,
arrays out.

After Cho, Wang and Lee, Video deblurring for hand-held cameras using patch-based synthesis (2012), whose
sharp patches are compared with a blurry frame after they were blurred alike. Here the blur between the two
is measured (`kernels`): the neighbour blurred by it shows what is left of the motion, and how well it
explains the frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from common.rendering import kernels
from common.rendering.kernels import Kernels

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two pictures float32 (H, W), 0..255 -> flow (H, W, 2), x and y in pixels: first(p) = second(p +
flow(p))."""

GAMMA = 2.2
"""A shutter adds up light, and a picture's values are about its 2.2th root: kernels hold in light."""
WITHIN = 3.0
"""Errors are judged as their mean within so many pixels (standard deviation of a Gaussian)."""
CAUTION = 2.0
"""An alignment error is larger than what is seen of it after blurring: so many times (as a square)."""
MOST_STRETCH = 0.4
"""A flow whose change from pixel to pixel is larger tears the picture; from twice as much on nothing is
taken."""
MOST_RETURN, RETURN_PER_SPREAD = 1.5, 0.5
"""Pixels by which the way to the neighbour and back may miss, and how many more a pixel of blur allows."""
MATCH_SCALE, MATCH_WITHIN = 8, 2.0
"""Brightness is matched in pictures of one MATCH_SCALE-th, within MATCH_WITHIN of their pixels."""
MOST_EXPOSURE, DARK = 4.0, 0.5
"""The most that the exposure may differ; light (0..255) that counts as none, so that black has no ratio."""


def coarse_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A `Flow` by OpenCV's dense inverse search at half the resolution, for any motion."""
    return _dis(first, second, sigma=1.0, finest=1)


def fine_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A `Flow` by OpenCV's dense inverse search at full resolution."""
    return _dis(first, second, sigma=0.6, finest=0)


def _dis(first: np.ndarray, second: np.ndarray, sigma: float, finest: int) -> np.ndarray:
    # A new estimator each time: OpenCV's keeps the scales chosen for an earlier, smaller picture.
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(finest)
    pictures = [to_bytes(cv2.GaussianBlur(grey, (0, 0), sigma)) for grey in (first, second)]
    return estimator.calc(*pictures, None)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Rounded and clipped to uint8."""
    return (np.clip(picture, 0, 255) + 0.5).astype(np.uint8)


def to_grey(picture: np.ndarray) -> np.ndarray:
    """RGB (H, W, 3), 0..255 -> float32 (H, W)."""
    return cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)


def to_light(grey: np.ndarray) -> np.ndarray:
    """Display values to light, both 0..255."""
    return 255 * (np.clip(grey, 0, 255) / 255) ** np.float32(GAMMA)


def to_display(light: np.ndarray) -> np.ndarray:
    """Light to display values, both 0..255."""
    return 255 * (np.clip(light, 0, 255) / 255) ** np.float32(1 / GAMMA)


def warp(picture: np.ndarray, flow: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    """float32 (H, W) or (H, W, C) whose pixel p is `picture` at p + flow(p), mirrored beyond its border.

    Cubic, which hardly blurs where linear interpolation does.
    """
    x, y = _targets(flow)
    return cv2.remap(picture, x, y, interpolation, borderMode=cv2.BORDER_REFLECT_101)


def inside(flow: np.ndarray) -> np.ndarray:
    """float32 (H, W): 1 where p + flow(p) lies in the picture, 0 elsewhere."""
    x, y = _targets(flow)
    height, width = flow.shape[:2]
    return ((x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)).astype(np.float32)


def _targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]


def follow(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The flow (H, W, 2) along `first` and from there along `then`."""
    return first + warp(then, first, cv2.INTER_LINEAR)


def stretch(flow: np.ndarray) -> np.ndarray:
    """float32 (H, W): how much the flow changes from pixel to pixel, at its worst within two pixels."""
    square = sum(
        part**2
        for channel in range(2)
        for part in kernels.gradients(np.ascontiguousarray(flow[..., channel]))
    )
    return cv2.dilate(cv2.GaussianBlur(np.sqrt(square), (0, 0), 1.0), np.ones((5, 5), np.uint8))


def exposure_ratio(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> np.ndarray:
    """How many times brighter `one` is than `other` in the coarse, float32 (H, W) as they are, of display
    values; compared only where `where` (H, W) is above 0.

    Equally blurred pictures, please: in display values blur changes the mean.
    """
    height, width = where.shape
    small = (-(-width // MATCH_SCALE), -(-height // MATCH_SCALE))
    first, second = (
        cv2.GaussianBlur(
            cv2.resize(to_light(grey) * where, small, interpolation=cv2.INTER_AREA),
            (0, 0),
            MATCH_WITHIN,
            borderType=cv2.BORDER_REPLICATE,
        )
        for grey in (one, other)
    )
    ratio = np.clip((first + DARK) / (second + DARK), 1 / MOST_EXPOSURE, MOST_EXPOSURE)
    return cv2.resize(ratio ** np.float32(1 / GAMMA), (width, height), interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class Frame:
    """A frame and what is computed once of it: picture, float32 RGB (H, W, 3); grey (H, W); the standard
    deviation of its noise; the `spectra` of its blocks, in light."""

    picture: np.ndarray
    grey: np.ndarray
    noise: float
    spectra: tuple[np.ndarray, np.ndarray]


def prepared(picture: np.ndarray) -> Frame:
    """The `Frame` of a picture uint8 RGB (H, W, 3)."""
    grey = to_grey(picture)
    light = kernels.spectra(to_light(grey))
    return Frame(picture.astype(np.float32), grey, kernels.noise_level(grey), light)


@dataclass(frozen=True)
class Aligned:
    """A neighbour at a frame's place: picture float32 (H, W, 3), its brightness the frame's; again (H, W), grey,
    blurred as the frame is; unsafe (H, W), how far the motion between the two is in doubt, from 1 on more and
    from 2 on too much; seen (H, W), 1 where the neighbour shows that place; kernels, the blur between them;
    noise, the standard deviation of the neighbour's."""

    picture: np.ndarray
    again: np.ndarray
    unsafe: np.ndarray
    seen: np.ndarray
    kernels: Kernels
    noise: float


def align(frame: Frame, neighbour: np.ndarray, coarse: Flow = coarse_flow, fine: Flow = fine_flow) -> Aligned:
    """`neighbour` uint8 RGB (H, W, 3) at the place of `frame`."""
    neighbour = neighbour.astype(np.float32)
    blurry, sharp = frame.grey, to_grey(neighbour)
    flow = coarse(blurry, sharp)
    again, _ = _blurred_alike(warp(sharp, flow), inside(flow), frame)
    # The two are equally blurred now, so that the flow between them is exact where the first one was not.
    flow = follow(fine(blurry, again), flow)
    seen = inside(flow)
    picture = warp(neighbour, flow)
    again, found = _blurred_alike(to_grey(picture), seen, frame)
    # The exposure may have changed between the two.
    brighter = exposure_ratio(blurry, again, seen)
    missed = np.linalg.norm(follow(flow, coarse(sharp, blurry)), axis=2)
    spread = kernels.at_pixels(found.spread, *blurry.shape)
    unsafe = np.maximum(
        stretch(flow) / MOST_STRETCH,
        cv2.GaussianBlur(missed, (0, 0), 2.0) / (MOST_RETURN + RETURN_PER_SPREAD * spread),
    )
    return Aligned(
        picture * brighter[..., None], again * brighter, unsafe, seen, found, kernels.noise_level(sharp)
    )


def trust(frame: Frame, laid: Aligned) -> tuple[np.ndarray, np.ndarray]:
    """(how far the aligned neighbour is to be trusted, 0 to 1; the squared error that it saves, grey levels), both
    float32 (H, W).

    What still differs from the frame when the neighbour is blurred as the frame is, is unexplained: the
    error of borrowing. How far the neighbour is from the frame is that error and the frame's own blur together,
    so the best mixture of the two takes 1 - error / change of the neighbour (both as squares, without their
    noise).
    """
    explained, changed = (
        cv2.GaussianBlur((other - frame.grey) ** 2, (0, 0), WITHIN)
        for other in (laid.again, to_grey(laid.picture))
    )
    error = CAUTION * np.maximum(explained - 1.1 * frame.noise**2, 0)
    change = np.maximum(changed - frame.noise**2 - 0.5 * laid.noise**2, 1e-3)
    weight = np.clip(1 - error / change, 0, 1) * np.clip(2 - laid.unsafe, 0, 1) * laid.seen
    return cv2.GaussianBlur(weight, (0, 0), 1.5) * laid.seen, change - error


def _blurred_alike(sharp: np.ndarray, seen: np.ndarray, frame: Frame) -> tuple[np.ndarray, Kernels]:
    """(`sharp` float32 (H, W) with the blur that the frame has, that blur)."""
    light = to_light(sharp)
    found = kernels.kernels_between(kernels.spectra(light, seen), frame.spectra, frame.noise)
    return to_display(kernels.blur(light, found)), found
