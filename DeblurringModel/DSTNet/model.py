"""DSTNet: deep discriminative spatial and temporal network for video deblurring."""

from collections import OrderedDict
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeblurringModel.blocks import ChannelLayerNorm, ResidualBlock, check_at_least, check_clip
from DeblurringModel.DSTNet.dynamic import SLOPE, ChannelDynamicConv, PixelDynamicConv
from DeblurringModel.DSTNet.wavelet import HaarWavelet


class _GatedDynamicNetwork(nn.Module):
    """Gated feed-forward network, three frames wide; one branch is filtered by kernels of its own.

    (B, C, T, H, W) -> the same shape.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.project_in = nn.Conv3d(channels, 2 * hidden, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.kerner_conv_channel = ChannelDynamicConv(hidden)
        self.project_out = nn.Conv3d(hidden, channels, (3, 1, 1), padding=(1, 0, 0), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        filtered, gate = self.project_in(x).chunk(2, dim=1)
        frames = filtered.transpose(1, 2).flatten(0, 1)
        filtered = self.kerner_conv_channel(frames).unflatten(0, (batch, -1)).transpose(1, 2)
        return self.project_out(filtered * gate)


class _DynamicBlock(nn.Module):
    """Channel-wise gated dynamic network with layer normalisation and a residual.

    (B, C, T, H, W) -> the same shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm2 = nn.Sequential(OrderedDict(body=ChannelLayerNorm(channels, eps=1e-5)))
        self.ffn = _GatedDynamicNetwork(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ffn(self.norm2(x))


class _Propagation(nn.Module):
    """Recurrent features in one direction of time; published names spell the trunk the same in both."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv1 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.kernel_conv_pixel = PixelDynamicConv(channels)
        trunk = nn.Sequential(*(ResidualBlock(channels, SLOPE) for _ in range(blocks)))
        _initialise_trunk(trunk)
        self.resblock_bcakward2d = nn.Sequential(OrderedDict(main=nn.Sequential(trunk)))

    def forward(self, features: Tensor, order: Iterable[int]) -> Tensor:
        """Features (B, T, C, H, W), frames visited in the given order -> the same shape, in natural order."""
        outputs: dict[int, Tensor] = {}
        state = torch.zeros_like(features[:, 0])
        for index in order:
            mixed = F.leaky_relu(self.conv1(torch.cat((features[:, index], state), dim=1)), SLOPE)
            current, past = mixed.split(self.channels, dim=1)
            gated = current * torch.sigmoid(self.conv2(current)) + past * torch.sigmoid(self.conv3(past))
            state = self.resblock_bcakward2d(self.kernel_conv_pixel(gated))
            outputs[index] = state
        return torch.stack([outputs[index] for index in sorted(outputs)], dim=1)


def _initialise_trunk(trunk: nn.Sequential) -> None:
    """Small residuals to start from, as in the released code: Kaiming normal times 0.1, no bias."""
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            with torch.no_grad():
                module.weight.mul_(0.1)
            nn.init.zeros_(module.bias)


class DSTNet(nn.Module):
    """DSTNet (CVPR 2023, released code). The defaults are the published base network (GoPro, DVD, BSD); the
    large one is `num_feat=64, num_block=30, widen=True`.

    Clip (B, T, 3, H, W), RGB in [0, 1], T >= 1, H and W multiples of 16 -> the same shape, every frame
    restored, not clamped.

    Args:
        num_feat: width C.
        num_block: residual blocks of each of the two propagation trunks.
        widen: propagate with C + C // 2 channels, as in the large network.

    Raises:
        ValueError: for a width or a number of blocks below 1.
    """

    def __init__(self, num_feat: int = 64, num_block: int = 15, widen: bool = False) -> None:
        super().__init__()
        check_at_least(1, num_feat=num_feat, num_block=num_block)
        width = num_feat + num_feat // 2 if widen else num_feat
        self.feat_extractor = nn.Conv3d(3, num_feat, (1, 3, 3), padding=(0, 1, 1))
        self.wave = HaarWavelet(num_feat)
        self.x_wave_1_conv1 = nn.Conv2d(3 * num_feat, 3 * num_feat, 1, groups=3)
        self.x_wave_1_conv2 = nn.Conv2d(3 * num_feat, 3 * num_feat, 1, groups=3)
        self.x_wave_2_conv1 = nn.Conv2d(3 * num_feat, 3 * num_feat, 1, groups=3)
        self.x_wave_2_conv2 = nn.Conv2d(3 * num_feat, 3 * num_feat, 1, groups=3)
        self.transformer_scale4 = nn.Sequential(*(nn.Sequential(_DynamicBlock(num_feat)) for _ in range(5)))
        self.up = nn.Conv2d(num_feat, width, 1) if widen else nn.Identity()
        self.backward_propagation = _Propagation(width, num_block)
        self.forward_propagation = _Propagation(width, num_block)
        self.down = nn.Conv2d(width, num_feat, 1) if widen else nn.Identity()
        self.recons = nn.Conv3d(num_feat, 3, (1, 3, 3), padding=(0, 1, 1))

    def forward(self, clip: Tensor) -> Tensor:
        """Restored frames of a clip (B, T, 3, H, W), in the same shape.

        Raises:
            ValueError: for a clip of another shape or a size that is not a multiple of 16.
        """
        check_clip(clip, multiple=16)
        batch, frames = clip.shape[:2]
        features = self.feat_extractor(clip.transpose(1, 2)).transpose(1, 2).flatten(0, 1)
        half, half_details = self.wave(features)
        half_details = self.x_wave_1_conv2(F.leaky_relu(self.x_wave_1_conv1(half_details), SLOPE))
        quarter, quarter_details = self.wave(half)
        quarter_details = self.x_wave_2_conv2(F.leaky_relu(self.x_wave_2_conv1(quarter_details), SLOPE))
        quarter = self.transformer_scale4(quarter.unflatten(0, (batch, frames)).transpose(1, 2))
        half = self.up(self.wave.inverse(quarter.transpose(1, 2).flatten(0, 1), quarter_details))
        half = half.unflatten(0, (batch, frames))
        half = self.backward_propagation(half, reversed(range(frames)))
        half = self.forward_propagation(half, range(frames))
        restored = self.wave.inverse(self.down(half.flatten(0, 1)), half_details)
        restored = self.recons(restored.unflatten(0, (batch, frames)).transpose(1, 2)).transpose(1, 2)
        return restored + clip
