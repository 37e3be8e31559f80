"""The deblurring networks, and the spec of each, so that fine-tuning and inference are one code for all."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.runtime import plugins
from DeblurringModel import losses


@dataclass(frozen=True)
class Spec:
    """How one network is fed.

    module, class_name: where the network is. low: smallest value of its range; images are RGB in [low, low +
    1].
    past, future: frames at the two ends of a clip that it reads but does not restore. multiple: height and
    width have to be multiples of it, and at least `minimum`. clip_length: frames fed together at test time.
    training_loss, adaptation_loss: (prediction, target) in the network's value range -> scalar.
    learning_rate,
    gradient_clip: its published training's (0: no clipping).
    """

    module: str
    class_name: str
    low: float
    past: int
    future: int
    multiple: int
    minimum: int
    clip_length: int
    training_loss: Callable[[Tensor, Tensor], Tensor]
    adaptation_loss: Callable[[Tensor, Tensor], Tensor]
    learning_rate: float
    gradient_clip: float


_SPECS = {
    # Adaptation feeds ESTRNN five frames, its own authors twenty: set deblurring.clip_length to 20 for
    # theirs.
    "ESTRNN": Spec(
        "DeblurringModel.ESTRNN.model",
        "ESTRNN",
        -0.5,
        2,
        2,
        4,
        4,
        5,
        losses.colour_charbonnier,
        losses.clamped_mse,
        5e-4,
        20.0,
    ),
    "MMP_RNN": Spec(
        "DeblurringModel.MMP_RNN.model",
        "MMPRNN",
        -0.5,
        2,
        2,
        4,
        16,
        20,
        losses.mmp_rnn_loss,
        losses.mmp_rnn_loss,
        5e-4,
        20.0,
    ),
    "DSTNet": Spec(
        "DeblurringModel.DSTNet.model",
        "DSTNet",
        0.0,
        0,
        0,
        16,
        16,
        30,
        losses.dstnet_loss,
        losses.dstnet_loss,
        2e-4,
        0.0,
    ),
    "Shift_Net": Spec(
        "DeblurringModel.Shift_Net.model",
        "ShiftNet",
        0.0,
        2,
        2,
        8,
        8,
        52,
        losses.mean_absolute_error,
        losses.mean_absolute_error,
        4e-4,
        0.01,
    ),
    # Not published: what the demo was tried with.
    "Window_UNet": Spec(
        "DeblurringModel.Window_UNet.model",
        "WindowUNet",
        -0.5,
        2,
        2,
        8,
        8,
        5,
        losses.colour_charbonnier,
        losses.clamped_mse,
        1e-3,
        1.0,
    ),
}

_LOSSES = {**losses.NAMED, "mse": losses.clamped_mse}
_INTERFACE = {
    "low": (-math.inf, math.inf),
    "past": (0, 2),
    "future": (0, 2),
    "multiple": (1, math.inf),
    "minimum": (1, math.inf),
    "clip_length": (1, math.inf),
    "learning_rate": (0, math.inf),
    "gradient_clip": (0, math.inf),
}
"""Keys of deblurring.interface with their least and largest values. past and future are at most 2, because a
fine-tuning window has two frames on either side of the one that is restored."""


def names() -> list[str]:
    """The built-in networks."""
    return list(_SPECS)


def spec(name: str, interface: Mapping[str, Any] | None = None) -> Spec:
    """The spec of a network.

    name: a built-in one, `package.module:Class` or `path/to/file.py:Class`. interface: entries that differ
    from the built-in ones, or from those of a network that takes RGB in [0, 1], any size, and restores every
    frame
    of a clip (low 0, past 0, future 0, multiple 1, minimum 1, clip_length 5, learning_rate 1e-4,
    gradient_clip 0, loss mse | l1 | charbonnier). Raises ValueError for an unknown name, entry or value.
    """
    interface = dict(interface or {})
    loss = interface.pop("loss", None)
    if name in _SPECS:
        spec = _SPECS[name]
    else:
        module, _, class_name = name.rpartition(":")
        if not plugins.is_own(name):
            raise ValueError(
                f"deblurring.model: expected {', '.join(_SPECS)}, package.module:Class or "
                f"path/to/file.py:Class, found {name!r}"
            )
        spec = Spec(
            module, class_name, 0.0, 0, 0, 1, 1, 5, losses.colour_charbonnier, losses.clamped_mse, 1e-4, 0.0
        )
    if loss is not None:
        if loss not in _LOSSES:
            raise ValueError(
                f"deblurring.interface.loss: expected one of {', '.join(_LOSSES)}, found {loss!r}"
            )
        spec = replace(spec, training_loss=_LOSSES[loss], adaptation_loss=_LOSSES[loss])
    for key, value in interface.items():
        if key not in _INTERFACE:
            raise ValueError(
                f"deblurring.interface: unknown key {key!r}; known are loss, {', '.join(_INTERFACE)}"
            )
        kind = next(field.type for field in fields(Spec) if field.name == key)
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
            raise ValueError(
                f"deblurring.interface.{key}: expected a {'' if kind is float else 'whole '}number, "
                f"found {value!r}"
            )
        low, high = _INTERFACE[key]
        if not low <= value <= high:
            raise ValueError(f"deblurring.interface.{key}: expected {low} to {high}, found {value!r}")
    spec = replace(spec, **interface)
    return replace(
        spec,
        training_loss=_in_range(spec.training_loss, spec.low),
        adaptation_loss=_in_range(spec.adaptation_loss, spec.low),
    )


def adaptation_loss(name: str | None, spec: Spec) -> losses.Loss:
    """The loss of a fine-tuning: a named one, `path/to/file.py:function`, or for None the network's own.

    Raises ValueError for another name.
    """
    if name is None:
        return spec.adaptation_loss
    if name in _LOSSES:
        return _in_range(_LOSSES[name], spec.low)
    return plugins.load(name, "deblurring.loss")


def _in_range(loss: Callable[[Tensor, Tensor], Tensor], low: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The one loss that clamps has to know the network's value range."""
    return partial(losses.clamped_mse, low=low, high=low + 1) if loss is losses.clamped_mse else loss


