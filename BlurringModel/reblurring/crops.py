"""Which rectangles of a frame are reblurred, and the noise they start from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from BlurringModel.id_blau.diffusion import Draw, seeded_draws

Box = tuple[int, int, int, int]
SNAP = 32
"""Crops grow to multiples of this, so that regions of like size share a batch."""


def merge_overlapping(boxes: Sequence[Box]) -> list[Box]:
    """Boxes (r0, c0, r1, c1) with every overlapping group replaced by its bounding box: nothing is blurred
    twice."""
    merged = list(dict.fromkeys(boxes))
    while True:
        pair = next(((a, b) for i, a in enumerate(merged) for b in merged[i + 1 :] if _overlap(a, b)), None)
        if pair is None:
            return merged
        a, b = pair
        merged = [box for box in merged if box not in pair]
        merged.append((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def context_crop(box: Box, margin: int, height: int, width: int) -> Box:
    """The box with `margin` pixels of context on each side and sides grown to multiples of SNAP, moved into a
    frame of (height, width); as large as the frame where that is smaller."""
    r0, r1 = _span(box[0] - margin, box[2] + margin, height)
    c0, c1 = _span(box[1] - margin, box[3] + margin, width)
    return r0, c0, r1, c1


def _span(start: int, stop: int, size: int) -> tuple[int, int]:
    start, stop = max(0, start), min(size, stop)
    length = min(size, stop - start + (start - stop) % SNAP)
    start = max(0, min(start - (length - (stop - start)) // 2, size - length))
    return start, start + length


def crop_draws(seeds: Sequence[int], crops: Sequence[Box], height: int, width: int) -> Draw:
    """Draws for a batch of crops cut from frames of (height, width), item b from a frame seeded by
    seeds[b].

    The noise belongs to the frame and the crop only shows a part of it, so a region gets the same noise
    whether it is sampled alone or with the whole frame.
    """
    frames = [seeded_draws([seed]) for seed in seeds]

    def draw(k: int, shape: torch.Size) -> Tensor:
        parts = [
            frame(k, torch.Size((1, shape[1], height, width)))[..., r0:r1, c0:c1]
            for frame, (r0, c0, r1, c1) in zip(frames, crops)
        ]
        return torch.cat(parts).contiguous()

    return draw
