"""Camera and object paths: where the picture content stands at any moment of a clip.

Time is counted in frames. A pose is (x, y, angle, zoom): translation in pixels of the rendered frame,
rotation in radians about the frame's centre, and logarithm of the zoom. All poses are smooth functions of
time, so an exposure can be sampled as finely as needed.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shake:
    """How a hand moves the camera.

    speed: root mean square speed in pixels per frame, over the clip.
    elongation: ratio of the minor to the major axis of the motion; small values make nearly straight strokes
        that pass through a slow moment at each turning point.
    frequency: range of the oscillations in cycles per frame.
    angle: range of the major axis's direction in radians.
    rotation, zoom: root mean square speeds in radians and in logarithm of the zoom per frame.
    rest: depth of the slow modulation in [0, 1); towards 1 the hand comes nearly to rest now and then.
    pause: where the speed along the major axis falls below this share of its root mean square, all motion
    stops.
        The turning points of the strokes so become short rests, with motion before and after.
    rest_interval: frames between short rests that come at any point of a stroke, so that the motion mostly
    goes on
        in the same direction afterwards; 0 for none. rest_length: frames that each lasts, about.
    """

    speed: float
    elongation: float
    frequency: tuple[float, float]
    angle: tuple[float, float]
    rotation: float
    zoom: float
    rest: float
    pause: float
    rest_interval: float = 0.0
    rest_length: float = 1.0


class Path:
    """A sum of sinusoids per pose component with a slow modulation of its velocity; drawn once, exact at any
    time."""

    def __init__(self, shake: Shake, rng: np.random.Generator, frames: int, waves: int = 3) -> None:
        fine = np.linspace(-2, frames + 2, (frames + 4) * 64 + 1)
        # One common modulation: when a hand rests, translation and rotation rest together.
        phase, cycle = rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.09)
        envelope = 1 - shake.rest * (0.5 + 0.5 * np.sin(2 * np.pi * cycle * fine + phase)) ** 2
        main, minor, turn, zoom = (self._velocity(shake.frequency, rng, fine, waves) for _ in range(4))
        gate = envelope * _smooth_step(np.abs(main) / np.sqrt((main**2).mean()), shake.pause)
        if shake.rest_interval:
            clock = np.sin(np.pi * (fine / shake.rest_interval + rng.uniform()))
            gate = gate * _smooth_step(
                np.abs(clock), np.sin(np.pi * 0.5 * shake.rest_length / shake.rest_interval)
            )
        main, minor, turn, zoom = (velocity * gate for velocity in (main, minor, turn, zoom))
        direction = rng.uniform(*shake.angle)
        along = np.array([np.cos(direction), np.sin(direction)])
        across = np.array([-along[1], along[0]])
        plane = main[:, None] * along + shake.elongation * minor[:, None] * across
        plane *= shake.speed / np.sqrt((plane**2).sum(1).mean())
        velocity = np.column_stack(
            [
                plane,
                shake.rotation * turn / np.sqrt((turn**2).mean()),
                shake.zoom * zoom / np.sqrt((zoom**2).mean()),
            ]
        )
        position = np.cumsum((velocity[1:] + velocity[:-1]) / 2 * np.diff(fine)[:, None], axis=0)
        self._times = fine
        self._poses = np.vstack([np.zeros(4), position])
        self._poses -= self._poses.mean(0)

    @staticmethod
    def _velocity(
        frequency: tuple[float, float],
        rng: np.random.Generator,
        times: np.ndarray,
        waves: int,
    ) -> np.ndarray:
        total = np.zeros_like(times)
        for weight in 1 / np.arange(1, waves + 1):
            total += weight * np.sin(2 * np.pi * rng.uniform(*frequency) * times + rng.uniform(0, 2 * np.pi))
        return total

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Poses (len(times), 4) at `times` in frames, linear between 64 samples per frame."""
        return np.column_stack([np.interp(times, self._times, self._poses[:, k]) for k in range(4)])

    def extent(self) -> float:
        """Largest absolute translation in pixels over the clip."""
        return float(np.abs(self._poses[:, :2]).max())


def _smooth_step(value: np.ndarray, threshold: float) -> np.ndarray:
    """0 below `threshold`, 1 above twice of it, smooth in between; 1 everywhere for threshold 0."""
    if threshold == 0:
        return np.ones_like(value)
    part = np.clip(value / threshold - 1, 0, 1)
    return part * part * (3 - 2 * part)


def pose_matrix(pose: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """(3, 3) matrix from content to frame coordinates: rotate and zoom about `centre` (x, y), then
    translate."""
    x, y, angle, zoom = pose
    c, s = np.exp(zoom) * np.cos(angle), np.exp(zoom) * np.sin(angle)
    cx, cy = centre
    return np.array([[c, -s, cx - c * cx + s * cy + x], [s, c, cy - s * cx - c * cy + y], [0, 0, 1]])


def trajectory(matrices: np.ndarray, middle: np.ndarray, height: int, width: int) -> np.ndarray:
    """Positions (N, H, W, 2) over the exposure of the content that each pixel shows at mid-exposure.

    matrices: (N, 3, 3) content-to-frame matrices along the exposure; middle: (3, 3) the one at mid-exposure.
    """
    y, x = np.mgrid[:height, :width].astype(np.float32)
    moves = (matrices @ np.linalg.inv(middle)).astype(np.float32)
    return np.stack(
        [
            np.stack([m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]], axis=-1)
            for m in moves
        ]
    )


def blur_condition(positions: np.ndarray) -> np.ndarray:
    """Condition (3, H, W) float32 of a trajectory (N, H, W, 2): unit direction x, y from start to end, and
    the length of the path in pixels. Where start and end coincide the direction is the zero vector."""
    length = np.linalg.norm(np.diff(positions, axis=0), axis=-1).sum(0)
    net = positions[-1] - positions[0]
    norm = np.linalg.norm(net, axis=-1)
    unit = net / np.where(norm > 1e-6, norm, np.inf)[..., None]
    return np.concatenate([np.moveaxis(unit, -1, 0), length[None]]).astype(np.float32)
