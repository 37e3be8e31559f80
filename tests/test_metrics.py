"""Image quality measures against the same formulas written out in NumPy."""

import math
import warnings

import numpy as np
import pytest

from common.metrics import psnr, psnr_column_mean, ssim, ssim_three_axis


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Two uint8 frames (24, 31, 3): a smooth one, with noise that differs by column, and without."""
    random = np.random.RandomState(5)
    rows, columns = np.mgrid[0:24, 0:31]
    target = 128 + 60 * np.sin(rows[..., None] / 5 + np.arange(3)) + 40 * np.cos(columns[..., None] / 3)
    noise = random.standard_normal(target.shape) * (1 + columns[..., None])
    return tuple(np.clip(image, 0, 255).astype(np.uint8) for image in (target + noise, target))


def _kernel() -> np.ndarray:
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    return taps / taps.sum()


def _filtered(volume: np.ndarray, axes: tuple[int, ...], padded: bool) -> np.ndarray:
    """Eleven-tap Gaussian along `axes`; border values repeated, or only complete windows."""
    for axis in axes:
        if padded:
            margins = [(5, 5) if other == axis else (0, 0) for other in range(volume.ndim)]
            volume = np.pad(volume, margins, mode="edge")
        volume = np.apply_along_axis(np.convolve, axis, volume, _kernel(), mode="valid")
    return volume


def _similarity(
    first: np.ndarray, second: np.ndarray, peak: float, axes: tuple[int, ...], padded: bool
) -> float:
    def smooth(volume):
        return _filtered(volume, axes, padded)

    m1, m2 = smooth(first), smooth(second)
    v1, v2, cov = smooth(first**2) - m1**2, smooth(second**2) - m2**2, smooth(first * second) - m1 * m2
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    return float(np.mean((2 * m1 * m2 + c1) * (2 * cov + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))))


def test_psnr(pair):
    error = np.mean((pair[0].astype(np.float64) - pair[1].astype(np.float64)) ** 2)
    assert psnr(*pair) == pytest.approx(10 * math.log10(255**2 / error), rel=1e-12)
    assert type(psnr(*pair)) is float


def test_psnr_of_one_differing_value(pair):
    """One value of 24 * 31 * 3 differs by 5."""
    changed = pair[1].copy()
    changed[7, 9, 1] += 5
    assert psnr(changed, pair[1]) == pytest.approx(10 * math.log10(255**2 * pair[1].size / 25), rel=1e-12)


def test_differences_are_not_taken_modulo_256():
    dark, bright = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    for measure in (psnr, psnr_column_mean):
        assert measure(dark, bright) == pytest.approx(0, abs=1e-6)
        assert measure(bright, dark) == pytest.approx(0, abs=1e-6)


def test_identical_frames(pair):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert psnr(pair[1], pair[1].copy()) == math.inf
    assert ssim(pair[1], pair[1]) == pytest.approx(1, abs=1e-12)
    assert ssim_three_axis(pair[1], pair[1]) == pytest.approx(1, abs=1e-12)
    assert psnr_column_mean(pair[1], pair[1]) == pytest.approx(80, abs=1e-9)


def test_ssim(pair):
    """Two-dimensional windows, complete ones only, each colour by itself."""
    expected = _similarity(*(image.astype(np.float64) for image in pair), 255, (0, 1), padded=False)
    assert 0.2 < expected < 0.9
    assert ssim(*pair) == pytest.approx(expected, rel=1e-9)
    assert type(ssim(*pair)) is float


def test_ssim_three_axis(pair):
    expected = _similarity(*(image / 255 - 0.5 for image in pair), 1, (0, 1, 2), padded=True)
    assert ssim_three_axis(*pair) == pytest.approx(expected, rel=1e-9)
    assert type(ssim_three_axis(*pair)) is float


def test_the_released_ssim_is_another_measure(pair):
    """Taking 0.5 away changes it, filtering across the colours changes it."""
    shifted = _similarity(*(image / 255 for image in pair), 1, (0, 1, 2), padded=True)
    two_axes = _similarity(*(image / 255 - 0.5 for image in pair), 1, (0, 1), padded=True)
    assert abs(ssim_three_axis(*pair) - shifted) > 1e-2
    assert abs(ssim_three_axis(*pair) - two_axes) > 1e-2
    assert abs(ssim_three_axis(*pair) - ssim(*pair)) > 1e-2


def test_psnr_column_mean(pair):
    columns = [np.mean((pair[0][:, c] / 255 - pair[1][:, c] / 255) ** 2) for c in range(31)]
    expected = np.mean([10 * math.log10(1 / (error + 1e-8)) for error in columns])
    assert psnr_column_mean(*pair) == pytest.approx(expected, rel=1e-12)
    assert psnr_column_mean(*pair) > psnr(*pair) + 1


def test_psnr_column_mean_of_one_differing_value(pair):
    """30 columns of 80 dB and one with an error of 5 in one of 72 values."""
    changed = pair[1].copy()
    changed[7, 9, 1] += 5
    column = 10 * math.log10(1 / ((5 / 255) ** 2 / 72 + 1e-8))
    assert psnr_column_mean(changed, pair[1]) == pytest.approx((30 * 80 + column) / 31, rel=1e-9)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_released_measures_take_floats(pair, kind):
    floats = [(image / 255).astype(kind) for image in pair]
    for measure in (psnr_column_mean, ssim_three_axis):
        assert measure(*floats) == pytest.approx(measure(*pair), rel=1e-5)
        assert measure(floats[0], pair[1]) == pytest.approx(measure(*pair), rel=1e-5)


MEASURES = [psnr, ssim, psnr_column_mean, ssim_three_axis]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    "first,second",
    [
        ((16, 16, 3), (16, 17, 3)),
        ((16, 16, 3), (1, 16, 3)),
        ((16, 16), (16, 16)),
        ((3, 16, 16), (3, 16, 16)),
        ((1, 16, 16, 3), (1, 16, 16, 3)),
        ((16, 16, 4), (16, 16, 4)),
    ],
)
def test_other_shapes(measure, first, second):
    with pytest.raises(ValueError, match="expected"):
        measure(np.zeros(first, np.uint8), np.zeros(second, np.uint8))


@pytest.mark.parametrize("measure", MEASURES)
def test_other_types_and_ranges(measure):
    good = np.zeros((16, 16, 3), np.uint8)
    for bad in (good.astype(np.int64), *(good + np.float32(value) for value in (1.5, -0.5, np.nan))):
        with pytest.raises(ValueError, match="expected uint8"):
            measure(bad, good)
        with pytest.raises(ValueError, match="expected uint8"):
            measure(good, bad)


@pytest.mark.parametrize("size", [(10, 40), (40, 10), (1, 1)])
def test_ssim_needs_its_window(size):
    image = np.zeros((*size, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(image, image)
    assert ssim(np.zeros((11, 11, 3), np.uint8), np.zeros((11, 11, 3), np.uint8)) == 1
