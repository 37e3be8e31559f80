"""The inner loop of meta-transfer: what is learned of one video (Liu et al., Meta Transferring for Deblurring, BMVC
2022)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.runtime.distributed import mixed_precision
from DeblurringModel import models
from DeblurringModel.pairs import REACH
from scripts.rivals.losses import adversarial, cycle
from scripts.rivals.networks import Critic, ReblurringNetwork
from scripts.rivals.windows import own_loss, restored_middle, with_middle

ADVERSARIAL, CYCLE = 0.99, 0.01
"""Weights of the two losses of the inner loop's first half."""


@dataclass(frozen=True)
class Inner:
    """patches: windows of a video that are learned from. steps: of each of the two halves. rate: Adam's."""

    patches: int = 20
    steps: int = 20
    rate: float = 1e-5


class Networks(nn.Module):
    """The three that are trained together; nothing is called through it."""

    def __init__(self, deblurring: nn.Module) -> None:
        super().__init__()
        self.deblurring, self.reblurring, self.critic = deblurring, ReblurringNetwork(), Critic()

    def trained(self) -> list[Tensor]:
        """The weights of the two networks that the losses train; the critic learns by itself."""
        return [*self.deblurring.parameters(), *self.reblurring.parameters()]


@dataclass(frozen=True)
class Deblurring:
    """How the deblurring network is used. distance: its loss, of a prediction and a target in its value range. order:
    of its colours."""

    spec: models.Spec
    distance: Callable[[Tensor, Tensor], Tensor]
    order: str = "rgb"
    precision: str = "fp32"

    def restored(self, network: nn.Module, windows: Tensor) -> Tensor:
        """See `restored_middle`."""
        return restored_middle(network, self.spec, windows, self.order)

    def loss(self, restored: Tensor, sharp: Tensor) -> Tensor:
        """See `own_loss`."""
        return own_loss(self.distance, self.spec, self.order)(restored, sharp)


def adapt(networks: Networks, windows: Tensor, use: Deblurring, inner: Inner) -> None:
    """Adapt all three in place to the windows (N, 5, 3, H, W), RGB in [0, 1], of one video.

    In each step of the first half the critic learns to tell the reblurred patch from the video's next frame at the
    same place; then both other networks learn to deceive it, and to bring the patch back. In the second half the
    deblurring network alone learns to restore reblurred patches. One window a step, in the order given, from the
    front again where there are more steps.
    """
    deblurring, reblurring = networks.deblurring, networks.reblurring
    device = next(reblurring.parameters()).device
    turns = [windows[step % len(windows)][None].to(device) for step in range(inner.steps)]

    def both(window: Tensor) -> Tensor:
        reblurred, real = reblurring(window), window[:, REACH + 1]
        networks.critic.learn(real, reblurred)
        restored = use.restored(deblurring, with_middle(window, reblurred))
        deceived = adversarial(networks.critic(real), networks.critic(reblurred))
        return ADVERSARIAL * deceived + CYCLE * cycle(restored, window[:, REACH])

    def alone(window: Tensor) -> Tensor:
        with torch.no_grad():
            reblurred = reblurring(window)
        return use.loss(use.restored(deblurring, with_middle(window, reblurred)), window[:, REACH])

    with torch.enable_grad():
        for loss_of, trained in ((both, networks.trained()), (alone, list(deblurring.parameters()))):
            optimizer = torch.optim.Adam(trained, lr=inner.rate)
            for window in turns:
                optimizer.zero_grad(set_to_none=True)
                with mixed_precision(networks, device, use.precision):
                    loss = loss_of(window)
                loss.backward()
                optimizer.step()


def first_order(loss: Tensor, adapted: Sequence[Tensor], unadapted: Sequence[Tensor]) -> Tensor:
    """A scalar of the value of `loss` whose gradient in the unadapted weights is that of `loss` in the adapted ones:
    the first-order form of MAML (Finn et al., ICML 2017), for a training loop that knows one loss and one set of
    weights."""
    gradients = torch.autograd.grad(loss, adapted, allow_unused=True)
    surrogate = loss.detach()
    for gradient, weight in zip(gradients, unadapted, strict=True):
        # A weight without a part in the loss has one in the surrogate: processes wait for every gradient.
        part = torch.zeros_like(weight) if gradient is None else gradient
        surrogate = surrogate + ((weight - weight.detach()) * part).sum()
    return surrogate
