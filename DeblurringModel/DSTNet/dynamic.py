"""Depthwise 3x3 convolutions whose kernels are computed from their own input."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeblurringModel.blocks import ResidualBlock

SLOPE = 0.1


def _depthwise_stack(channels: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1, groups=channels) for _ in range(3)))


class ChannelDynamicConv(nn.Module):
    """One 3x3 kernel per frame and channel, predicted from the whole frame.

    (N, channels, H, W) with H and W at least 4 -> the same shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.Block1 = _depthwise_stack(channels)
        self.Block2 = _depthwise_stack(channels)
        self.tokernel = nn.Conv2d(channels, 9 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        frames, channels, height, width = x.shape
        summary = self.Block1(F.avg_pool2d(x, 2))
        summary = self.Block2(F.max_pool2d(summary, 2)).mean(dim=(2, 3), keepdim=True)
        kernels = self.tokernel(summary).reshape(frames * channels, 1, 3, 3)
        # Frames become groups: every frame and channel has a kernel of its own.
        y = F.conv2d(x.reshape(1, -1, height, width), kernels, padding=1, groups=frames * channels)
        return y.reshape(x.shape) + self.bias.view(-1, 1, 1)


def apply_pixel_kernels(x: Tensor, kernels: Tensor) -> Tensor:
    """Depthwise 3x3 filtering of `x` (N, C, H, W) with a kernel of its own for every channel and pixel.

    `kernels` is (N, 9C, H, W); channel 9 c + 3 i + j at (r, s) weighs input c at (r + i - 1, s + j - 1), zero
    outside. Nine shifted products: the unfolded input would be a second tensor of the kernels' size.
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1))
    taps = kernels.unflatten(1, (x.shape[1], 9)).unbind(dim=2)
    result = torch.zeros_like(x)
    for index, tap in enumerate(taps):
        row, column = divmod(index, 3)
        result = result + tap * padded[..., row : row + height, column : column + width]
    return result


class PixelDynamicConv(nn.Module):
    """One 3x3 kernel per pixel and channel, predicted at an eighth of the size and interpolated.

    (N, channels, H, W) with H and W multiples of 8 -> the same shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Block1 = nn.Sequential(*(ResidualBlock(channels, SLOPE) for _ in range(3)))
        self.Block2 = nn.Sequential(*(ResidualBlock(channels, SLOPE) for _ in range(3)))
        self.tokernel = nn.Conv2d(channels, 9 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.Block1(F.avg_pool2d(x, 4))
        kernels = self.tokernel(self.Block2(F.max_pool2d(kernels, 2)))
        kernels = F.interpolate(kernels, scale_factor=8, mode="bilinear", align_corners=False)
        return apply_pixel_kernels(x, kernels)
