"""Which deblurring networks there are, and the few facts that make fine-tuning and inference one code for all."""
import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from DeblurringModel import losses


@dataclass(frozen=True)
class Spec:
    """How one network is fed.

    module, class_name: where the network is. offset: added to RGB in [0, 1] to get the network's value range
    (-0.5 for [-0.5, 0.5]). past, future: frames at the two ends of a clip that it reads but does not restore.
    multiple: height and width have to be multiples of it. training_loss, adaptation_loss: (prediction, target)
    in the network's value range -> scalar.
    """
    module: str
    class_name: str
    offset: float
    past: int
    future: int
    multiple: int
    training_loss: Callable[[Tensor, Tensor], Tensor]
    adaptation_loss: Callable[[Tensor, Tensor], Tensor]

    @property
    def low(self) -> float:
        """Smallest value of the network's range; the largest is one more."""
        return self.offset


_SPECS = {
    "ESTRNN": Spec("DeblurringModel.ESTRNN.model", "ESTRNN", -0.5, 2, 2, 4,
                   losses.colour_charbonnier, losses.clamped_mse),
}


def names() -> list[str]:
    """The built-in networks."""
    return list(_SPECS)


def spec(name: str) -> Spec:
    """Facts about the network `name`; ValueError for an unknown one."""
    if name not in _SPECS:
        raise ValueError(f"deblurring.model: expected one of {', '.join(_SPECS)}, found {name!r}")
    return _SPECS[name]


def build(name: str, **architecture) -> nn.Module:
    """The network `name` with PyTorch's initial weights; keywords as in its class, GoPro values by default."""
    facts = spec(name)
    network_class = getattr(importlib.import_module(facts.module), facts.class_name)
    try:
        return network_class(**architecture)
    except TypeError as error:
        raise ValueError(f"deblurring.architecture: {name} does not take these keywords ({error})") from None


def restore(network: nn.Module, facts: Spec, clip: Tensor, channel_order: str = "rgb") -> Tensor:
    """Restore a clip: (B, T, 3, H, W) RGB in [0, 1] -> (B, T - past - future, 3, H, W) RGB, not clamped.

    H and W are multiples of `facts.multiple`. channel_order: the order the network's weights were trained with.
    """
    return to_rgb(network(to_range(clip, facts, channel_order)), facts, channel_order)


def to_range(image: Tensor, facts: Spec, channel_order: str = "rgb") -> Tensor:
    """RGB in [0, 1] -> the network's value range and channel order; channels are the third dimension from the end."""
    return (image.flip(-3) if channel_order == "bgr" else image) + facts.offset


def to_rgb(image: Tensor, facts: Spec, channel_order: str = "rgb") -> Tensor:
    """The inverse of `to_range`, in float32."""
    image = image.to(torch.float32) - facts.offset
    return image.flip(-3) if channel_order == "bgr" else image
