"""Training losses of the published deblurring networks, and the adaptation loss.

All are pure functions of a prediction and a target of the same shape (..., 3, H, W), in the value range of
the network, and return a scalar. They compute in float32 at least, so that half-precision outputs do not lose
the small constants. A difference in shape raises ValueError.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _full_precision(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if prediction.shape != target.shape:
        raise ValueError(
            f"expected prediction and target of one shape, received {tuple(prediction.shape)} "
            f"and {tuple(target.shape)}"
        )
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    return prediction.to(dtype), target.to(dtype)


def mean_absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    """mean |prediction - target|: Shift-Net (released code)."""
    return F.l1_loss(*_full_precision(prediction, target))


def clamped_mse(prediction: Tensor, target: Tensor, low: float = -0.5, high: float = 0.5) -> Tensor:
    """Mean squared error of the prediction clamped to [low, high]: test-time adaptation of ESTRNN (released
    code). Values outside the range get no gradient."""
    prediction, target = _full_precision(prediction, target)
    return F.mse_loss(prediction.clamp(low, high), target)


def charbonnier(prediction: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """mean sqrt((prediction - target)^2 + epsilon^2) over all values."""
    prediction, target = _full_precision(prediction, target)
    return ((prediction - target).square() + epsilon**2).sqrt().mean()


def colour_charbonnier(prediction: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """mean over pixels of sqrt(mean over colours of (prediction - target)^2 + epsilon^2): ESTRNN (released
    code)."""
    prediction, target = _full_precision(prediction, target)
    return ((prediction - target).square().mean(dim=-3) + epsilon**2).sqrt().mean()


def fourier_difference(prediction: Tensor, target: Tensor) -> Tensor:
    """mean |rfft2(prediction) - rfft2(target)|: complex modulus over the half spectrum of every frame and
    channel, un-normalised transform."""
    prediction, target = _full_precision(prediction, target)
    return torch.fft.rfft2(prediction - target).abs().mean()


def _gradient_magnitude(image: Tensor, epsilon: float) -> Tensor:
    """Length of the central differences (without 1/2) of every channel, zeros outside: (..., H, W) ->
    (..., H + 2, W + 2)."""
    padded = F.pad(image, (2, 2, 2, 2))
    vertical = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    horizontal = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return (vertical.square() + horizontal.square() + epsilon**2).sqrt()


def gradient_difference(prediction: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """mean |g(prediction) - g(target)|, g the length of the image gradient by central differences without the
    factor 1/2, over the zero-padded size (H + 2) x (W + 2): MMP-RNN (released code)."""
    prediction, target = _full_precision(prediction, target)
    return F.l1_loss(_gradient_magnitude(prediction, epsilon), _gradient_magnitude(target, epsilon))


def mmp_rnn_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """`colour_charbonnier` + 0.5 `gradient_difference`: MMP-RNN on GoPro (released code)."""
    return colour_charbonnier(prediction, target) + 0.5 * gradient_difference(prediction, target)


def dstnet_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """`charbonnier` with epsilon 1e-6 + 0.1 `fourier_difference`: DSTNet on GoPro (released code)."""
    return charbonnier(prediction, target, epsilon=1e-6) + 0.1 * fourier_difference(prediction, target)


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """mean (prediction - target)^2."""
    return F.mse_loss(*_full_precision(prediction, target))


def negative_psnr(prediction: Tensor, target: Tensor, least: float = 1e-8) -> Tensor:
    """-PSNR in dB for a value range of 1, mean over the pictures (all leading dimensions): 10 log10(mean
    squared error of a picture + `least`). Source: HINet and NAFNet (released code)."""
    prediction, target = _full_precision(prediction, target)
    errors = (prediction - target).square().mean(dim=(-3, -2, -1))
    return 10 * (errors + least).log10().mean()


def weighted(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The prediction with its error multiplied by `weight` in [0, 1], for any loss: where it is 0, the target.
    None: the prediction as it is."""
    if weight is None:
        return prediction
    prediction, target = _full_precision(prediction, target)
    return target + weight * (prediction - target)


Loss = Callable[[Tensor, Tensor], Tensor]
NAMED: dict[str, Loss] = {
    "l1": mean_absolute_error,
    "mse": mean_squared_error,
    "charbonnier": colour_charbonnier,
    "psnr": negative_psnr,
}
"""The losses that a configuration can name (deblurring.loss, schedule.loss)."""


def named(name: str, fourier_weight: float, own: Loss) -> Loss:
    """The loss that a recipe names: "own" for `own`, l1, mse, charbonnier (`colour_charbonnier`) or psnr,
    plus `fourier_weight` times `fourier_difference`."""
    distance = own if name == "own" else NAMED[name]
    if not fourier_weight:
        return distance
    return lambda prediction, target: (
        distance(prediction, target) + fourier_weight * fourier_difference(prediction, target)
    )
