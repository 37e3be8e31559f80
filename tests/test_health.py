"""The checks that a restored video has to pass."""

import numpy as np
import pytest

from DeblurringModel.inference.health import MOST_COLOUR_SHIFT, Health, health


def video(levels, noise=0.0):
    """Frames of 40 x 48 pixels with a fixed texture around the given grey levels."""
    rng = np.random.default_rng(0)
    texture = rng.normal(0, 20, (40, 48, 3))
    return [
        (texture + level + noise * rng.normal(size=(40, 48, 3))).round().clip(0, 255).astype(np.uint8)
        for level in levels
    ]


def test_a_video_is_as_sound_as_itself():
    blurry = video([100, 104, 99, 120, 121])
    found = health(zip(blurry, blurry))
    assert found.colour_shift == 0 and found.flicker == found.input_flicker > 1 and found.problems() == []


def test_known_figures():
    found = health(zip(video([100] * 5), video([100, 106, 100, 106, 100])))
    assert found.colour_shift == pytest.approx(6, abs=0.02)
    # Every frame in the middle is 6 levels from both neighbours.
    assert found.flicker == pytest.approx(6, abs=0.02) and found.input_flicker == 0
    assert [problem.split()[0] for problem in found.problems()] == ["colours", "flickers"]


def test_a_cast_of_one_colour_is_found():
    blurry = video([100] * 3)
    tinted = [frame + np.array([0, 0, 6], np.uint8) for frame in blurry]
    problems = health(zip(blurry, tinted)).problems()
    assert len(problems) == 1 and "colours are off by 6.0 grey levels" in problems[0]


def test_a_part_of_another_colour_is_found_where_the_mean_does_not_move():
    blurry = video([100] * 3)
    restored = [frame.copy() for frame in blurry]
    for frame in restored:
        frame[:20, :12, 2] += np.uint8(9)
    found = health(zip(blurry, restored))
    assert found.local_shift == pytest.approx(9, abs=0.02) and found.colour_shift < MOST_COLOUR_SHIFT
    assert found.problems() == ["colours of a part are off by 9.0 grey levels (at most 8)"]
    # What comes and goes is motion.
    there_and_back = [blurry[0], restored[1], blurry[2]]
    assert health(zip(blurry, there_and_back)).local_shift == pytest.approx(3, abs=0.02)


def test_a_part_that_flickers_is_found_where_the_mean_does_not():
    blurry = video([100] * 6)
    restored = [frame.copy() for frame in blurry]
    for index, frame in enumerate(restored):
        frame[:, :24] += np.uint8(4 * (index % 2))
        frame[:, 24:] -= np.uint8(4 * (index % 2))
    found = health(zip(blurry, restored))
    assert found.colour_shift < MOST_COLOUR_SHIFT and [p.split()[0] for p in found.problems()] == ["flickers"]


def test_an_input_that_flickers_may_do_so_restored():
    assert health(zip(video([100, 110] * 3), video([101, 111] * 3))).problems() == []
    assert Health(0.0, 10.0, 9.0).problems() == []


def test_short_videos_have_no_flicker():
    assert health(zip(video([90, 100]), video([91, 101]))).flicker == 0
    with pytest.raises(ValueError, match="at least one frame"):
        health([])
