"""What a rendered frame is composed of: a background and objects, each with content in light and a motion."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from common.rendering.content import Still
from common.rendering.motion import Motion
from common.rendering.pipeline import DISPLAY_GAMMA, LINEAR

OVERSAMPLING = 1.05
"""Content pixels per frame pixel, at least: less would make the sharp frame soft; up to 1.5 hardly
aliases."""
BRIGHT = (0.5, 0.8)
"""Light from which, and from which wholly, a part counts as bright."""


@dataclass(frozen=True)
class Piece:
    """Content and how it moves.

    light: linear RGB (h, w, 3) float32, of an object multiplied by its opacity. cover: for an object what it
    lets through, 1 - opacity, in three equal channels (h, w, 3). scale: content pixels per frame pixel.
    origin: the content pixel x + iy at the origin of the piece's own coordinates, in which its `motion`
    works; home: where that origin lies in the frame's coordinates (from the frame's centre) at pose zero.
    camera: for an object the camera's motion, which it undergoes as well. size: the frame's height and width.
    """

    light: np.ndarray
    cover: np.ndarray | None
    scale: float
    origin: complex
    home: complex
    motion: Motion
    camera: Motion | None
    size: tuple[int, int]

    def poses(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """turn and shift, complex of the shape of `times`: from where the piece's content lies in the frame
        at pose zero to where it is seen."""
        turns, shifts = self.motion.at(times)
        # About its own origin, not the frame's.
        shifts = shifts + self.home - turns * self.home
        if self.camera is not None:
            turn, shift = self.camera.at(times)
            turns, shifts = turn * turns, turn * shifts + shift
        return turns, shifts

    def places(self, times: np.ndarray) -> np.ndarray:
        """(n, 2, 3) matrices from pixels of the frame to pixels of the content at `times` (n,)."""
        turns, shifts = self.poses(times)
        rate = self.scale / turns
        centre = complex((self.size[1] - 1) / 2, (self.size[0] - 1) / 2)
        # frame pixel q -> origin + scale * ((q - centre - shift) / turn - home)
        offset = self.origin - self.scale * self.home - rate * (centre + shifts)
        rows = [[rate.real, -rate.imag, offset.real], [rate.imag, rate.real, offset.imag]]
        return np.moveaxis(np.array(rows), -1, 0)

    def boxes(self, places: np.ndarray) -> list[list[int]]:
        """[top, left, bottom, right] of the frame's pixels that the content can touch, for each of `places`
        (n, 2, 3); empty where bottom <= top or right <= left."""
        rate, offset = places[:, 0, 0] + 1j * places[:, 1, 0], places[:, 0, 2] + 1j * places[:, 1, 2]
        h, w = self.light.shape[:2]
        corners = np.array([0, w - 1, w - 1 + 1j * (h - 1), 1j * (h - 1)])
        seen = (corners - offset[:, None]) / rate[:, None]
        first = [np.floor(part.min(1)) for part in (seen.imag, seen.real)]
        last = [np.ceil(part.max(1)) + 1 for part in (seen.imag, seen.real)]
        limits = np.array([*self.size, *self.size])[:, None]
        return np.clip(np.stack([*first, *last]), 0, limits).T.astype(int).tolist()


def view_of(
    still: Still,
    motion: Motion,
    frames: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    whole: bool = False,
) -> Piece:
    """A background: a random part of the still at a random scale, or as much of it as fits where
    `whole`; no more of it is kept than the clip shows."""
    height, width = size
    most = max(OVERSAMPLING, min(still.size[0] / height, still.size[1] / width))
    share = 1.0 if whole else rng.uniform()
    scale = OVERSAMPLING * (min(most, 5.0) / OVERSAMPLING) ** share
    level, scale = still.reduced(scale, OVERSAMPLING)
    free = [max(0.0, side - scale * part) for side, part in zip(level.shape[:2], size)]
    middle = [(side - 1) / 2 + rng.uniform(-0.5, 0.5) * room for side, room in zip(level.shape[:2], free)]
    whole = Piece(level, None, scale, complex(middle[1], middle[0]), 0j, motion, None, size)
    # Where the frame's corners lie in the still over the whole clip.
    times = np.linspace(-0.5, frames - 0.5, 16 * frames + 1)
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    spots = whole.places(times) @ corners.T
    (left, top), (right, bottom) = spots.min((0, 2)) - 4, spots.max((0, 2)) + 4
    rows, columns = _within(top, bottom, level.shape[0]), _within(left, right, level.shape[1])
    light = cv2.LUT(np.ascontiguousarray(level[rows, columns]), LINEAR)
    return replace(whole, light=light, origin=whole.origin - complex(columns.start, rows.start))


def piece_of(
    still: Still,
    motion: Motion,
    camera: Motion,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Piece:
    """An object: a part of the still with a soft irregular outline, somewhere in the frame."""
    side = rng.uniform(0.25, 0.6) * min(size)
    most = max(OVERSAMPLING, min(still.size) / side)
    scale = OVERSAMPLING * math.exp(rng.uniform(0, math.log(min(most, 5.0) / OVERSAMPLING)))
    level, scale = still.reduced(scale, OVERSAMPLING)
    part = min(int(side * scale), *level.shape[:2])
    top, left = (int(rng.integers(0, length - part + 1)) for length in level.shape[:2])
    light = cv2.LUT(np.ascontiguousarray(level[top : top + part, left : left + part]), LINEAR)
    cover = cv2.cvtColor(1 - soft_outline(part, scale * rng.uniform(0.5, 2.0), rng), cv2.COLOR_GRAY2RGB)
    home = complex(*(rng.uniform(-0.5, 0.5) * length for length in size[::-1]))
    middle = (part - 1) / 2
    return Piece(light, cover, scale, complex(middle, middle), home, motion, camera, size)


def with_look(piece: Piece, look: np.ndarray, raised: float, in_light: bool = True) -> Piece:
    """The piece with its light multiplied by the matrix `look` (3, 3), then its bright parts by `raised`, and
    an object's also by its opacity. Without `in_light` nothing is raised, and the values are the encoded ones."""
    light = cv2.transform(piece.light, look)
    if in_light:
        light = bright_parts_raised(light, raised)
    else:
        light = np.clip(light, 0, 1) ** np.float32(1 / DISPLAY_GAMMA)
    return replace(piece, light=light if piece.cover is None else light * (1 - piece.cover))


