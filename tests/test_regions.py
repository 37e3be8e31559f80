"""Sharp regions: stored boxes of the released rule, its parts by hand, and the threshold search."""

import numpy as np
import pytest
import vectors

from RSDM.magnitude import with_moving_neighbours
from RSDM.regions import Threshold, find_regions, search_threshold

CASES = vectors.manifest("sharp_regions")["cases"]


@pytest.mark.parametrize("scale", [1, 255], ids=["bool", "255"])
@pytest.mark.parametrize("case", CASES, ids=[case["mask"] for case in CASES])
def test_stored_boxes(case, scale):
    size = case["height"], case["width"]
    bits = np.unpackbits(vectors.expected("sharp_regions")[case["mask"]])[: size[0] * size[1]].reshape(size)
    mask = bits.astype(bool) if scale == 1 else bits * np.uint8(255)
    before = mask.copy()
    assert find_regions(mask) == [tuple(box) for box in case["boxes"]]
    assert np.array_equal(mask, before)


def _mask(height: int, width: int, *rectangles: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    for r0, c0, r1, c1 in rectangles:
        mask[r0:r1, c0:c1] = True
    return mask


def test_a_box_needs_strictly_more_than_the_square():
    assert find_regions(_mask(20, 20, (3, 4, 11, 12)), 8) == []
    assert find_regions(_mask(20, 20, (3, 4, 11, 13)), 8) == [(3, 4, 11, 13)]
    assert find_regions(_mask(20, 20, (3, 4, 12, 12)), 8) == [(3, 4, 12, 12)]


def test_both_sides_need_the_size():
    assert find_regions(_mask(20, 60, (3, 4, 10, 60)), 8) == []
    assert find_regions(_mask(60, 20, (4, 3, 60, 10)), 8) == []


def test_default_size():
    assert find_regions(_mask(300, 300, (0, 0, 256, 256))) == []
    assert find_regions(_mask(300, 300, (0, 0, 256, 257))) == [(0, 0, 256, 257)]


def test_corners_connect():
    """Eight-connected: two blocks that touch at a corner are one component; each alone is too small."""
    touching = _mask(20, 20, (0, 0, 7, 7), (7, 7, 14, 14))
    assert find_regions(touching, 8) == [(0, 0, 14, 14)]
    assert find_regions(_mask(20, 20, (0, 0, 7, 7), (8, 8, 15, 15)), 8) == []


def test_order_is_that_of_the_first_pixels_in_raster_order():
    mask = _mask(40, 60, (5, 0, 20, 15), (0, 20, 10, 30), (22, 0, 40, 10), (2, 40, 15, 55))
    assert find_regions(mask, 8) == [(0, 20, 10, 30), (2, 40, 15, 55), (5, 0, 20, 15), (22, 0, 40, 10)]


@pytest.mark.parametrize("turns", range(4))
def test_the_last_bad_line_stays_inside(turns):
    """A spike of five lines on one side: four go, the innermost stays. On every side the same."""
    mask = _mask(30, 40, (4, 10, 26, 30), (14, 5, 16, 10))
    expected = _mask(30, 40, (4, 9, 26, 30))
    rows, columns = np.nonzero(np.rot90(expected, turns))
    box = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    assert find_regions(np.rot90(mask, turns), 12) == [tuple(map(int, box))]


def test_one_bad_line_moves_nothing():
    assert find_regions(_mask(30, 40, (4, 10, 26, 30), (14, 9, 16, 10)), 12) == [(4, 9, 26, 30)]


def test_half_sharp_is_good():
    """Eleven of 22 rows are half: good. Ten of 22 are less than half: bad."""
    body = (4, 10, 26, 30)
    assert find_regions(_mask(30, 40, body, (4, 5, 15, 10)), 12) == [(4, 5, 26, 30)]
    assert find_regions(_mask(30, 40, body, (4, 5, 14, 10)), 12) == [(4, 9, 26, 30)]


def test_lines_are_those_of_the_whole_mask():
    """The column beside the thin spike is made good by another component inside the box's extent."""
    body, spike, foreign = (4, 10, 26, 30), (4, 5, 6, 10), (8, 5, 26, 9)
    assert find_regions(_mask(30, 40, body, spike), 12) == [(4, 9, 26, 30)]
    assert find_regions(_mask(30, 40, body, spike, foreign), 12)[0] == (4, 5, 26, 30)


def test_columns_come_before_rows():
    """An L whose both arms are bad at first: after the columns are cut, the rows are good."""
    mask = _mask(40, 40, (0, 0, 30, 12), (18, 12, 30, 30))
    mask[0:18, 0:12] = False
    mask[0:18, 0:7] = True
    # Columns 0-6 are good (30 of 30), the others bad (12 of 30): the right side moves to column 7, which
    # stays. In what is left every row is good (7 or 8 of 8). Rows first: 7 of 30 is bad, the top would move.
    assert find_regions(mask, 8) == [(0, 0, 30, 8)]


def test_left_and_right_are_trimmed_again():
    """A column that was good in the tall box is bad once the rows are cut."""
    mask = _mask(40, 40, (20, 10, 40, 40), (0, 4, 20, 10), (20, 4, 21, 10))
    # Columns 4-9: 21 of 40 sharp, good. Rows 0-19: 6 of 36, bad, so the top moves to row 19; then the columns
    # 4-9 have 2 of 21 and are bad: the left side moves to 9.
    assert find_regions(mask, 12) == [(19, 9, 40, 40)]


def _trimmed_by_rule(mask: np.ndarray, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The rule line by line, as slowly as it is written."""
    r0, c0, r1, c1 = box
    for side in ("left", "right", "top", "bottom", "left", "right"):
        last_bad = None
        lines = {
            "left": range(c0, c1),
            "right": range(c1 - 1, c0 - 1, -1),
            "top": range(r0, r1),
            "bottom": range(r1 - 1, r0 - 1, -1),
        }[side]
        for line in lines:
            values = mask[r0:r1, line] if side in ("left", "right") else mask[line, c0:c1]
            if values.sum() * 2 >= len(values):
                break
            last_bad = line
        if last_bad is None:
            continue
        if side == "left":
            c0 = last_bad
        elif side == "right":
            c1 = last_bad + 1
        elif side == "top":
            r0 = last_bad
        else:
            r1 = last_bad + 1
    return r0, c0, r1, c1


def test_random_masks_follow_the_rule_line_by_line():
    """One component of random blocks, many times; also shows that trimming matters in most of them."""
    random, trimmed = np.random.RandomState(3), 0
    for _ in range(200):
        mask = _mask(40, 50, (18, 0, 20, 50), (0, 24, 40, 26))
        for _ in range(random.randint(3, 9)):
            r, c = random.randint(0, 30), random.randint(0, 40)
            mask[r : r + random.randint(4, 20), c : c + random.randint(4, 20)] = True
        rows, columns = np.nonzero(_joined(mask))
        whole = int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
        expected = _trimmed_by_rule(_joined(mask), whole)
        fits = expected[2] - expected[0] >= 10 and expected[3] - expected[1] >= 10
        assert find_regions(_joined(mask), 10) == ([expected] if fits else [])
        trimmed += expected != whole
    assert trimmed > 100


def _joined(mask: np.ndarray) -> np.ndarray:
    """Every column joined to the horizontal bar, so that there is one component."""
    joined = mask.copy()
    for column in range(mask.shape[1]):
        rows = np.flatnonzero(mask[:, column])
        joined[min(rows.min(), 18) : max(rows.max(), 19) + 1, column] |= column % 3 == 0
    return joined & _reached(joined)


def _reached(mask: np.ndarray) -> np.ndarray:
    """Pixels connected to the bar, by repeated growing."""
    reached = np.zeros_like(mask)
    reached[18:20] = mask[18:20]
    while True:
        grown = np.pad(reached, 1)
        shifts = [grown[r : r + mask.shape[0], c : c + mask.shape[1]] for r in range(3) for c in range(3)]
        grown = np.any(shifts, axis=0)
        if np.array_equal(grown & mask, reached):
            return reached
        reached = grown & mask


def test_a_thin_cross_vanishes():
    assert find_regions(_mask(40, 40, (19, 0, 20, 40), (0, 19, 40, 20)), 8) == []


def test_a_thin_ring_is_a_region():
    """Far fewer sharp pixels than the square of the size: no reason to skip a mask."""
    mask = _mask(300, 300, (10, 10, 280, 280))
    mask[11:279, 11:279] = False
    assert mask.sum() < 256**2 / 50
    assert find_regions(mask) == [(10, 10, 280, 280)]


def test_specks_do_not_shift_the_order_or_the_boxes():
    mask = _mask(100, 100, (30, 30, 60, 60), (30, 70, 60, 95), (70, 0, 95, 40))
    boxes = find_regions(mask, 20)
    mask[0:20:2, ::2] = True
    assert len(boxes) == 3 and find_regions(mask, 20) == boxes


@pytest.mark.parametrize("shape", [(255, 400), (400, 255), (1, 1), (0, 5)])
def test_frames_smaller_than_a_region(shape):
    assert find_regions(np.ones(shape, dtype=bool)) == []


def test_all_sharp_and_all_blurry():
    assert find_regions(np.ones((300, 400), dtype=bool)) == [(0, 0, 300, 400)]
    assert find_regions(np.zeros((300, 400), dtype=bool)) == []


@pytest.mark.parametrize("shape", [(4,), (1, 4, 4)])
def test_other_shapes(shape):
    with pytest.raises(ValueError, match="expected"):
        find_regions(np.ones(shape, dtype=bool))


SIZE = 8
BOX = (0, 0, 10, 12)


def _video(values: list[float]) -> list[np.ndarray]:
    """Constant maps: frame i is one region exactly for thresholds above values[i]."""
    return [np.full((10, 12), value, dtype=np.float32) for value in values]


def _boxes(result: Threshold) -> int:
    return sum(len(boxes) for boxes in result.regions)


def test_search_stops_at_the_first_threshold_near_enough():
    """20 frames, 0.02 apart: 5 boxes at 0.1, 20 at 0.55, 16 at 0.325, which is near enough to 15."""
    video = _video([0.01 + 0.02 * i for i in range(20)])
    result = search_threshold(video, 15, SIZE)
    assert result.threshold == pytest.approx((0.1 + (0.1 + 1) / 2) / 2)
    assert (result.found, result.target, _boxes(result)) == (16, 15, 16)
    assert result.regions == [[BOX]] * 16 + [[]] * 4
    assert search_threshold(video, 5, SIZE).threshold == 0.1
    assert search_threshold(video, 15, SIZE, initial=0.3).threshold == 0.3


@pytest.mark.parametrize(
    "target,tolerance,reached",
    [(3, 3, True), (7, 3, True), (2, 3, False), (8, 3, False), (2, 4, True), (5, 1, True), (6, 1, False)],
)
def test_the_tolerance_is_strict(target, tolerance, reached):
    """The initial 0.1 gives 5 boxes."""
    video = _video([0.01 + 0.02 * i for i in range(20)])
    assert (search_threshold(video, target, SIZE, tolerance=tolerance).threshold == 0.1) == reached


@pytest.mark.parametrize(
    "target, found",
    [(target, found) for target in range(1, 6) for found in range(1, 8) if abs(found - target) < 3],
)
def test_a_small_target_is_met_as_released(target, found):
    """Less than 3 from the target, at the first threshold, wherever that gives a box."""
    result = search_threshold(_video([0.01] * found + [0.05 * step for step in range(2, 14)]), target, SIZE)
    assert result.threshold == 0.1 and result.found == found


@pytest.mark.parametrize("target", [1, 2])
def test_no_box_meets_no_small_target(target):
    result = search_threshold(_video([0.15] + [0.9] * 10), target, SIZE)
    assert result.threshold > 0.15 and (result.found, _boxes(result)) == (1, 1)
    # None or thirty: thirty, of which as many as wanted are drawn.
    result = search_threshold(_video([0.15] * 30), target, SIZE)
    assert (result.found, _boxes(result)) == (30, target)
    assert search_threshold(_video([0.15] + [0.9] * 10), 0, SIZE).found == 0


def test_sharp_is_strictly_below_the_threshold():
    result = search_threshold(_video([0.25] * 10), 10, SIZE, initial=0.25)
    assert result.found == 10 and result.threshold > 0.25
    assert search_threshold(_video([0.2499] * 10), 10, SIZE, initial=0.25).threshold == 0.25


def test_counts_above_the_target_lower_the_threshold():
    video = _video([0.001 * i for i in range(40)])
    result = search_threshold(video, 8, SIZE)
    assert result.threshold == 0.1 / 16 and result.found == 7


@pytest.mark.parametrize("seed", [0, 1])
def test_jump_over_the_target_ends_with_a_sample(seed):
    """All 30 frames become sharp at once, at 0.2: 0 or 30, never about 20; 30 is nearer, and 20 are drawn."""
    result = search_threshold(_video([0.2] * 30), 20, SIZE, seed=seed)
    assert result.threshold == pytest.approx(0.2, abs=0.2) and result.threshold > 0.2
    assert (result.found, result.target, _boxes(result)) == (30, 20, 20)
    assert all(boxes in ([], [BOX]) for boxes in result.regions) and len(result.regions) == 30


def test_jump_over_the_target_takes_the_nearer_count():
    """4 or 30 for the target 12: 4 is nearer, and nothing is left out or made up."""
    result = search_threshold(_video([0.05] * 4 + [0.2] * 26), 12, SIZE)
    assert (result.found, _boxes(result)) == (4, 4)
    assert 0.05 < result.threshold <= 0.2


def test_equally_near_counts_take_the_sharper_threshold():
    """4 or 20 for the target 12."""
    result = search_threshold(_video([0.05] * 4 + [0.2] * 16), 12, SIZE)
    assert result.found == 4 and result.threshold == 0.1


def test_nothing_found():
    result = search_threshold(_video([1.5] * 20), 10, SIZE)
    assert (result.found, result.target, result.regions) == (0, 10, [[]] * 20)
    small = [np.zeros((4, 4), dtype=np.float32)] * 20
    assert search_threshold(small, 10, SIZE).found == 0
    assert search_threshold([], 10, SIZE).regions == []
    assert search_threshold([np.full((10, 12), np.nan, dtype=np.float32)] * 9, 5, SIZE).found == 0


@pytest.mark.parametrize("value", [0.0, -0.3])
def test_everything_sharp(value):
    result = search_threshold(_video([value] * 20), 4, SIZE)
    assert (result.found, _boxes(result)) == (20, 4)
    assert 0 < result.threshold < 2e-5


def test_thresholds_stay_in_the_bracket():
    result = search_threshold(_video([0.05] * 2 + [1.2] * 20), 12, SIZE)
    assert result.found == 2 and result.threshold <= 1


def test_several_boxes_in_one_frame_are_drawn_one_by_one():
    two = np.ones((10, 40), dtype=np.float32)
    two[:, :15], two[:, 25:] = 0, 0
    result = search_threshold([two] * 10, 5, SIZE)
    assert (result.found, _boxes(result)) == (20, 5)
    full = search_threshold([two] * 10, 20, SIZE)
    assert full.regions == [[(0, 0, 10, 15), (0, 25, 10, 40)]] * 10


def test_the_same_search_gives_the_same_boxes():
    video = _video([0.0] * 50)
    first, again, other = (search_threshold(video, 10, SIZE, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first.regions != other.regions and first.threshold == other.threshold


def test_every_threshold_reads_the_maps_once():
    class Counting(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

    video = Counting(_video([0.2] * 30))
    search_threshold(video, 20, SIZE)
    assert 10 < video.passes <= 18


@pytest.mark.parametrize(
    "arguments",
    [
        {"target": -1},
        {"target": 5, "tolerance": 0},
        {"target": 5, "initial": 0.0},
        {"target": 5, "initial": 1.0},
    ],
)
def test_impossible_searches(arguments):
    with pytest.raises(ValueError, match="expected"):
        search_threshold(_video([0.1]), min_size=SIZE, **arguments)


def test_moving_neighbours_are_preferred_and_never_demanded():
    still, moving = np.zeros((4, 4), np.float32), np.full((4, 4), 10 / 205, np.float32)
    magnitudes = [moving, still, moving, still, still, moving, moving]
    assert with_moving_neighbours(magnitudes, range(1, 6), 8.0) == [1]
    assert with_moving_neighbours(magnitudes, range(1, 6), 0.0) == [1, 2, 3, 4, 5]
    assert with_moving_neighbours([still] * 5, range(1, 4), 8.0) == [1, 2, 3]
