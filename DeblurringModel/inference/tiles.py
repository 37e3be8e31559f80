"""Large frames in overlapping tiles, and the tiles blended into frames again."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Tile = tuple[int, int, int, int]
"""(first row, first column, past the last row, past the last column)."""


def tiles(height: int, width: int, side: int, overlap: int, multiple: int) -> list[Tile]:
    """Tiles of at most `side` pixels that cover (height, width), neighbours overlapping by `overlap` or more.

    Sides, and where tiles start, are multiples of `multiple`, so that a network sees a tile on the same grid
    as the frame. side 0: one tile, the frame. Raises ValueError unless side is more than twice the overlap.
    """
    if not side or side >= max(height, width):
        return [(0, 0, height, width)]
    if side <= 2 * overlap:
        raise ValueError(f"expected a tile of more than twice the overlap {overlap}, got {side}")
    return [
        (r0, c0, r1, c1)
        for r0, r1 in _spans(height, side, overlap, multiple)
        for c0, c1 in _spans(width, side, overlap, multiple)
    ]


def _spans(size: int, side: int, overlap: int, multiple: int) -> list[tuple[int, int]]:
    side = -(-side // multiple) * multiple
    if side >= size:
        return [(0, size)]
    step = max(multiple, (side - overlap) // multiple * multiple)
    starts = list(range(0, size - side, step))
    # The last tile ends with the frame; where the frame is no multiple, it is a little smaller than the
    # others.
    starts.append(-(-(size - side) // multiple) * multiple)
    return [(start, min(start + side, size)) for start in starts]


def blend(parts: Sequence[Tensor], places: Sequence[Tile], overlap: int) -> Tensor:
    """Tiles (..., h, w) put together to (..., H, W), float32; where they overlap their weights fall off
    linearly."""
    if len(parts) == 1:
        return parts[0].float()
    height, width = (max(place[side] for place in places) for side in (2, 3))
    device, leading = parts[0].device, parts[0].shape[:-2]
    total = torch.zeros(*leading, height, width, device=device)
    weights = torch.zeros(height, width, device=device)
    for part, (r0, c0, r1, c1) in zip(parts, places):
        weight = torch.outer(_ramp(r0, r1, height, overlap), _ramp(c0, c1, width, overlap)).to(device)
        total[..., r0:r1, c0:c1] += part.float() * weight
        weights[r0:r1, c0:c1] += weight
    return total / weights


def _ramp(start: int, stop: int, size: int, overlap: int) -> Tensor:
    """Weights along a tile: 1, falling towards the sides that are not the frame's."""
    position = np.arange(stop - start) + 0.5
    weight = np.ones(stop - start)
    for inner, distance in ((start > 0, position), (stop < size, stop - start - position)):
        if inner and overlap:
            weight = np.minimum(weight, distance / overlap)
    return torch.from_numpy(weight.astype(np.float32))
