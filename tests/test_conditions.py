"""Blur orientation, magnitude adaptation and the condition made of both."""

import math

import numpy as np
import pytest
import torch

from common.constants import MAGNITUDE_SCALE
from DBCGM.adaptation import adapt_magnitude, clamp_magnitude, condition
from DBCGM.boe import five_frame_trajectory, orientation


def _flow(x: float, y: float, *lead: int) -> torch.Tensor:
    return torch.tensor([x, y], dtype=torch.float32).reshape(2, 1, 1).expand(*lead, 2, 3, 4).clone()


def test_orientation_is_forward_minus_backward():
    """(4, 1) - (-2, -7) = (6, 8): direction (0.6, 0.8)."""
    direction = orientation(_flow(4, 1), _flow(-2, -7))
    torch.testing.assert_close(direction, _flow(0.6, 0.8))
    torch.testing.assert_close(orientation(_flow(-2, -7), _flow(4, 1)), _flow(-0.6, -0.8))


def test_zero_motion_is_zero_not_nan():
    forward, backward = _flow(3, 4), _flow(0, 0)
    forward[:, 1, 2] = backward[:, 1, 2] = torch.tensor([5.0, -2.0])
    direction = orientation(forward, backward)
    expected = _flow(0.6, 0.8)
    expected[:, 1, 2] = 0
    torch.testing.assert_close(direction, expected)
    assert torch.equal(orientation(_flow(0, 0), _flow(0, 0)), _flow(0, 0))


@pytest.mark.parametrize("length", [1e-30, 1e-8, 1.0, 1e6, 1e30])
def test_direction_has_length_one_at_any_speed(length):
    direction = orientation(_flow(3 * length, -4 * length), _flow(0, 0))
    torch.testing.assert_close(direction, _flow(0.6, -0.8))


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_leading_dimensions(lead):
    torch.testing.assert_close(orientation(_flow(0, -2, *lead), _flow(0, 5, *lead)), _flow(0, -1, *lead))
    torch.testing.assert_close(five_frame_trajectory([_flow(0, -2, *lead)] * 4), _flow(0, -1, *lead))


def test_trajectory_sums_four_flows():
    """(1, 0) + (2, 2) + (-7, 1) + (1, 1) = (-3, 4)."""
    flows = [_flow(1, 0), _flow(2, 2), _flow(-7, 1), _flow(1, 1)]
    torch.testing.assert_close(five_frame_trajectory(flows), _flow(-0.6, 0.8))
    assert torch.equal(five_frame_trajectory([_flow(1, 2), _flow(-1, -2)] * 2), _flow(0, 0))


def test_input_is_not_changed():
    flows = [_flow(1, 0), _flow(2, 2), _flow(-7, 1), _flow(1, 1)]
    five_frame_trajectory(flows)
    orientation(flows[0], flows[1])
    assert torch.equal(flows[0], _flow(1, 0)) and torch.equal(flows[1], _flow(2, 2))


@pytest.mark.parametrize("count", [0, 2, 3, 5])
def test_other_numbers_of_flows(count):
    with pytest.raises(ValueError, match=f"expected 4, got {count}"):
        five_frame_trajectory([_flow(1, 1)] * count)


def test_other_shapes_and_values():
    for forward, backward in (
        ((3, 4, 4), (3, 4, 4)),
        ((2, 4), (2, 4)),
        ((1, 2, 4, 4), (2, 4, 4)),
        ((2, 3, 4), (2, 3, 5)),
    ):
        with pytest.raises(ValueError, match="expected"):
            orientation(torch.ones(forward), torch.ones(backward))
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            orientation(_flow(1, 1), _flow(value, 1))
        with pytest.raises(ValueError, match="finite"):
            five_frame_trajectory([_flow(1, 1)] * 3 + [_flow(1, value)])


def test_clamped_magnitude():
    assert MAGNITUDE_SCALE == 205.0
    pixels = clamp_magnitude(np.array([[-0.5, 0.0, 0.5], [1.0, 1.5, 0.1]], dtype=np.float32))
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, [[0, 0, 102.5], [205, 205, 20.5]], rtol=1e-6)
    np.testing.assert_allclose(clamp_magnitude(np.array([[0.5]]), scale=150), [[75]])


def _map(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(1, -1)


def test_adapted_magnitude():
    """Relative profile (0.25, 0.5, 1), neighbour means (8, 10, 4)."""
    neighbours = [_map(2, 10, 1), _map(6, 10, 3), _map(10, 10, 5), _map(14, 10, 7)]
    adapted = adapt_magnitude(_map(5, 10, 20), neighbours, 10)
    assert adapted.dtype == np.float32
    np.testing.assert_allclose(adapted, [[12, 15, 14]], rtol=1e-6)
    np.testing.assert_allclose(adapt_magnitude(_map(5, 10, 20), neighbours, 0), [[2, 5, 4]], rtol=1e-6)


def test_the_mean_is_per_pixel_and_the_maximum_over_the_frame():
    current = np.array([[1, 2], [4, 8]], dtype=np.float32)
    neighbours = [np.array([[8, 0], [0, 0]], dtype=np.float32)] * 4
    np.testing.assert_allclose(adapt_magnitude(current, neighbours, 0), [[1, 0], [0, 0]], rtol=1e-6)


def test_zero_maximum_gives_the_offset():
    np.testing.assert_array_equal(adapt_magnitude(_map(0, 0), [_map(3, 4)] * 4, 10), [[10, 10]])


def test_border_frames_are_not_adapted():
    adapted = adapt_magnitude(_map(5, 10, 20), None, 10)
    assert adapted.dtype == np.float32
    np.testing.assert_array_equal(adapted, [[15, 20, 30]])


def test_current_map_is_not_changed():
    current = _map(5, 10, 20)
    adapt_magnitude(current, None, 10)
    adapt_magnitude(current, [_map(1, 1, 1)] * 4, 10)
    np.testing.assert_array_equal(current, _map(5, 10, 20))


@pytest.mark.parametrize(
    "neighbours", [[], [_map(1, 1)] * 3, [_map(1, 1)] * 5, [_map(1, 1)] * 3 + [_map(1, 1, 1)]]
)
def test_wrong_neighbours(neighbours):
    with pytest.raises(ValueError, match="expected 4 maps"):
        adapt_magnitude(_map(1, 2), neighbours, 10)


def test_condition_is_direction_then_magnitude():
    direction = orientation(_flow(3, -4), _flow(0, 0))
    magnitude = np.arange(12, dtype=np.float64).reshape(3, 4)
    stacked = condition(direction.numpy(), magnitude)
    assert stacked.dtype == np.float32 and stacked.shape == (3, 3, 4)
    np.testing.assert_allclose(stacked[0], 0.6, rtol=1e-6)
    np.testing.assert_allclose(stacked[1], -0.8, rtol=1e-6)
    np.testing.assert_array_equal(stacked[2], magnitude)


@pytest.mark.parametrize(
    "direction,magnitude",
    [((3, 4, 5), (4, 5)), ((2, 4, 5), (5, 4)), ((2, 4, 5), (1, 4, 5)), ((1, 2, 4, 5), (4, 5))],
)
def test_condition_of_other_shapes(direction, magnitude):
    with pytest.raises(ValueError, match="expected"):
        condition(np.zeros(direction), np.zeros(magnitude))
