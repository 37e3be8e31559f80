"""Walks over a shot and borrows for each frame from the sharper ones around it."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from common.rendering import alignment
from common.rendering.alignment import Flow
from common.rendering.neighbours import walk
from common.runtime.background import prefetch
from DeblurringModel.aligned import warping
from DeblurringModel.aligned.warping import Borrowed


def borrow(
    read: Callable[[int], np.ndarray],
    count: int,
    wanted: Iterable[int],
    reach: int,
    coarse: Flow = alignment.coarse_flow,
    fine: Flow = alignment.fine_flow,
    workers: int = 0,
) -> Iterator[tuple[int, Borrowed]]:
    """(position, what was borrowed) for the `wanted` positions of a shot of `count` frames, in order.

    read: the frame at a position, uint8 RGB (H, W, 3), all of one size. No more than 2 reach + 1 frames are
    held. A frame's result depends on the frames within `reach` alone; `source` holds positions in the shot.
    workers: threads that try a frame's neighbours side by side (which changes no result); 0: none.
    Of two frames the blurrier borrows from the sharper and never the other way, so no flow is needed twice.
    """
    for frame, position, sharper in walk(read, count, wanted, reach):
        offers = []
        if sharper:
            blurry = alignment.prepared(frame)
            given = partial(warping.offer, blurry, coarse=coarse, fine=fine)
            offers = list(prefetch(given, sharper.values(), workers, waiting=workers))
        borrowed = warping.blend(frame, offers)
        places = np.array([*sharper, -1])
        yield position, Borrowed(borrowed.picture, borrowed.weight, places[borrowed.source])
