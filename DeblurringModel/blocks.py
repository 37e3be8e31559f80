"""Layers and input checks that several deblurring networks share."""

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "leakyrelu": lambda: nn.LeakyReLU(0.1),
}


def check_at_least(least: int, **values: int) -> None:
    """Check constructor arguments, given by name, against a lower bound.

    Raises:
        ValueError: naming the argument, what was expected and what was received.
    """
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, received {value}")


def check_size(frames: Tensor, multiple: int, smallest: int = 1) -> None:
    """Check that H and W, the last two dimensions, are multiples of `multiple` and at least `smallest`.

    Raises:
        ValueError: naming what was expected and what was received.
    """
    height, width = frames.shape[-2:]
    if any(size % multiple or size < max(smallest, multiple) for size in (height, width)):
        least = f", at least {smallest}" if smallest > multiple else ""
        raise ValueError(
            f"height and width: expected multiples of {multiple}{least}, received {height} x {width}"
        )


def check_clip(clip: Tensor, *, multiple: int, frames: int = 1, smallest: int = 1) -> None:
    """Check that `clip` is (B, T, 3, H, W) with T >= frames and a size that `check_size` accepts.

    Raises:
        ValueError: naming what was expected and what was received.
    """
    if clip.ndim != 5 or clip.shape[2] != 3:
        raise ValueError(f"clip: expected shape (B, T, 3, H, W), received {tuple(clip.shape)}")
    if clip.shape[1] < frames:
        raise ValueError(f"clip: expected at least {frames} frames, received {clip.shape[1]}")
    check_size(clip, multiple, smallest)


def dense_gradient(x: Tensor) -> Tensor:
    """`x` (B, C, H, W) itself; its gradient is laid out in memory without gaps before it goes on.

    The gradient of a part of a concatenation is a strided view, on which the backward passes of activations
    are several times slower on the CPU.
    """
    if x.requires_grad:
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return x


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution, (B, inputs, H, W) -> (B, outputs, H, W), fast on one CPU thread too.

    With one thread and fewer than 16 images PyTorch leaves oneDNN and takes longer (`use_mkldnn` in its
    aten/src/ATen/native/Convolution.cpp). A 1x1 convolution treats every pixel alike, so each row is given to it
    as an image: the same products, and without a copy where `x` is channels-last.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        batch, channels, height, width = x.shape
        rows = x.movedim(1, -1).reshape(batch * height, 1, width, channels).movedim(-1, 1)
        made = super().forward(rows).movedim(1, -1)
        return made.reshape(batch, height, width, -1).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """x + conv(leaky ReLU(conv(x))), 3x3: (N, channels, H, W) -> the same shape. slope: of the leaky ReLU below
    zero."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.conv1(x), self.slope))


class ResidualDenseBlock(nn.Module):
    """Three 3x3 convolutions, each seeing the input and all earlier outputs, then a 1x1 fusion and a residual
    (ESTRNN, ECCV 2020): (B, channels, H, W) -> the same shape."""

    def __init__(self, channels: int, growth: int, activation: str = "gelu") -> None:
        super().__init__()
        self.dense_layers = nn.ModuleList(
            nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(channels + index * growth, growth, 3, padding=1),
                    activation=ACTIVATIONS[activation](),
                )
            )
            for index in range(3)
        )
        self.conv1x1 = PointwiseConv2d(channels + 3 * growth, channels)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for layer in self.dense_layers:
            features = torch.cat((features, dense_gradient(layer(features))), dim=1)
        return self.conv1x1(features) + x


class ResidualDenseChain(nn.Module):
    """`blocks` residual dense blocks in a row; the outputs of all of them are fused by a 1x1 and a 3x3
    convolution: (B, channels, H, W) -> the same shape, no outer residual."""

    def __init__(self, channels: int, growth: int, blocks: int, activation: str = "gelu") -> None:
        super().__init__()
        self.RDBs = nn.ModuleList(ResidualDenseBlock(channels, growth, activation) for _ in range(blocks))
        self.conv1x1 = PointwiseConv2d(blocks * channels, channels)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for block in self.RDBs:
            x = block(x)
            outputs.append(x)
        return self.conv3x3(self.conv1x1(torch.cat(outputs, dim=1)))


class DenseDownsampling(nn.Module):
    """A residual dense block, then a 5x5 convolution of stride 2:
    (B, channels, H, W) -> (B, out_channels, H / 2, W / 2)."""

    def __init__(self, channels: int, growth: int, out_channels: int, activation: str = "gelu") -> None:
        super().__init__()
        self.rdb = ResidualDenseBlock(channels, growth, activation)
        self.down_sampling = nn.Conv2d(channels, out_channels, 5, stride=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_sampling(self.rdb(x))


def frame_head(channels: int, features: int) -> nn.Sequential:
    """Two transposed convolutions of stride 2 and a 5x5 convolution, nothing between them:
    (B, channels, H, W) -> (B, 3, 4H, 4W)."""
    doubling = dict(kernel_size=3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(
        nn.ConvTranspose2d(channels, 2 * features, **doubling),
        nn.ConvTranspose2d(2 * features, features, **doubling),
        nn.Conv2d(features, 3, 5, padding=2),
    )


class ChannelLayerNorm(nn.Module):
    """Layer normalisation over the channels (dimension 1) of every position, with weight and bias:
    (B, channels, ...) -> the same shape."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        normalised = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.eps)
        return normalised.movedim(-1, 1)
