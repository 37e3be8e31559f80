"""The noise predictor of ID-Blau: a U-Net without normalisation or attention. Source: ID-Blau's released
code."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SinusoidalEmbedding(nn.Module):
    """Step indices (B,) -> (B, channels) float32: all sines first, then all cosines."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = channels // 2

    def forward(self, time: Tensor) -> Tensor:
        steps = torch.arange(self.half, dtype=torch.float32, device=time.device)
        angles = torch.outer(time.float(), torch.exp(steps * (-math.log(10000) / self.half)))
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with the time embedding added in between; the shortcut sees the raw input."""

    def __init__(self, in_channels: int, out_channels: int, time_dim: int, dropout: float) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.SiLU(), nn.Conv2d(in_channels, out_channels, 3, padding=1))
        self.layer2 = nn.Sequential(
            nn.SiLU(),
            nn.Dropout(dropout) if dropout else nn.Identity(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.time_layer = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, out_channels))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.layer1(x) + self.time_layer(time)[:, :, None, None]
        return self.layer2(hidden) + self.shortcut(x)


class Down(nn.Module):
    """Halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.downsample = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(x)


class Up(nn.Module):
    """Doubles height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(x)


class UNet(nn.Module):
    """Predicts the noise in an image at a diffusion step. Source: ID-Blau's released code.

    Input (B, img_channels, H, W): the noisy RGB image, the sharp RGB image (both about [-0.5, 0.5]) and the
    blur condition, concatenated; and the step index of each sample, (B,) int64. Output (B, 3, H, W),
    unbounded. H and W must be multiples of `multiple` = 2 ** (len(channel_mults) - 1), otherwise ValueError.
    """

    def __init__(
        self,
        img_channels: int = 9,
        base_channels: int = 64,
        channel_mults: Sequence[int] = (1, 2, 3),
        num_res_blocks: int = 2,
        time_dim: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if base_channels < 2 or base_channels % 2:
            raise ValueError(f"base_channels must be even and at least 2, got {base_channels}")
        widths = [base_channels * mult for mult in channel_mults]
        if not widths:
            raise ValueError("channel_mults must name at least one level, got none")
        self.img_channels = img_channels
        self.multiple = 2 ** (len(widths) - 1)

        self.time_embedding = nn.Sequential(
            SinusoidalEmbedding(base_channels),
            nn.Linear(base_channels, time_dim),
            nn.SiLU(),
            nn.Linear(time_dim, time_dim),
        )
        self.init_conv = nn.Conv2d(img_channels, base_channels, 3, padding=1)

        self.downblocks = nn.ModuleList()
        now = base_channels
        skips = [now]
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                self.downblocks.append(ResidualBlock(now, width, time_dim, dropout))
                now = width
                skips.append(now)
            if level < len(widths) - 1:
                self.downblocks.append(Down(now))
                skips.append(now)

        self.mid = nn.ModuleList(ResidualBlock(now, now, time_dim, dropout) for _ in range(2))

        self.upblocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(num_res_blocks + 1):
                self.upblocks.append(ResidualBlock(now + skips.pop(), width, time_dim, dropout))
                now = width
            if level > 0:
                self.upblocks.append(Up(now))

        self.last_layer = nn.Sequential(nn.SiLU(), nn.Conv2d(now, 3, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.img_channels:
            raise ValueError(f"expected input (B, {self.img_channels}, H, W), got {tuple(x.shape)}")
        if x.shape[2] % self.multiple or x.shape[3] % self.multiple:
            raise ValueError(
                f"expected height and width that are multiples of {self.multiple}, "
                f"got {x.shape[2]} x {x.shape[3]}"
            )
        if time.shape != (x.shape[0],):
            raise ValueError(f"expected one step index per sample, ({x.shape[0]},), got {tuple(time.shape)}")
        embedding = self.time_embedding(time)
        x = self.init_conv(x)
        skips = [x]
        for block in self.downblocks:
            x = block(x, embedding) if isinstance(block, ResidualBlock) else block(x)
            skips.append(x)
        for block in self.mid:
            x = block(x, embedding)
        for block in self.upblocks:
            if isinstance(block, ResidualBlock):
                x = block(torch.cat([x, skips.pop()], dim=1), embedding)
            else:
                x = block(x)
        return self.last_layer(x)
