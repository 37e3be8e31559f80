"""Quarter turns and mirror images that a video file asks for."""

import struct

import numpy as np

Turn = tuple[int, int, int, int]
"""The rows (a, b), (c, d) of a matrix of -1, 0 and 1: a picture's x and y become a x + c y and b x + d y."""
UPRIGHT: Turn = (1, 0, 0, 1)


def turn_of(matrix: bytes) -> Turn | None:
    """What a display matrix (nine 32-bit integers, as FFmpeg hands it out) asks for; None where it is neither
    quarter turns nor a mirror image."""
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    size = max(map(abs, (a, b, c, d)))
    if not size:
        return UPRIGHT
    turn = tuple(round(value / size) for value in (a, b, c, d))
    oblique = any(abs(value) / size > 0.01 and abs(abs(value) / size - 1) > 0.01 for value in (a, b, c, d))
    return None if oblique or abs(turn[0] * turn[3] - turn[1] * turn[2]) != 1 else turn


def turned(picture: np.ndarray, turn: Turn) -> np.ndarray:
    """A picture (H, W, ...) turned and mirrored, in memory of its own."""
    a, b, c, d = turn
    if b:
        # x becomes the new y.
        picture, a, d = np.swapaxes(picture, 0, 1), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def swaps_sides(turn: Turn) -> bool:
    """Whether width and height change places."""
    return turn[1] != 0
