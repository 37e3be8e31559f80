"""Which frames of a shot are sharper than another."""

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from common.rendering import alignment, kernels

SHARPER = 1.05
"""A neighbour has at least so many times the frame's energy of edges; the frame itself is good enough
else."""
MOST_NEIGHBOURS = 3
"""Neighbours that are tried, the sharpest first."""
LEAST_SIDE = 64
"""Smaller frames have no room for a block; nothing is borrowed for them."""


def edge_energy(picture: np.ndarray) -> float:
    """Mean squared gradient of an RGB picture (H, W, 3), 0..255, smoothed by one pixel so that noise counts
    less."""
    along_x, along_y = kernels.gradients(cv2.GaussianBlur(alignment.to_grey(picture), (0, 0), 1.0))
    return float((along_x**2 + along_y**2).mean())


def candidates(position: int, energies: dict[int, float], reach: int) -> list[int]:
    """Positions of the frames that are sharper than the one at `position`, best first.

    energies: `edge_energy` of the shot's frames by position, at least of those within `reach`.
    """
    sharper = [
        other
        for other, energy in energies.items()
        if 0 < abs(other - position) <= reach and energy > SHARPER * energies[position]
    ]
    sharpest = sorted(sharper, key=lambda other: (-energies[other], abs(other - position)))[:MOST_NEIGHBOURS]
    nearest = sorted(sharper, key=lambda other: (abs(other - position), -energies[other]))[:1]
    return list(dict.fromkeys(sharpest + nearest))


def walk(
    read: Callable[[int], np.ndarray],
    count: int,
    wanted: Iterable[int],
    reach: int,
) -> Iterator[tuple[np.ndarray, int, dict[int, np.ndarray]]]:
    """(frame, its position, the sharper frames within `reach` by position, best first) for the `wanted` positions of a
    shot of `count` frames, in order.

    read: the frame at a position, uint8 RGB (H, W, 3), all of one size. No more than 2 reach + 1 frames are held.
    """
    frames: dict[int, np.ndarray] = {}
    energies: dict[int, float] = {}
    for position in sorted(wanted):
        near = range(max(0, position - reach), min(count, position + reach + 1))
        frames = {other: frames[other] if other in frames else read(other) for other in near}
        energies = {
            other: energies[other] if other in energies else edge_energy(frames[other]) for other in near
        }
        frame = frames[position]
        sharper = candidates(position, energies, reach) if min(frame.shape[:2]) >= LEAST_SIDE else []
        yield frame, position, {other: frames[other] for other in sharper}
