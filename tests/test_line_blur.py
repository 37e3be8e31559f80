"""Blur along lines against an integral computed in another way."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from common.rendering.line_blur import line_blur, turned

SIZE = 41


def impulse() -> np.ndarray:
    picture = np.zeros((SIZE, SIZE))
    picture[20, 20] = 1
    return picture


def edge() -> np.ndarray:
    picture = np.zeros((SIZE, SIZE))
    picture[:, 20:] = 1
    return picture


def integral(picture: np.ndarray, angle: float, length: float) -> np.ndarray:
    """Mean along the line at every pixel, by the trapezoid rule with two thousand steps, in float64."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(float)
    along = np.linspace(-length / 2, length / 2, 2001)
    values = [
        map_coordinates(picture, [rows + s * math.sin(angle), columns + s * math.cos(angle)], order=1)
        for s in along
    ]
    return np.trapezoid(values, dx=1 / 2000, axis=0)


def condition(angle: float, length: float) -> torch.Tensor:
    values = torch.tensor([math.cos(angle), math.sin(angle), length], dtype=torch.float32)
    return values[None, :, None, None].expand(1, 3, SIZE, SIZE)


def blurred(picture: np.ndarray, angle: float, length: float, **more: float) -> np.ndarray:
    image = torch.from_numpy(picture).float()[None, None].expand(1, 3, SIZE, SIZE)
    return line_blur(image, condition(angle, length), **more)[0, 1].double().numpy()


@pytest.mark.parametrize("picture", [impulse(), edge()], ids=["impulse", "edge"])
@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 117.5, 180])
@pytest.mark.parametrize("length", [0.3, 1, 2.5, 7, 13.7])
def test_line_blur_is_the_mean_along_the_line(picture, degrees, length):
    angle = math.radians(degrees)
    inside = np.s_[8:-8, 8:-8]
    difference = blurred(picture, angle, length) - integral(picture, angle, length)
    assert np.abs(difference[inside]).max() < 0.004


@pytest.mark.parametrize("picture", [impulse(), edge()], ids=["impulse", "edge"])
def test_length_zero_changes_nothing(picture):
    assert np.array_equal(blurred(picture, 0.7, 0.0), picture)


def test_turned_by_90_degrees_is_another_blur():
    image = torch.from_numpy(edge()).float()[None, None]
    along, across = (line_blur(image, lines)[0, 0] for lines in (condition(0, 9), turned(condition(0, 9))))
    assert torch.equal(across, image[0, 0])
    assert (along - across).abs().max() > 0.3
    assert torch.equal(line_blur(image, turned(turned(condition(0, 9))))[0, 0], along)


def test_gamma_means_in_linear_light():
    mean = blurred(edge(), 0.0, 9.0)
    in_light = blurred(edge(), 0.0, 9.0, gamma=2.2)
    inside = np.s_[8:-8, 8:-8]
    assert np.allclose(in_light[inside], mean[inside] ** (1 / 2.2), atol=1e-6)


def test_each_pixel_has_a_line_of_its_own_and_the_batch_has_no_part_in_it():
    rng = np.random.default_rng(3)
    images = torch.from_numpy(rng.random((2, 3, SIZE, SIZE), dtype=np.float32))
    lines = torch.cat([condition(0.4, 3.3), condition(2.0, 11.0)])
    half = lines.clone()
    half[0, 2, :, :20] = 0
    together, one = line_blur(images, half), line_blur(images[:1], half[:1])
    assert torch.equal(together[:1], one)
    assert torch.equal(one[0, :, :, :20], images[0, :, :, :20])
    assert torch.equal(one[0, :, :, 20:], line_blur(images[:1], lines[:1])[0, :, :, 20:])


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="expected images"):
        line_blur(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
