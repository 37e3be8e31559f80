"""Smooth motions whose path length in every single frame is prescribed.

A motion is a curve in the plane, parametrised by its arc length, and a law that says how far along the curve
things are at any time. So the length of each frame's blur is exactly the one that was drawn, whatever shape
the curve has. Points are complex numbers, x + iy in pixels with y pointing down; a pose is a similarity of
the plane, p -> turn p + shift with complex `turn` and `shift`. Time is counted in frames, and frame k is
exposed around time k.
"""

import math
from dataclasses import dataclass

import numpy as np

SHARP_SHARE = 0.15
SHARPEST = 0.5
"""Pixels: path length that a frame which counts as sharp has at most."""
_FINE = 32


def frame_lengths(
    rng: np.random.Generator,
    frames: int,
    shortest: float,
    longest: float,
    sharp: float = SHARP_SHARE,
) -> np.ndarray:
    """Path length of each of `frames` frames in pixels, (frames,) float64.

    Each is below SHARPEST with probability `sharp` and else log-uniform from `shortest` to `longest`;
    neighbouring frames are correlated, by as much as is drawn for the clip.
    """
    correlation = rng.uniform(0.3, 0.95)
    state, lengths = rng.standard_normal(), []
    for _ in range(frames):
        share = 0.5 * math.erfc(-state / math.sqrt(2))
        state = correlation * state + math.sqrt(1 - correlation**2) * rng.standard_normal()
        if share < sharp:
            lengths.append(SHARPEST * share / sharp)
        else:
            lengths.append(shortest * (longest / shortest) ** ((share - sharp) / (1 - sharp)))
    return np.array(lengths)


