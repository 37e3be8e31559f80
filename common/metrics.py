"""Image quality: the standard metrics, and the two that the released code reports under the same names."""

import math

import numpy as np

# What is imported inside of functions takes a second that no start of a stage has to wait for.

_SIGMA = 1.5
SSIM_WINDOW = 11
# skimage cuts the Gaussian at int(truncate * sigma + 0.5) taps on either side: 5 + 1 + 5 of them.
_TRUNCATE = 3.5


def psnr(prediction: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 images (H, W, 3); infinite for identical ones.

    Raises ValueError for other types or shapes.
    """
    _check_bytes(prediction, target)
    if np.array_equal(prediction, target):
        return math.inf
    from skimage.metrics import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(target, prediction, data_range=255))


def ssim(prediction: np.ndarray, target: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of two uint8 images (H, W, 3), mean over pixels and colours.

    Gaussian window of 11 x 11 pixels, sigma 1.5, population covariance, borders of 5 pixels left out. Raises
    ValueError for other types or shapes, or images smaller than the window.
    """
    _check_bytes(prediction, target)
    if min(target.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"expected images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {target.shape[:2]}"
        )
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            target,
            prediction,
            data_range=255,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=_SIGMA,
            use_sample_covariance=False,
        )
    )


def psnr_column_mean(prediction: np.ndarray, target: np.ndarray) -> float:
    """What the released code reports as PSNR: the mean over image columns of the PSNR of each column, dB.

    Images (H, W, 3), uint8 or float in [0, 1]. A column's value is 10 log10(1 / (mse + 1e-8)), so 80 dB at
    most. Never below the PSNR of the image. Raises ValueError for other types, ranges or shapes.
    """
    first, second = _unit_range(prediction, target)
    errors = np.mean((first - second) ** 2, axis=(0, 2))
    return float(np.mean(10 * np.log10(1 / (errors + 1e-8))))


def ssim_three_axis(prediction: np.ndarray, target: np.ndarray) -> float:
    """What the released code reports as SSIM: filtered across the colours too, on values in [-0.5, 0.5].

    Images (H, W, 3), uint8 or float in [0, 1]; 0.5 is taken away here. Constants 0.01^2 and 0.03^2. The
    Gaussian of sigma 1.5 runs over rows, columns and colours. Its length and borders are not on record: here
    it has 11 taps, and the border values are repeated. Raises ValueError for other types, ranges or shapes.
    """
    first, second = (image - 0.5 for image in _unit_range(prediction, target))
    mean_1, mean_2 = _smooth(first), _smooth(second)
    variance_1 = _smooth(first * first) - mean_1**2
    variance_2 = _smooth(second * second) - mean_2**2
    covariance = _smooth(first * second) - mean_1 * mean_2
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    structure = (2 * covariance + c2) / (variance_1 + variance_2 + c2)
    return float(np.mean(luminance * structure))


def _smooth(volume: np.ndarray) -> np.ndarray:
    from skimage.filters import gaussian

    return gaussian(
        volume, sigma=_SIGMA, mode="nearest", truncate=_TRUNCATE, preserve_range=True, channel_axis=None
    )


def _check_shapes(prediction: np.ndarray, target: np.ndarray) -> None:
    if target.ndim != 3 or target.shape[2] != 3 or prediction.shape != target.shape:
        raise ValueError(
            f"expected two images of one shape (H, W, 3), got {prediction.shape} and {target.shape}"
        )


def _check_bytes(prediction: np.ndarray, target: np.ndarray) -> None:
    _check_shapes(prediction, target)
    if prediction.dtype != np.uint8 or target.dtype != np.uint8:
        raise ValueError(f"expected uint8 images, got {prediction.dtype} and {target.dtype}")


def _unit_range(prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both images as float64 in [0, 1]."""
    _check_shapes(prediction, target)
    return _as_unit(prediction), _as_unit(target)


def _as_unit(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image / 255
    if not np.issubdtype(image.dtype, np.floating) or not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"expected uint8, or float in [0, 1], got {image.dtype} in [{image.min()}, {image.max()}]"
        )
    return image.astype(np.float64)