def build(name: str, **architecture) -> nn.Module:
    """The network `name` with PyTorch's initial weights; keywords as in its class, GoPro values by default.

    Raises ValueError for an unknown network, module, class or keyword.
    """
    found = spec(name)
    network_class = plugins.load(f"{found.module}:{found.class_name}", "deblurring.model")
    try:
        return network_class(**architecture)
    except (TypeError, ValueError) as error:
        raise ValueError(f"deblurring.architecture: {name} does not take these keywords ({error})") from None


def restore(network: nn.Module, spec: Spec, clip: Tensor, channel_order: str = "rgb") -> Tensor:
    """Restore a clip: (B, T, 3, H, W) RGB in [0, 1] -> (B, T - past - future, 3, H, W) RGB, not clamped.

    H and W are multiples of `spec.multiple`. channel_order: the order the network's weights were trained
    with.
    """
    given = to_range(clip, spec, channel_order)
    return to_rgb(checked(network(given), given, spec), spec, channel_order)


def checked(restored: Tensor, clip: Tensor, spec: Spec) -> Tensor:
    """What a network returned for `clip` (B, T, 3, H, W); UserError unless it is (B, T - past - future, 3, H,
    W).

    Without this a wrong `deblurring.interface` would restore other frames than the ones the files are named
    after.
    """
    expected = (clip.shape[0], clip.shape[1] - spec.past - spec.future, *clip.shape[2:])
    if restored.shape != expected:
        raise UserError(
            f"deblurring.interface: with past {spec.past} and future {spec.future} {spec.class_name} has "
            f"to return {expected} for a clip {tuple(clip.shape)}, found {tuple(restored.shape)}; "
            "correct the interface or the network"
        )
    return restored


def to_range(image: Tensor, spec: Spec, channel_order: str = "rgb") -> Tensor:
    """RGB in [0, 1] -> the network's value range and channel order; channels are the third dimension from the
    end."""
    return (image.flip(-3) if channel_order == "bgr" else image) + spec.low


def to_rgb(image: Tensor, spec: Spec, channel_order: str = "rgb") -> Tensor:
    """The inverse of `to_range`, in float32."""
    image = image.to(torch.float32) - spec.low
    return image.flip(-3) if channel_order == "bgr" else image
