"""Sharp regions of a video: boxes of a mask, and the threshold that gives the wanted number of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from skimage.measure import label, regionprops

Box = tuple[int, int, int, int]
"""(min row, min column, max row, max column), the maxima exclusive."""

_CLOSED_BRACKET = 1e-5


@dataclass(frozen=True)
class Threshold:
    """Result of `search_threshold`: sharp is where magnitude < `threshold`."""

    threshold: float
    regions: list[list[Box]]
    """The chosen boxes of every frame, in the order of the frames."""
    found: int
    """Number of boxes at this threshold, before any were left out."""
    target: int


def find_regions(mask: np.ndarray, min_size: int = 256) -> list[Box]:
    """Boxes of at least `min_size` rows and columns that are mostly sharp along their sides (released code).

    mask: (H, W), nonzero (True, 255) where sharp. Each 8-connected component whose bounding box covers more
    than `min_size` squared pixels gives at most one box: its bounding box, with the sides moved inwards past
    lines of the mask that are less than half sharp (the last of these stays inside). Boxes come in the raster
    order of their components, and may overlap. Raises ValueError for other shapes.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"mask: expected (H, W), got {mask.shape}")
    sharp = mask != 0
    # A component that is to span `min_size` rows needs a pixel in each. (`min_size` squared would be a wrong
    # bound: a thin ring gives a box, because only the outermost lines have to be sharp.)
    if min(sharp.shape) < min_size or np.count_nonzero(sharp) < min_size:
        return []
    components = _large_components(sharp, min_size)
    boxes = [
        _trim(sharp, region.bbox) for region in regionprops(components) if region.area_bbox > min_size**2
    ]
    return [box for box in boxes if box is not None and _fits(box, min_size)]


def search_threshold(
    magnitudes: Sequence[np.ndarray],
    target: int,
    min_size: int = 256,
    initial: float = 0.1,
    tolerance: int = 3,
    seed: int = 0,
) -> Threshold:
    """Threshold at which the number of boxes in all frames is less than `tolerance` from `target`.

    magnitudes: raw magnitude maps (H, W) of the frames that may contribute; values may lie outside [0, 1].
    As released, the bracket [0, 1] is halved, starting at `initial`. Unlike the released search this one
    always ends: when the bracket closes (after at most 18 steps), the threshold seen whose count is nearest
    the target is taken, the smaller of two such. Where that gives too many boxes by `tolerance` or more,
    `target` of them are drawn with `seed`. A count of 0 meets no target but 0, and is taken only where no
    threshold gives a box (as released it meets a target below `tolerance`, and the video has none); `found`
    is then 0. Raises ValueError for a negative target, a tolerance below 1, or a start outside (0, 1).
    """
    if target < 0 or tolerance < 1 or not 0 < initial < 1:
        raise ValueError(
            f"expected target >= 0, tolerance >= 1, 0 < initial < 1; got {target}, {tolerance}, {initial}"
        )
    low, high, threshold = 0.0, 1.0, initial
    seen: dict[float, list[list[Box]]] = {}
    while high - low >= _CLOSED_BRACKET:
        seen[threshold] = [find_regions(magnitude < threshold, min_size) for magnitude in magnitudes]
        count = _count(seen[threshold])
        if abs(count - target) < tolerance and (count or not target):
            return Threshold(threshold, seen[threshold], count, target)
        if count > target:
            high = threshold
        else:
            low = threshold
        threshold = (low + high) / 2
    nearest = min(seen, key=lambda tried: (not _count(seen[tried]), abs(_count(seen[tried]) - target), tried))
    found = _count(seen[nearest])
    regions = _sample(seen[nearest], target, seed) if found > target else seen[nearest]
    return Threshold(nearest, regions, found, target)


def _large_components(sharp: np.ndarray, min_size: int) -> np.ndarray:
    """Labels, in raster order, of the 8-connected components that have at least `min_size` pixels.

    The others cannot span `min_size` rows, and trimming never widens a box, so nothing is lost; what is saved
    is the cost of the thousands of specks in a noisy mask.
    """
    components = label(sharp, connectivity=2)
    kept = np.bincount(components.ravel()) >= min_size
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0)[components]


def _trim(sharp: np.ndarray, box: Box) -> Box | None:
    """Move the sides inwards in the released order; None when a side meets nothing but bad lines."""
    r0, c0, r1, c1 = box
    for side in ("left", "right", "top", "bottom", "left", "right"):
        inside = sharp[r0:r1, c0:c1].view(np.uint8)
        across = 0 if side in ("left", "right") else 1
        good = np.flatnonzero(2 * inside.sum(axis=across, dtype=np.int32) >= inside.shape[across])
        if good.size == 0:
            return None
        # The last bad line stays inside: a side moves by one less than its bad lines, or not at all.
        first, last = max(int(good[0]) - 1, 0), max(inside.shape[1 - across] - int(good[-1]) - 2, 0)
        match side:
            case "left":
                c0 += first
            case "right":
                c1 -= last
            case "top":
                r0 += first
            case "bottom":
                r1 -= last
    return r0, c0, r1, c1


def _fits(box: Box, min_size: int) -> bool:
    return box[2] - box[0] >= min_size and box[3] - box[1] >= min_size


def _count(regions: list[list[Box]]) -> int:
    return sum(map(len, regions))


def _sample(regions: list[list[Box]], size: int, seed: int) -> list[list[Box]]:
    """`size` of the boxes, drawn without replacement, in their frames and in their order."""
    places = [(frame, box) for frame, boxes in enumerate(regions) for box in boxes]
    chosen = sorted(random.Random(seed).sample(range(len(places)), size))
    sampled: list[list[Box]] = [[] for _ in regions]
    for frame, box in (places[index] for index in chosen):
        sampled[frame].append(box)
    return sampled
