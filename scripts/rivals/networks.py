"""Networks of the rivals: one that reblurs a frame, and a critic of blurry pictures."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeblurringModel.blocks import ResidualBlock, check_at_least, check_clip
from scripts.rivals.losses import critic_loss

MULTIPLE = 4
"""Height and width of what a ReblurringNetwork takes have to be multiples of it."""
CLIP, RATE, MEMORY, LEAST = 0.01, 5e-5, 0.99, 1e-8
"""Largest weight of a critic and its learning rate (Arjovsky et al., Wasserstein GAN, ICML 2017); the decay and the
constant of RMSprop."""


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels, slope=0.0) for _ in range(count)))


class ReblurringNetwork(nn.Module):
    """The middle frame of a window, blurred.

    Each frame is encoded by itself, down to a quarter of its resolution. There 3-D convolutions mix the frames. A
    decoder with skips makes what is added to the middle frame: nothing, before the network has learned anything. After
    Liu et al., Meta Transferring for Deblurring, BMVC 2022, but smaller and without a transformer.

    Args:
        features: channels at full resolution; twice and four times as many at a half and a quarter.
        blocks: residual blocks of each level, on the way down and on the way up.

    Input (B, T, 3, H, W), RGB in [0, 1], T odd, H and W multiples of MULTIPLE. Output (B, 3, H, W) in the same scale,
    not clamped.
    """

    def __init__(self, features: int = 16, blocks: int = 3) -> None:
        super().__init__()
        check_at_least(1, features=features, blocks=blocks)
        widths = features, 2 * features, 4 * features
        self.head = nn.Conv2d(3, features, 5, padding=2)
        self.reduce = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        self.down = nn.ModuleList(_blocks(width, blocks) for width in widths[1:])
        self.mix = nn.ModuleList(nn.Conv3d(widths[-1], widths[-1], 3, padding=1) for _ in range(2))
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        self.tail = nn.Conv2d(features, 3, 5, padding=2)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, window: Tensor) -> Tensor:
        """See the class. Raises ValueError for a window of another shape."""
        check_clip(window, multiple=MULTIPLE)
        frames = window.shape[1]
        if frames % 2 == 0:
            raise ValueError(f"window: expected an odd number of frames, received {frames}")
        feature, skipped = self.head(window.flatten(0, 1) - 0.5), []
        for reduce, blocks in zip(self.reduce, self.down):
            skipped.append(feature.unflatten(0, (-1, frames))[:, frames // 2])
            feature = blocks(reduce(feature))
        mixed = feature.unflatten(0, (-1, frames)).transpose(1, 2)
        for mix in self.mix:
            mixed = mixed + F.relu(mix(mixed))
        feature = mixed[:, :, frames // 2]
        for level in reversed(range(len(self.up))):
            feature = self.up[level](skipped[level] + self.enlarge[level](feature))
        return window[:, frames // 2] + self.tail(feature)


class Critic(nn.Module):
    """Scores patches of a picture, the higher the more they look like real blurry ones (Arjovsky et al., Wasserstein
    GAN, ICML 2017; patches as Isola et al., CVPR 2017).

    It learns by itself, in `learn`: its parameters ask for no gradient, so that an optimiser of the other networks
    leaves them alone, and the state of its own optimiser is in its buffers, so that a checkpoint holds it.

    Input (B, 3, H, W), RGB in [0, 1]. Output (B, 1, H / 8, W / 8), without a range.
    """

    def __init__(self, features: int = 16) -> None:
        super().__init__()
        widths = 3, features, 2 * features, 4 * features
        self.layers = nn.ModuleList(
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        # Without a bias: only differences of scores count.
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)
        self.requires_grad_(False)
        for index, parameter in enumerate(self.parameters()):
            # Scores keep one scale from the start on.
            parameter.clamp_(-CLIP, CLIP)
            self.register_buffer(f"square_{index}", torch.zeros_like(parameter))

    def forward(self, picture: Tensor) -> Tensor:
        """See the class."""
        feature = picture - 0.5
        for layer in self.layers:
            feature = F.leaky_relu(layer(feature), 0.2)
        return self.score(feature)

    def learn(self, real: Tensor, fake: Tensor, together: bool = False) -> None:
        """One step of RMSprop on `critic_loss`; no weight is larger than CLIP afterwards. together: with the mean
        gradient of all processes, which then have to call it alike."""
        own = {name: value.detach().requires_grad_() for name, value in self.named_parameters()}
        with torch.enable_grad():
            scores = [torch.func.functional_call(self, own, (picture.detach(),)) for picture in (real, fake)]
            gradients = torch.autograd.grad(critic_loss(*scores), list(own.values()))
        with torch.no_grad():
            for index, (parameter, gradient) in enumerate(zip(self.parameters(), gradients)):
                if together and torch.distributed.is_initialized():
                    torch.distributed.all_reduce(gradient)
                    gradient /= torch.distributed.get_world_size()
                square = self.get_buffer(f"square_{index}")
                square.mul_(MEMORY).addcmul_(gradient, gradient, value=1 - MEMORY)
                parameter.addcdiv_(gradient, square.sqrt() + LEAST, value=-RATE).clamp_(-CLIP, CLIP)
