"""Turning a picture and its blur condition together keeps the one true for the other."""

import itertools

import numpy as np
import pytest

from common.training.augmentation import Augmentation

TURNS = [Augmentation(*parts) for parts in itertools.product((False, True), (False, True), range(4))]
IDS = [f"{'x' * turn.mirror_x}{'y' * turn.mirror_y}{90 * turn.quarters}" for turn in TURNS]
IN_EFFECT_NONE = [Augmentation(False, False, 0), Augmentation(True, True, 2)]


def _picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _condition(height: int, width: int) -> np.ndarray:
    """Another direction (right, down, left or up) and length (0 to 3 pixels) at every pixel."""
    rng = np.random.default_rng(1)
    axes = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])[rng.integers(4, size=(height, width))]
    lengths = rng.integers(4, size=(1, height, width))
    return np.concatenate([np.moveaxis(axes, -1, 0), lengths]).astype(np.float32)


def _constant(height: int, width: int, x: float, y: float) -> np.ndarray:
    return np.stack([np.full((height, width), value, np.float32) for value in (x, y, 1)])


def _moved(picture: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """Each pixel shows what lies one condition behind it; the picture goes on at its edges."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    step_x, step_y = (condition[:2] * condition[2]).round().astype(int)
    return picture[(y - step_y) % height, (x - step_x) % width]


def _blurred(picture: np.ndarray, condition: np.ndarray) -> np.ndarray:
    return picture.astype(int) + _moved(picture, condition)


@pytest.mark.parametrize("turn", TURNS, ids=IDS)
@pytest.mark.parametrize("size", [(9, 9), (8, 13)], ids=["square", "wide"])
def test_blurring_commutes_with_turning(turn, size):
    picture, condition = _picture(*size), _condition(*size)
    blurred = _blurred(picture, condition)
    assert np.array_equal(_blurred(turn.image(picture), turn.condition(condition)), turn.image(blurred))
    # Without turning the condition, or turning only a part of it, the statement is false: it says something.
    if turn not in IN_EFFECT_NONE and size == (9, 9):
        for wrong in (condition, turn.plane(condition), turn.vectors(condition)):
            assert not np.array_equal(_blurred(turn.image(picture), wrong), turn.image(blurred))


@pytest.mark.parametrize("turn", TURNS, ids=IDS)
@pytest.mark.parametrize("x, y", [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_shift_by_one_pixel_commutes_with_turning(turn, x, y):
    picture = _picture(6, 10)
    shifted = np.roll(picture, (y, x), axis=(0, 1))
    new_x, new_y, length = turn.condition(_constant(6, 10, x, y))[:, 2, 3]
    assert length == 1 and abs(new_x) + abs(new_y) == 1
    moved = np.roll(turn.image(picture), (int(new_y), int(new_x)), axis=(0, 1))
    assert np.array_equal(moved, turn.image(shifted))


def test_turns_on_the_screen():
    """a b   mirrored left-right: b a; up-down: c d; counter-clockwise: b d
    c d                        d c           a b                     a c"""
    letters = np.array([["a", "b"], ["c", "d"]])
    assert Augmentation(mirror_x=True).plane(letters).tolist() == [["b", "a"], ["d", "c"]]
    assert Augmentation(mirror_y=True).plane(letters).tolist() == [["c", "d"], ["a", "b"]]
    assert Augmentation(quarters=1).plane(letters).tolist() == [["b", "d"], ["a", "c"]]
    assert Augmentation(mirror_x=True, quarters=1).plane(letters).tolist() == [["a", "c"], ["b", "d"]]
    # Right becomes up with a counter-clockwise quarter turn; y points down.
    assert Augmentation(quarters=1).vectors(_constant(1, 1, 1, 0))[:2].ravel().tolist() == [0, -1]


def test_oblique_directions_keep_their_length_and_magnitude():
    condition = _constant(4, 5, 0.6, 0.8) * np.array([1, 1, 37.5], np.float32)[:, None, None]
    for turn in TURNS:
        turned = turn.condition(condition)
        assert turned.dtype == np.float32
        assert (turned[2] == np.float32(37.5)).all()
        np.testing.assert_allclose(np.hypot(turned[0], turned[1]), 1, rtol=1e-6)
        assert sorted(np.abs(turned[:2, 0, 0]).tolist()) == sorted(np.float32([0.6, 0.8]).tolist())


def test_sixteen_turns_have_eight_results():
    """Each twice: both mirrors are half a turn."""
    results = [
        (turn.plane(np.arange(9).reshape(3, 3)).tolist(), turn.condition(_condition(3, 3)).tolist())
        for turn in TURNS
    ]
    assert [results.count(result) for result in results] == [2] * 16


@pytest.mark.parametrize("turn", TURNS, ids=IDS)
def test_series_of_pictures_turn_like_one(turn):
    series = np.stack([_picture(5, 7), _picture(5, 7)[::-1]])
    turned = turn.image(series)
    assert all(np.array_equal(turned[index], turn.image(series[index])) for index in range(2))
    assert np.array_equal(turn.image(series[0])[..., 1], turn.plane(series[0][..., 1]))


def test_published_condition_differs():
    """It leaves the map where it is, and turns vectors clockwise when the picture turns counter-clockwise."""
    condition, fixed = _condition(6, 6), _constant(6, 6, 0.6, 0.8)
    same = [
        turn
        for turn in TURNS
        if np.array_equal(turn.condition_as_published(condition), turn.condition(condition))
    ]
    assert same == IN_EFFECT_NONE
    for turn in TURNS:
        published = turn.condition_as_published(condition)
        assert np.array_equal(published[2], condition[2])
        # A map that is the same everywhere is right after all but quarter turns.
        right = np.array_equal(turn.condition_as_published(fixed), turn.condition(fixed))
        assert right == (turn.quarters % 2 == 0)
    assert Augmentation(quarters=1).condition_as_published(_constant(1, 1, 1, 0))[:2].ravel().tolist() == [
        0,
        1,
    ]
    assert Augmentation(mirror_x=True).condition_as_published(_constant(1, 1, 0.6, 0.8))[
        :2
    ].ravel().tolist() == (np.float32([-0.6, 0.8]).tolist())


def test_every_turn_is_drawn():
    drawn = [Augmentation.draw(np.random.default_rng(seed), rotate=True) for seed in range(800)]
    assert set(drawn) == set(TURNS)
    assert max(drawn.count(turn) for turn in TURNS) < 80
    flips = {Augmentation.draw(np.random.default_rng(seed), rotate=False) for seed in range(100)}
    assert flips == {turn for turn in TURNS if turn.quarters == 0}
    assert drawn[:5] == [Augmentation.draw(np.random.default_rng(seed), rotate=True) for seed in range(5)]
