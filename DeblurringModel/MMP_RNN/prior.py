"""MMP-Net, the motion magnitude prior of MMP-RNN."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeblurringModel.blocks import ResidualDenseBlock


class _DoubleConv(nn.Module):
    """Twice: 3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class _Down(nn.Module):
    """Half the size by maximum pooling, then a double convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), _DoubleConv(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool_conv(x)


class _Up(nn.Module):
    """Twice the size, padded at the bottom and right to the size of the skip feature, joined with it, then a
    double convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = _DoubleConv(in_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = F.pad(x, (0, skip.shape[-1] - x.shape[-1], 0, skip.shape[-2] - x.shape[-2]))
        return self.conv(torch.cat((skip, x), dim=1))


class MotionMagnitudePrior(nn.Module):
    """MMP-Net (ECCV 2022, released code): a U-Net that estimates how far every pixel of one frame moved.

    Frame (B, 3, H, W), RGB in [-0.5, 0.5], H and W at least 16 -> map (B, 1, H, W) in (0, 1); 1 stands for a
    mean flow of 15 pixels or more between neighbouring latent frames.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv9x9 = nn.Conv2d(3, 16, 9, padding=4)
        self.inc = _DoubleConv(16, 16)
        self.down1 = _Down(16, 32)
        self.down2 = _Down(32, 64)
        self.down3 = _Down(64, 128)
        self.down4 = _Down(128, 128)
        self.up1 = _Up(256, 64)
        self.up2 = _Up(128, 32)
        self.up3 = _Up(64, 16)
        self.up4 = _Up(32, 16)
        self.refine = ResidualDenseBlock(16, 8)
        self.outc = nn.Sequential(OrderedDict(conv=nn.Conv2d(16, 1, 1)))

    def forward(self, frame: Tensor) -> Tensor:
        """Map (B, 1, H, W) of a frame (B, 3, H, W).

        Raises:
            ValueError: for another number of dimensions or channels, or a side below 16.
        """
        if frame.ndim != 4 or frame.shape[1] != 3 or min(frame.shape[2:]) < 16:
            raise ValueError(
                "expected frames of shape (B, 3, H, W) with H and W at least 16, received "
                f"{tuple(frame.shape)}"
            )
        level1 = self.inc(self.conv9x9(frame))
        level2 = self.down1(level1)
        level3 = self.down2(level2)
        level4 = self.down3(level3)
        x = self.up1(self.down4(level4), level4)
        x = self.up2(x, level3)
        x = self.up3(x, level2)
        x = self.up4(x, level1)
        return torch.sigmoid(self.outc(self.refine(x)))
