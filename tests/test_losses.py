"""Losses against values written out by hand or summed in NumPy."""

import numpy as np
import pytest
import torch
import vectors

from DeblurringModel import losses

ALL = {
    "mean_absolute_error": losses.mean_absolute_error,
    "clamped_mse": losses.clamped_mse,
    "charbonnier": lambda prediction, target: losses.charbonnier(prediction, target, epsilon=1e-6),
    "colour_charbonnier": losses.colour_charbonnier,
    "fourier_difference": losses.fourier_difference,
    "gradient_difference": losses.gradient_difference,
    "mmp_rnn_loss": losses.mmp_rnn_loss,
    "dstnet_loss": losses.dstnet_loss,
}


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return vectors.image("losses/prediction", *shape) - 0.5, vectors.image("losses/target", *shape) - 0.5


def test_mean_absolute_error() -> None:
    prediction, target = pair(2, 3, 3, 8, 8)
    expected = np.abs(prediction.numpy() - target.numpy()).mean()
    assert losses.mean_absolute_error(prediction, target).item() == pytest.approx(expected, rel=1e-6)


def test_clamped_mse_ignores_how_far_outside_a_value_lies() -> None:
    prediction = torch.tensor([-3.0, 0.0, 0.7]).reshape(1, 3, 1, 1).requires_grad_()
    target = torch.tensor([-0.5, 0.3, 0.4]).reshape(1, 3, 1, 1)
    loss = losses.clamped_mse(prediction, target)
    assert loss.item() == pytest.approx((0 + 0.09 + 0.01) / 3)
    loss.backward()
    assert (prediction.grad.flatten() != 0).tolist() == [False, True, False]


def test_charbonnier_takes_the_root_of_each_value() -> None:
    prediction, target = torch.tensor([0.0, 3.0, 0.0]).reshape(3, 1, 1), torch.zeros(3, 1, 1)
    assert losses.charbonnier(prediction, target, epsilon=4.0).item() == pytest.approx((4 + 5 + 4) / 3)


def test_colour_charbonnier_takes_the_root_of_the_colour_mean() -> None:
    prediction, target = torch.zeros(3, 1, 2), torch.zeros(3, 1, 2)
    prediction[0, 0, 0] = 3
    assert losses.colour_charbonnier(prediction, target, epsilon=1.0).item() == pytest.approx((2 + 1) / 2)
    assert losses.colour_charbonnier(target, target).item() == pytest.approx(1e-3)


def test_fourier_difference_equals_the_difference_of_spectra() -> None:
    prediction, target = pair(2, 2, 3, 8, 12)
    spectra = [np.fft.rfft2(image.numpy().astype(np.float64)) for image in (prediction, target)]
    expected = np.abs(spectra[0] - spectra[1]).mean()
    assert losses.fourier_difference(prediction, target).item() == pytest.approx(expected, rel=1e-5)


def test_gradient_difference_of_a_single_bright_pixel() -> None:
    prediction = torch.zeros(1, 5, 6)
    prediction[0, 2, 2] = 1
    # Central differences answer in the four neighbours of the pixel, each with length 1, on a 7 x 8 map.
    loss = losses.gradient_difference(prediction, torch.zeros(1, 5, 6), epsilon=0.0).item()
    assert loss == pytest.approx(4 / 56, rel=1e-6)
    # At a constant image's edge the padding is seen: two lines of values on either side of each border.
    flat = losses.gradient_difference(torch.ones(1, 5, 6), torch.zeros(1, 5, 6), epsilon=0.0).item()
    straight, diagonal = 2 * (2 * 3 + 2 * 4) + 2 * 4, 4
    assert flat == pytest.approx((straight + diagonal * np.sqrt(2)) / 56, rel=1e-6)


def test_weighted_sums() -> None:
    prediction, target = pair(1, 2, 3, 8, 8)
    torch.testing.assert_close(
        losses.dstnet_loss(prediction, target),
        losses.charbonnier(prediction, target, 1e-6) + 0.1 * losses.fourier_difference(prediction, target),
    )
    torch.testing.assert_close(
        losses.mmp_rnn_loss(prediction, target),
        losses.colour_charbonnier(prediction, target, 1e-3)
        + 0.5 * losses.gradient_difference(prediction, target, 1e-3),
    )


@pytest.mark.parametrize("name", ALL)
def test_gradient_is_finite_where_prediction_and_target_agree(name: str) -> None:
    _, target = pair(1, 2, 3, 8, 8)
    prediction = target.clone().requires_grad_()
    ALL[name](prediction, target).backward()
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_computed_in_single(name: str) -> None:
    prediction, target = pair(1, 2, 3, 8, 8)
    prediction = prediction.bfloat16()
    loss = ALL[name](prediction, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, ALL[name](prediction.float(), target))


@pytest.mark.parametrize("name", ALL)
def test_shapes_must_agree(name: str) -> None:
    with pytest.raises(ValueError, match=r"received \(1, 1, 3, 8, 8\) and \(1, 3, 8, 8\)"):
        ALL[name](torch.zeros(1, 1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
