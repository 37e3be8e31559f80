"""The video's blur, measured: kernels between its blurry frames and sharper ones nearby (blurring.model
measured).

A line is a model of the blur; hands do not move along lines. Where a sharper frame shows the same place, the
kernel between the two is what the video itself blurs with.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from BlurringModel.reblurring.crops import Box
from common.images import open_array
from common.layout import Layout
from common.rendering import alignment, kernels
from common.rendering.alignment import Frame
from common.rendering.neighbours import walk
from common.runtime.seeding import numpy_generator
from common.videos import Video

HINT = "run python BlurringModel/main.py again with --overwrite"
REACH = 6
"""Frames before and after among which the sharper ones are looked for."""
TRIED = 2
"""Of the sharper frames, how many are tried."""
LEAST_TRUST = 0.5
"""A block's kernel is kept where the sharper frame, blurred by it, explains at least so much of the block."""
LEAST_SHARE = 0.5
"""Share of a box's blocks that need a kernel; the others are given the mean of these."""


def kernels_of_frames(
    read: Callable[[int], np.ndarray],
    count: int,
    wanted: Iterable[int],
) -> Iterator[tuple[int, np.ndarray]]:
    """(position, kernels of its blocks) for the `wanted` positions of a video of `count` frames, in order.

    read: the frame at a position, uint8 RGB (H, W, 3). Kernels are float32 (R, C, KERNEL, KERNEL), of blocks as
    in `common.rendering.kernels`: of sum 1, or 0 where none could be measured.
    """
    for frame, position, sharper in walk(read, count, wanted, REACH):
        yield position, against(frame, list(sharper.values())[:TRIED])


def against(frame: np.ndarray, sharper: list[np.ndarray]) -> np.ndarray:
    """The kernels of the blocks of `frame`, each from the one of the `sharper` frames that explains it best;
    pictures uint8 RGB (H, W, 3)."""
    size = kernels.KERNEL
    best = np.zeros((*kernels.shape(*frame.shape[:2]), size, size), np.float32)
    trust = np.full(best.shape[:2], LEAST_TRUST, np.float32)
    blurry = alignment.prepared(frame) if sharper else None
    for neighbour in sharper:
        trusted, found = measured_blocks(blurry, neighbour)
        better = trusted > trust
        best[better], trust[better] = found[better], trusted[better]
    return best


def measured_blocks(frame: Frame, neighbour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(how far each block's kernel is to be trusted (R, C), 0 to 1; the kernels (R, C, KERNEL, KERNEL))."""
    laid = alignment.align(frame, neighbour)
    trust = alignment.trust(frame, laid)[0]
    blocks = (kernels.cut(trust) * kernels.WINDOW).sum((2, 3)) / kernels.WINDOW.sum()
    empty = laid.kernels.values.sum((2, 3)) == 0
    return np.where(empty, 0, blocks), laid.kernels.values


@dataclass(frozen=True)
class Measured:
    """The kernels on disk."""

    layout: Layout
    _known: dict[Path, np.ndarray] = field(default_factory=dict, init=False, compare=False)
    """Which blocks of a frame have a kernel: (R, C), by the frame's file; read once, for every region asks for all."""

    def path(self, video: Video, position: int) -> Path:
        """Where the kernels of a frame lie."""
        return self.layout.kernels(*video.at(position))

    def at(self, video: Video, position: int, box: Box) -> Callable[[], np.ndarray] | None:
        """What reads the kernels with which the frame at `position` is blurred inside `box`; None where too few
        were measured, or the video has no such frame."""
        if not 0 <= position < len(video.frames):
            return None
        share = self._blocks(video, position)[blocks_of(box)].mean()
        return (lambda: self._read(video, position)) if share >= LEAST_SHARE else None

    def drawn(self, video: Video, frame: str, box: Box, seed: int) -> int | None:
        """A position whose blur inside `box` is measured, drawn by (seed, video, frame); None where there is
        none."""
        choices = [
            position
            for position in range(len(video.frames))
            if video.names[position] != frame and self.at(video, position, box) is not None
        ]
        rng = numpy_generator(seed, "measured", video.name, frame, *box)
        return int(rng.choice(choices)) if choices else None

    def has_any(self, video: Video) -> bool:
        """Whether any frame of the video has a kernel."""
        return any(self._blocks(video, position).any() for position in range(len(video.frames)))

    def _blocks(self, video: Video, position: int) -> np.ndarray:
        path = self.path(video, position)
        if path not in self._known:
            self._known[path] = self._read(video, position).sum((2, 3)) > 0
        return self._known[path]

    def _read(self, video: Video, position: int) -> np.ndarray:
        return open_array(self.path(video, position), 4, HINT)


def blocks_of(box: Box) -> tuple[slice, slice]:
    """The rows and columns of blocks that a box's pixels belong to."""
    r0, c0, r1, c1 = box
    step = kernels.STRIDE
    return slice(r0 // step, -(-r1 // step) + 1), slice(c0 // step, -(-c1 // step) + 1)


def blurred(picture: np.ndarray, values: np.ndarray, box: Box) -> np.ndarray:
    """The box (h, w, 3) of `picture` uint8 RGB (H, W, 3), blurred in light by the kernels of the blocks of the
    whole picture."""
    r0, c0, r1, c1 = box
    step, sides = kernels.STRIDE, picture.shape[:2]
    # Whole blocks, and one more around them, which the outermost ones of the box look at.
    top, left = max(0, r0 // step - 1) * step, max(0, c0 // step - 1) * step
    bottom, right = (
        min(side, (-(-end // step) + 1) * step) for side, end in zip(sides, (r1, c1), strict=True)
    )
    rows, columns = kernels.shape(bottom - top, right - left)
    inside = values[top // step : top // step + rows, left // step : left // step + columns]
    known = inside.sum((2, 3)) > 0
    filled = kernels.described(np.where(known[..., None, None], inside, inside[known].mean(0)))
    light = [
        kernels.blur(alignment.to_light(picture[top:bottom, left:right, colour]), filled)
        for colour in range(3)
    ]
    whole = alignment.to_bytes(alignment.to_display(np.stack(light, axis=-1)))
    return whole[r0 - top : r1 - top, c0 - left : c1 - left]
