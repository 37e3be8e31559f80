"""The exposure of a video: a pixel's blur is tau times as long as its motion, with one tau per video.

tau is the exposure as a share of the frame interval. A sharp neighbour, warped onto a blurry frame and
blurred along tau times that frame's motion, looks like the blurry frame where tau is right. Where a video has
no sharp neighbours, tau is the slope of the estimated blur lengths over the lengths of the motion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from common.rendering.line_blur import line_blur

REACH = 6
"""Frames between a blurry frame and a sharp neighbour, at most."""
PAIRS = 8
"""Pairs of frames that a fit looks at, at most."""
TAUS = np.linspace(0, 1.2, 13)
"""Values tried. Above 1 no shutter exposes; a minimum there means that tau is 1."""
SHARPER = 0.75
"""A neighbour counts as sharp if its estimated blur is at most this share of the blurry frame's. An estimator
may find several pixels of blur in a sharp frame, so an absolute limit would not do."""
LEAST_MOTION = 2.0
"""Median motion in pixels of a frame whose blur can tell how long it was exposed."""
STEADY = 0.3
"""A frame moves steadily if its motion changes by at most this share from the frame before to the one after.
The flow then tells its speed during the exposure."""
GAMMA = 2.2
"""Exponent of the frames' encoding. A shutter averages light; averaging encoded values instead makes tau too
large, because the bright side of a blurred edge reaches further."""
ROUND_TRIP = 1.5
"""Largest forward-backward error of the flow, in pixels, of a pixel that is compared."""
LEAST_PIXELS = 0.2
"""Smallest share of a pair's pixels that has to be left for the comparison."""
SIDE = 320
"""Side in pixels of the part of a frame that is compared: the one with the most texture."""
_SMOOTH, _COARSE = 1.0, 8.0
"""Standard deviations in pixels of two Gaussians: the first smooths noise, the second finds the local
brightness, which is not compared."""


@dataclass(frozen=True)
class Fit:
    """tau, how it was found, and the curve of the fit.

    source: "neighbours", "magnitudes", or "none" where the video does not determine tau, which then is 0.5.
    pairs: positions of the frames looked at, (blurry, sharp). curve: for neighbours, (tau, mean squared
    difference relative to the mean of its curve); for magnitudes, (motion, blur length) of the frames in
    pixels.
    """

    tau: float
    source: str
    pairs: list[tuple[int, int]]
    curve: list[tuple[float, float]]


def sharp_neighbours(blur: Sequence[float]) -> list[tuple[int, int]]:
    """Pairs of positions (blurry, sharp), clearest first, at most three times PAIRS.

    blur: mean estimated blur of each frame in pixels. A blurry frame has neighbours on both sides, and its
    sharp one is the sharpest within REACH frames.
    """
    found = []
    for t in range(1, len(blur) - 1):
        near = [u for u in range(max(1, t - REACH), min(len(blur) - 1, t + REACH + 1)) if u != t]
        if not near:
            continue
        u = min(near, key=lambda position: (blur[position], abs(position - t)))
        if blur[u] <= SHARPER * blur[t]:
            found.append((blur[t] - blur[u], t, u))
    return [(t, u) for _, t, u in sorted(found, reverse=True)[: 3 * PAIRS]]


def steady(motion: np.ndarray, change: np.ndarray) -> bool:
    """Whether a frame moves enough, and steadily enough, to tell how long it was exposed.

    motion: (2, H, W) in pixels per frame interval. change: (2, H, W), motion after the frame minus that
    before it.
    """
    length = float(np.median(np.hypot(*motion)))
    return length >= LEAST_MOTION and float(np.median(np.hypot(*change))) <= STEADY * length


def pair_curve(
    blurry: np.ndarray,
    sharp: np.ndarray,
    motion: np.ndarray,
    there: np.ndarray,
    back: np.ndarray,
) -> np.ndarray | None:
    """Mean squared difference (len(TAUS),) between the blurry frame and its neighbour, blurred along each
    tau.

    blurry, sharp: grey float32 (H, W), 0..255. motion: (2, H, W), the blurry frame's, in pixels per frame
    interval.
    there, back: flow (2, H, W) from the blurry to the sharp frame, and back. None where too few pixels can be
    compared.
    """
    warped, inside = _warp(sharp, there)
    returned = np.stack([_warp(channel, there)[0] for channel in back])
    valid = inside & (np.hypot(*(there + returned)) < ROUND_TRIP)
    if valid.mean() < LEAST_PIXELS:
        return None
    part = most_textured(np.where(valid, warped, 0))
    warped, motion, valid = warped[part], motion[:, part[0], part[1]], valid[part]
    target = cv2.GaussianBlur(blurry[part], (0, 0), _SMOOTH)
    image = torch.from_numpy(np.clip(warped / np.float32(255), 0, 1))[None, None]
    length = np.hypot(*motion)
    direction = motion / np.where(length > 0, length, np.inf)
    errors = []
    for tau in TAUS:
        condition = np.concatenate([direction, tau * length[None]]).astype(np.float32)
        again = line_blur(image, torch.from_numpy(condition)[None], GAMMA)[0, 0].numpy() * 255
        difference = cv2.GaussianBlur(again, (0, 0), _SMOOTH) - target
        difference -= cv2.GaussianBlur(difference, (0, 0), _COARSE)
        errors.append(float(np.square(difference[valid]).mean()))
    return np.array(errors)


def most_textured(picture: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the SIDE x SIDE pixels (or all there are) of grey (H, W) with the largest
    gradients."""
    height, width = (min(SIDE, side) for side in picture.shape)
    smooth = cv2.GaussianBlur(picture, (0, 0), _SMOOTH)
    energy = sum(np.square(cv2.Sobel(smooth, cv2.CV_32F, *order)) for order in ((1, 0), (0, 1)))
    sums = cv2.boxFilter(energy, -1, (width, height), anchor=(0, 0), normalize=False)
    inside = sums[: picture.shape[0] - height + 1, : picture.shape[1] - width + 1]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(top, top + height), slice(left, left + width)


def from_neighbours(curves: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
    """tau in [0, 1] at the minimum of the mean of the curves, each relative to its own mean, and that
    mean."""
    mean = np.mean([curve / max(curve.mean(), 1e-6) for curve in curves], axis=0)
    lowest = int(np.argmin(mean))
    tau = TAUS[lowest]
    if 0 < lowest < len(TAUS) - 1:
        # The minimum of the parabola through the lowest value and its neighbours.
        before, here, after = mean[lowest - 1 : lowest + 2]
        curvature = before - 2 * here + after
        if curvature > 0:
            tau += (before - after) / (2 * curvature) * (TAUS[1] - TAUS[0])
    return float(np.clip(tau, 0, 1)), mean


def from_magnitudes(motion: Sequence[float], blur: Sequence[float]) -> float | None:
    """tau in [0, 1]: the slope of a robust line (Theil-Sen) through the frames' estimated blur over their
    motion, both in pixels. None for fewer than three frames, or where they all move alike.

    A constant error of the estimator is the line's offset and has no part in the slope.
    """
    if len(motion) < 3 or np.ptp(motion) < LEAST_MOTION:
        return None
    # Imported here, because it takes a second that most videos do not need.
    from scipy.stats import theilslopes

    return float(np.clip(theilslopes(blur, motion).slope, 0, 1))


def _warp(picture: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`picture` (H, W) at the places that the flow (2, H, W) points to, and where these lie inside of it."""
    height, width = picture.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + flow[0], rows + flow[1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    warped = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return warped, inside