def sinusoid_curve(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a curve, complex, and a turning signal beside it, both (n,): sums of three sinusoids, as a
    hand shakes. Elongated curves reverse at the ends of nearly straight strokes."""
    cycles = rng.uniform(0.05, 0.3)
    time = np.linspace(0, frames + 1, (frames + 1) * _FINE + 1)
    waves = [
        sum(
            np.sin(2 * np.pi * cycles * rng.uniform(0.6, 1.7) * time + rng.uniform(0, 2 * np.pi)) / order
            for order in (1, 2, 3)
        )
        for _ in range(3)
    ]
    return waves[0] + 1j * rng.uniform(0.05, 0.7) * waves[1], waves[2]


def bezier_curve(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """As `sinusoid_curve`: cubic Bezier pieces, joined smoothly, through the points of a walk that turns by a
    random angle at each step."""
    steps = frames + 3
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.2, 1.3), steps))
    knots = np.column_stack(
        [np.cumsum(rng.uniform(0.5, 1.5, steps) * np.exp(1j * heading)), rng.standard_normal(steps)]
    )
    tangents = (knots[2:] - knots[:-2]) / 2
    start, end, first, last = knots[1:-2], knots[2:-1], tangents[:-1], tangents[1:]
    part = (np.arange(_FINE) / _FINE)[:, None]
    weights = [(1 - part) ** 3, 3 * part * (1 - part) ** 2, 3 * part**2 * (1 - part), part**3]
    corners = [start, start + first / 3, end - last / 3, end]
    pieces = [sum(w * corner[k] for w, corner in zip(weights, corners)) for k in range(len(start))]
    fine = np.vstack([*pieces, end[-1:]])
    return fine[:, 0], fine[:, 1].real


@dataclass(frozen=True)
class Motion:
    """Positions along a curve over time. lengths: (frames,) path length of each exposure in pixels; open:
    share of the frame time that the shutter is open."""

    lengths: np.ndarray
    open: float
    _knots: np.ndarray
    _travelled: np.ndarray
    _arc: np.ndarray
    _points: np.ndarray
    _angles: np.ndarray
    _zooms: np.ndarray

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """turn and shift, each complex (n,), of the poses at `times` (n,) in frames."""
        way = monotone(times, self._knots, self._travelled)
        shift = np.interp(way, self._arc, self._points.real) + 1j * np.interp(
            way, self._arc, self._points.imag
        )
        zoom = np.interp(way, self._arc, self._zooms)
        return np.exp(zoom + 1j * np.interp(way, self._arc, self._angles)), shift

    def exposure(self, frame: int, samples: int) -> np.ndarray:
        """Times in the middle of `samples` equal parts of the exposure of `frame`."""
        return frame + self.open * ((np.arange(samples) + 0.5) / samples - 0.5)

    def ends(self, frame: int, parts: int) -> np.ndarray:
        """Times that divide the exposure of `frame` into `parts` equal parts, both ends included."""
        return frame + self.open * np.linspace(-0.5, 0.5, parts + 1)


def draw_motion(
    rng: np.random.Generator,
    lengths: np.ndarray,
    open_share: float,
    turning: float,
    zooming: float,
) -> Motion:
    """A motion whose exposures have these path lengths, along one of the two kinds of curve.

    turning, zooming: root mean square of rotation in radians and of the zoom's logarithm, per pixel of path.
    """
    frames = len(lengths)
    curve = sinusoid_curve if rng.integers(2) else bezier_curve
    points, signal = curve(rng, frames)
    lengths = np.maximum(lengths, 1e-3)
    gaps = (1 - open_share) / open_share * (lengths[1:] + lengths[:-1]) / 2
    travelled = np.zeros(2 * frames)
    travelled[1::2], travelled[2::2] = lengths, gaps
    travelled = np.cumsum(travelled)
    knots = np.column_stack([np.arange(frames) - open_share / 2, np.arange(frames) + open_share / 2]).ravel()
    arc = np.concatenate([[0], np.cumsum(np.abs(np.diff(points)))])
    scale = travelled[-1] / arc[-1]
    points, arc = points * scale, arc * scale
    middle = complex(np.ptp(points.real) / 2 + points.real.min(), np.ptp(points.imag) / 2 + points.imag.min())
    slope = np.diff(signal) / np.diff(arc)
    signal = (signal - signal.mean()) / max(float(np.sqrt((slope**2).mean())), 1e-9)
    return Motion(
        lengths,
        open_share,
        knots,
        travelled,
        arc,
        points - middle,
        turning * signal,
        zooming * rng.choice([-1.0, 1.0]) * signal[::-1],
    )


def monotone(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The smooth non-decreasing curve through the points (x, y), evaluated at `at`; straight beyond the ends.

    Cubic Hermite pieces with the harmonic mean of the neighbouring slopes. Source: Fritsch and Butland, 1984.
    """
    step, slope = np.diff(x), np.diff(y) / np.diff(x)
    inner = 2 * slope[1:] * slope[:-1] / np.maximum(slope[1:] + slope[:-1], 1e-12)
    tangent = np.concatenate([slope[:1], inner, slope[-1:]])
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(step) - 1)
    t = (at - x[k]) / step[k]
    outside = (t < 0) | (t > 1)
    u = np.clip(t, 0, 1)
    inside = (
        y[k] * (1 + 2 * u) * (1 - u) ** 2
        + y[k + 1] * u**2 * (3 - 2 * u)
        + step[k] * (tangent[k] * u * (1 - u) ** 2 - tangent[k + 1] * u**2 * (1 - u))
    )
    return np.where(outside, inside + (t - u) * step[k] * slope[k], inside)


def path_condition(turns: np.ndarray, shifts: np.ndarray, box: tuple[float, float, int, int]) -> np.ndarray:
    """Condition (3, h, w) float32 of content that moves with the poses (turns, shifts), each complex (n,), n
    odd; the middle one is that of the sharp picture, in which each pixel's content is picked.

    box: (top, left, height, width) of the pixels in coordinates of the poses. Unit direction x, y from the
    first pose to the last (the zero vector where they coincide) and the path length in pixels.
    """
    top, left, height, width = box
    middle = len(turns) // 2
    pixels = (left + np.arange(width) + 1j * (top + np.arange(height))[:, None]).astype(np.complex64)
    rates = (turns / turns[middle]).astype(np.complex64)
    offsets = (shifts - turns / turns[middle] * shifts[middle]).astype(np.complex64)
    length = np.zeros((height, width), np.float32)
    for rate, offset in zip(np.diff(rates), np.diff(offsets)):
        length += np.abs(rate * pixels + offset)
    net = (rates[-1] - rates[0]) * pixels + (offsets[-1] - offsets[0])
    norm = np.abs(net)
    unit = net / np.where(norm > 1e-6, norm, np.inf)
    return np.stack([unit.real, unit.imag, length]).astype(np.float32)