def soft_outline(side: int, softness: float, rng: np.random.Generator) -> np.ndarray:
    """Opacity (side, side) float32 of a roundish piece, 0 at the border; its edge is a Gaussian's integral of
    deviation `softness` in pixels."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    radius = 0.36 + sum(
        rng.uniform(-0.05, 0.05) * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    stretch = rng.uniform(0.5, 1.0)
    outline = side * (0.5 + radius[:, None] * np.column_stack([np.cos(angles), stretch * np.sin(angles)]))
    alpha = np.zeros((side, side), np.float32)
    cv2.fillPoly(alpha, [outline.round().astype(np.int32)], 1.0)
    alpha = cv2.GaussianBlur(alpha, (0, 0), softness)
    alpha[[0, -1]], alpha[:, [0, -1]] = 0, 0
    return alpha


def bright_parts_raised(light: np.ndarray, factor: float) -> np.ndarray:
    """Light (h, w, 3) with bright parts times `factor`, and a smooth rise of it between BRIGHT's limits."""
    if factor == 1.0:
        return light
    part = (cv2.cvtColor(light, cv2.COLOR_RGB2GRAY) - BRIGHT[0]) / (BRIGHT[1] - BRIGHT[0])
    part = np.clip(part, 0, 1)
    gain = 1 + np.float32(factor - 1) * part * part * (3 - 2 * part)
    return light * cv2.cvtColor(gain, cv2.COLOR_GRAY2RGB)


def _within(low: float, high: float, length: int) -> slice:
    """The pixels from `low` to `high`; all where these lie beyond an edge, which is mirrored then."""
    if low < 0 or high > length - 1:
        return slice(0, length)
    return slice(int(low), int(high) + 1)
