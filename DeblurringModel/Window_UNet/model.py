"""A small U-Net over windows of five frames. It is of this project, not of the paper.

Residual blocks on three levels (Ronneberger et al., U-Net, 2015; Lim et al., EDSR, 2017), from half of the frame's
resolution on. The neighbours are first moved to where the middle frame shows the same things (as Pan et al., Cascaded
Deep Video Deblurring Using Temporal Sharpness Prior, CVPR 2020, do), and their motion is an input as well. It predicts
the difference to the middle frame, so that it returns that frame before it has learned anything.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeblurringModel.blocks import ResidualBlock, check_at_least, check_clip
from DeblurringModel.Window_UNet import inputs

WINDOW = 5
FOLD = 2
"""The first level has one place for FOLD x FOLD pixels, whose colours are its channels."""


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels, slope=0.0) for _ in range(count)))


class WindowUNet(nn.Module):
    """The middle frame of each window of five, restored.

    Args:
        channels: of the levels, from half of the resolution down, each at half of the one before.
        blocks: residual blocks of each level, on the way down and on the way up again.
        middle: residual blocks of the lowest level.

    Input (B, T, 3, H, W), pixel / 255 - 0.5, RGB; H and W multiples of `multiple`. Output (B, T - 4, 3, H, W) in the
    same scale, not clamped; output j restores frame j + 2.
    """

    def __init__(self, channels: Sequence[int] = (32, 64, 128), blocks: int = 2, middle: int = 6) -> None:
        super().__init__()
        if not channels:
            raise ValueError("channels: expected one number a level, received none")
        check_at_least(1, **{f"channels[{level}]": count for level, count in enumerate(channels)})
        check_at_least(1, blocks=blocks, middle=middle)
        pairs = list(zip(channels, channels[1:]))
        self.multiple = FOLD * 2 ** len(pairs)
        self.head = nn.Conv2d(inputs.channels(WINDOW) * FOLD**2, channels[0], 3, padding=1)
        self.down = nn.ModuleList(_blocks(fine, blocks) for fine, _ in pairs)
        self.reduce = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.middle = _blocks(channels[-1], middle)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(_blocks(fine, blocks) for fine, _ in pairs)
        self.tail = nn.Conv2d(channels[0], 3 * FOLD**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Clip (B, T, 3, H, W) -> restored frames (B, T - 4, 3, H, W).

        Raises:
            ValueError: a clip of another shape, H or W not a positive multiple of `multiple`, or too few frames.
        """
        check_clip(x, multiple=self.multiple, frames=WINDOW)
        windows = [x[:, first : first + WINDOW] for first in range(x.shape[1] - WINDOW + 1)]
        if torch.is_grad_enabled():
            # All are kept for the gradient anyway, and one large batch is quicker than many small ones.
            windows = [torch.cat(windows)]
        # Without it one after the other: the memory of a long clip is that of one window.
        restored = [window[:, WINDOW // 2] + self.difference(window) for window in windows]
        return torch.cat(restored).unflatten(0, (-1, x.shape[0])).transpose(0, 1)

    def difference(self, window: Tensor) -> Tensor:
        """What to add to the middle frame of a window (B, 5, 3, H, W): (B, 3, H, W)."""
        feature = self.head(F.pixel_unshuffle(inputs.seen(window).to(window.dtype), FOLD))
        skipped = []
        for blocks, reduce in zip(self.down, self.reduce):
            skipped.append(blocks(feature))
            feature = reduce(skipped[-1])
        feature = self.middle(feature)
        for level in reversed(range(len(self.up))):
            feature = self.up[level](skipped[level] + self.enlarge[level](feature))
        return F.pixel_shuffle(self.tail(feature), FOLD)
