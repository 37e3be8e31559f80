"""Grouped spatial-temporal shift: the only part of Shift-Net in which frames meet."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeblurringModel.blocks import ChannelLayerNorm
from DeblurringModel.Shift_Net.unet import ChannelAttention

REACH = 8
FAR_OFFSETS = (
    (8, 8),
    (8, 4),
    (8, 0),
    (8, -4),
    (8, -8),
    (-8, 8),
    (-8, 4),
    (-8, 0),
    (-8, -4),
    (-8, -8),
    (4, 8),
    (4, -8),
    (0, 8),
    (0, -8),
    (-4, 8),
    (-4, -8),
)
NEAR_OFFSETS = ((4, 4), (4, 0), (4, -4), (0, 4), (0, -4), (-4, 4), (-4, 0), (-4, -4))


def temporal_shift(x: Tensor, frames: int, to_past: bool, cyclic: bool) -> tuple[Tensor, Tensor]:
    """Exchange one half of the channels with a neighbouring frame.

    Args:
        x: (B * T, C, H, W), the frames of each clip in order, C even.
        frames: T.
        to_past: take the second half of the frame before (else the first half of the frame after).
        cyclic: the frame before the first is the last one and vice versa; otherwise the frame at the end of
            the clip stays as it is.

    Returns:
        the shifted features, shaped as x, and the half that came from the neighbour, (B * T, C / 2, H, W).
    """
    halves = x.reshape(-1, 2 * frames, x.shape[1] // 2, *x.shape[2:])
    if cyclic:
        shifted = halves.roll(1 if to_past else -1, dims=1)
    elif to_past:
        shifted = torch.cat((halves[:, :2], halves[:, 1:-1]), dim=1)
    else:
        shifted = torch.cat((halves[:, 1:-1], halves[:, -2:]), dim=1)
    shifted = shifted.reshape(x.shape)
    received, own = shifted.chunk(2, dim=1)
    return shifted, received if to_past else own


def spatial_shift(x: Tensor) -> Tensor:
    """Move every group of channels by its own fixed offset (rows down, columns right), zeros coming in.

    (N, C, H, W), C a multiple of 8 -> the same shape.
    """
    height, width = x.shape[-2:]
    per_offset = x.shape[1] // 8
    far = (per_offset - 1) // 2
    sizes = [far] * len(FAR_OFFSETS) + [per_offset - 2 * far] * len(NEAR_OFFSETS)
    groups = F.pad(x, (REACH, REACH, REACH, REACH)).split(sizes, dim=1)
    moved = [
        group[..., REACH - down : REACH - down + height, REACH - right : REACH - right + width]
        for group, (down, right) in zip(groups, FAR_OFFSETS + NEAR_OFFSETS)
    ]
    return torch.cat(moved, dim=1)


class _ResidualConvs(nn.Module):
    """x plus the outputs of parallel grouped convolutions without bias; `kernels` maps a name to its size."""

    def __init__(self, channels: int, groups: int, kernels: dict[str, int]) -> None:
        super().__init__()
        for name, size in kernels.items():
            conv = nn.Conv2d(channels, channels, size, padding=size // 2, groups=groups, bias=False)
            self.add_module(name, conv)

    def forward(self, x: Tensor) -> Tensor:
        result = x
        for conv in self.children():
            result = result + conv(x)
        return result


class _Gate(nn.Module):
    """First half of the channels times the (squashed) second half."""

    def __init__(self, squash: bool) -> None:
        super().__init__()
        self.squash = squash

    def forward(self, x: Tensor) -> Tensor:
        values, gate = x.chunk(2, dim=1)
        return values * (torch.sigmoid(gate) if self.squash else gate)


def _body(in_channels: int, channels: int, reduction: int, group_width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, 2 * channels, 1, bias=False),
        _ResidualConvs(2 * channels, 2 * channels, {"conv_2": 3}),
        _Gate(squash=False),
        _ResidualConvs(channels, channels // group_width, {"conv_1": 5, "conv_2": 3}),
        nn.Conv2d(channels, 2 * channels, 1, bias=False),
        _Gate(squash=True),
        ChannelAttention(channels, reduction),
        nn.Conv2d(channels, channels, 1, bias=False),
    )


class PlainUnit(nn.Module):
    """Normalised, gated convolutions with a learned gain on the residual: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, reduction: int, group_width: int) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(channels, eps=1e-6)
        self.body = _body(channels, channels, reduction, group_width)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.beta * self.body(self.norm(x))


class FusingUnit(nn.Module):
    """As `PlainUnit`, with spatially shifted features of the neighbouring frame as further input:
    (N, C, H, W) and (N, C / 2, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, reduction: int, group_width: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.norm = ChannelLayerNorm(channels + half, eps=1e-6)
        self.body = _body(channels + half, channels, reduction, group_width)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor, neighbour: Tensor) -> Tensor:
        joined = torch.cat((x, self.conv1(neighbour)), dim=1)
        return x + self.beta * self.body(self.norm(joined))


class ShiftBlock(nn.Module):
    """Alternating shifts from the past and from the future, each followed by a fusing and a plain unit.

    (B * T, C, H, W), C a multiple of 16 -> the same shape.
    """

    def __init__(self, channels: int, reduction: int, group_width: int, steps: int, cyclic: bool) -> None:
        super().__init__()
        self.cyclic = cyclic
        for step in range(steps):
            units = nn.ModuleList(
                (FusingUnit(channels, reduction, group_width), PlainUnit(channels, reduction, group_width))
            )
            self.add_module(numbered("encoder_level1", step), units)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        for step, (fuse, refine) in enumerate(self.children()):
            shifted, received = temporal_shift(x, frames, to_past=step % 2 == 0, cyclic=self.cyclic)
            x = refine(fuse(shifted, spatial_shift(received)))
        return x


def numbered(name: str, index: int) -> str:
    """Published naming of repeated modules: name, name_1, name_2, ..."""
    return f"{name}_{index}" if index else name
