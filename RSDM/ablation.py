"""The patches that the paper's ablation (Table 2) compares with RSDM's sharp ones."""

from common.runtime.seeding import numpy_generator
from RSDM.regions import Box


def random_regions(frames: int, size: tuple[int, int], count: int, side: int, seed: int) -> list[list[Box]]:
    """`count` boxes of `side` x `side` pixels in `frames` frames of `size` (height, width), as a list per
    frame.

    The paper says "random" and no more. Our reading: frame and place of every box are drawn uniformly and
    independently, there are as many boxes as RSDM aims at, and they have the smallest size that RSDM takes.
    No box where the frames are smaller than that, or there are none.
    """
    regions: list[list[Box]] = [[] for _ in range(frames)]
    height, width = size
    if frames == 0 or min(size) < side:
        return regions
    rng = numpy_generator(seed)
    for _ in range(count):
        frame, top, left = (
            int(rng.integers(limit)) for limit in (frames, height - side + 1, width - side + 1)
        )
        regions[frame].append((top, left, top + side, left + side))
    return regions
