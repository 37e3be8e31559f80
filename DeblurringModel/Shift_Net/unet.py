"""Frame-wise parts of Shift-Net: channel attention, its residual block, changes of size, the small U-Net."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Every channel times a gain in (0, 1) made from the channel means: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = channels // reduction
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean(dim=(2, 3), keepdim=True))


class ChannelAttentionBlock(nn.Module):
    """x + channel attention of conv(activation(conv(x))): (N, C, H, W) -> the same shape.

    The activation is handed in because published networks share one PReLU among the blocks of a part.
    """

    def __init__(self, channels: int, reduction: int, activation: nn.PReLU) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            activation,
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )
        self.CA = ChannelAttention(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.CA(self.body(x))


def downsampling(channels: int, out_channels: int) -> nn.Sequential:
    """Half the size by a 3x3 convolution of stride 2."""
    return nn.Sequential(OrderedDict(down=nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)))


class Upsampling(nn.Module):
    """Twice the size, bilinear, with a 1x1 convolution: (N, C, H, W) -> (N, out_channels, 2H, 2W)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ModuleDict({"1": nn.Conv2d(channels, out_channels, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        # The published order is interpolation first; the two commute, and this one costs a quarter.
        return F.interpolate(self.up["1"](x), scale_factor=2, mode="bilinear", align_corners=False)


class FrameUNet(nn.Module):
    """Three-level U-Net of channel attention blocks, without a residual around it.

    (N, width, H, W) with H and W multiples of 4 -> the same shape.
    """

    def __init__(self, width: int, growth: int, reduction: int) -> None:
        super().__init__()
        activation = nn.PReLU()

        def block(channels: int) -> ChannelAttentionBlock:
            return ChannelAttentionBlock(channels, reduction, activation)

        def blocks(channels: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(block(channels) for _ in range(count)))

        middle, deep = width + growth, width + 2 * growth
        self.encoder_level1 = blocks(width, 1)
        self.encoder_level2 = blocks(middle, 3)
        self.encoder_level3 = blocks(deep, 3)
        self.down12 = downsampling(width, middle)
        self.down23 = downsampling(middle, deep)
        self.decoder_level1 = blocks(width, 1)
        self.decoder_level2 = blocks(middle, 3)
        self.decoder_level3 = blocks(deep, 3)
        self.skip_attn1 = block(width)
        self.skip_attn2 = block(middle)
        self.up21 = Upsampling(middle, width)
        self.up32 = Upsampling(deep, middle)

    def forward(self, x: Tensor) -> Tensor:
        level1 = self.encoder_level1(x)
        level2 = self.encoder_level2(self.down12(level1))
        x = self.decoder_level3(self.encoder_level3(self.down23(level2)))
        x = self.decoder_level2(self.up32(x) + self.skip_attn2(level2))
        return self.decoder_level1(self.up21(x) + self.skip_attn1(level1))
