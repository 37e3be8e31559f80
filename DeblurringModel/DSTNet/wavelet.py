"""Haar analysis and synthesis with the kernels kept as a parameter, as published weight files hold them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HaarWavelet(nn.Module):
    """One level of a 2-D Haar transform of `channels` feature maps, and its inverse.

    The kernels are fixed (no gradient) but part of the state dict. Subbands are kept apart: the first of the
    three high-frequency groups of `channels` maps holds horizontal differences, the second vertical and the
    third diagonal ones.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        kernels = torch.tensor(
            [
                [[1.0, 1.0], [1.0, 1.0]],
                [[1.0, -1.0], [1.0, -1.0]],
                [[1.0, 1.0], [-1.0, -1.0]],
                [[1.0, -1.0], [-1.0, 1.0]],
            ]
        )
        self.channels = channels
        self.haar_weights = nn.Parameter(kernels.repeat(channels, 1, 1).unsqueeze(1), requires_grad=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> low (N, C, H / 2, W / 2) and high (N, 3C, H / 2, W / 2)."""
        bands = F.conv2d(x, self.haar_weights, stride=2, groups=self.channels) / 4
        bands = bands.unflatten(1, (self.channels, 4)).transpose(1, 2).flatten(1, 2)
        return bands[:, : self.channels], bands[:, self.channels :]

    def inverse(self, low: Tensor, high: Tensor) -> Tensor:
        """low (N, C, H / 2, W / 2) and high (N, 3C, H / 2, W / 2) -> (N, C, H, W)."""
        bands = torch.cat((low, high), dim=1).unflatten(1, (4, self.channels)).transpose(1, 2).flatten(1, 2)
        return F.conv_transpose2d(bands, self.haar_weights, stride=2, groups=self.channels)
