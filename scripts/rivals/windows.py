"""Windows of five frames at one place of a video: where to cut them, and what the networks make of them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError
from DeblurringModel import models
from DeblurringModel.pairs import REACH
from scripts.rivals.networks import MULTIPLE

LARGEST = 256
"""Side of a patch in pixels (Liu et al., BMVC 2022)."""
WINDOW = 2 * REACH + 1

Place = tuple[int, int, int]
"""Position of the middle frame, first row, first column."""
Read = Callable[[int], np.ndarray]
"""Position in the video -> frame uint8 RGB (H, W, 3)."""


def patch_side(height: int, width: int, smaller: int, multiple: int) -> int:
    """Side of the patches of frames of this size: LARGEST, or `smaller` (deblurring.crop_size) where they are smaller.

    multiple: of which the deblurring network needs its sizes. Raises UserError where no such patch fits.
    """
    side, smallest = LARGEST, min(height, width)
    if smallest < LARGEST:
        side = smaller
    if side > smallest:
        raise UserError(
            f"deblurring.crop_size: {side} is larger than the frames ({width} x {height} pixels); lower it"
        )
    if side % multiple or side % MULTIPLE:
        raise UserError(
            f"deblurring.crop_size: patches of {side} pixels, but the networks need a multiple of {multiple} and of "
            f"{MULTIPLE}"
        )
    return side


def change(patch: np.ndarray) -> float:
    """Mean absolute difference in grey levels between a patch uint8 (h, w, 3) and itself shifted by one pixel in four
    directions: the sharper the patch, the larger."""
    values = patch.astype(np.int16)
    # Where both overlap, a shift to the left changes as much as one to the right, and up as much as down.
    return float(np.mean([np.abs(np.diff(values, axis=axis)).mean() for axis in (0, 1)]))


def middles(frames: int) -> range:
    """Positions that have a whole window around them."""
    return range(REACH, frames - REACH)


def corners(size: tuple[int, int], side: int, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """First row and column of `count` random patches of `side` pixels, in frames of `size` (height, width)."""
    return [tuple(int(rng.integers(length - side + 1)) for length in size) for _ in range(count)]


def sharpest(
    read: Read,
    frames: int,
    size: tuple[int, int],
    side: int,
    rng: np.random.Generator,
    count: int,
) -> list[Place]:
    """`count` random places of a video, each in the frame where its patch has the largest `change` (Liu et al., BMVC
    2022). The frames at both ends that lack a whole window do not count; of equals the first does."""
    drawn, best = corners(size, side, rng, count), [(-1.0, 0)] * count
    for position in middles(frames):
        frame = read(position)
        for index, (top, left) in enumerate(drawn):
            found = change(frame[top : top + side, left : left + side])
            if found > best[index][0]:
                best[index] = found, position
    return [(position, *corner) for (_, position), corner in zip(best, drawn)]


def anywhere(
    frames: int,
    size: tuple[int, int],
    side: int,
    rng: np.random.Generator,
    count: int,
) -> list[Place]:
    """`count` random places in random frames that have a whole window."""
    positions = rng.integers(middles(frames).start, middles(frames).stop, count)
    return [(int(position), *corner) for position, corner in zip(positions, corners(size, side, rng, count))]


def cut(read: Read, places: Sequence[Place], side: int) -> np.ndarray:
    """The windows at these places, uint8 RGB (N, 5, side, side, 3)."""
    return np.stack(
        [
            np.stack(
                [
                    read(position + offset)[top : top + side, left : left + side]
                    for offset in range(-REACH, REACH + 1)
                ]
            )
            for position, top, left in places
        ]
    )


def with_middle(windows: Tensor, middle: Tensor) -> Tensor:
    """Windows (B, 5, 3, H, W) with other middle frames (B, 3, H, W)."""
    parts = list(windows.unbind(1))
    parts[REACH] = middle.to(windows.dtype)
    return torch.stack(parts, dim=1)


def restored_middle(network: nn.Module, spec: models.Spec, windows: Tensor, order: str = "rgb") -> Tensor:
    """What the deblurring network makes of the middle frames of windows (B, 5, 3, H, W), RGB in [0, 1]: (B, 3, H, W),
    not clamped. order: of the network's colours (deblurring.channel_order)."""
    return models.restore(network, spec, windows, order)[:, REACH - spec.past]


def own_loss(
    distance: Callable[[Tensor, Tensor], Tensor], spec: models.Spec, order: str = "rgb"
) -> Callable[[Tensor, Tensor], Tensor]:
    """The deblurring network's loss `distance`, of (restored, sharp) as RGB (B, 3, H, W) in [0, 1]."""

    def loss(restored: Tensor, sharp: Tensor) -> Tensor:
        # Some losses look at clips: one of a single frame.
        return distance(*(models.to_range(picture, spec, order)[:, None] for picture in (restored, sharp)))

    return loss
