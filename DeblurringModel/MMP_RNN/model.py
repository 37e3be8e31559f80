"""MMP-RNN: recurrent video deblurring guided by estimated motion magnitude."""

from collections import OrderedDict, deque
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeblurringModel.blocks import (
    ACTIVATIONS,
    DenseDownsampling,
    PointwiseConv2d,
    ResidualDenseBlock,
    ResidualDenseChain,
    check_at_least,
    check_clip,
    frame_head,
)
from DeblurringModel.MMP_RNN.prior import MotionMagnitudePrior


class _MotionAttention(nn.Module):
    """Per-pixel channel gains from a motion magnitude map: (B, 1, H, W) -> (B, channels, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.MMAM_conv0 = nn.Conv2d(1, channels // 2, 1)
        self.MMAM_conv1 = nn.Conv2d(channels // 2, channels, 1)

    def forward(self, magnitude: Tensor) -> Tensor:
        return self.MMAM_conv1(F.leaky_relu(self.MMAM_conv0(magnitude), 0.1))


class _Cell(nn.Module):
    """One recurrent step: a frame and the state of the frame before -> a feature and the new state.

    The state is the pair (hidden, encoded) at a quarter of the size, with n and 2n channels; the feature has
    5n channels at that size.
    """

    def __init__(self, features: int, blocks: int, activation: str) -> None:
        super().__init__()
        self.F_B0 = nn.Conv2d(3, features, 5, padding=2)
        self.prior = MotionMagnitudePrior().requires_grad_(False)
        self.MMAM1 = _MotionAttention(features)
        self.F_B1 = DenseDownsampling(features, features, 2 * features, activation)
        self.F_B2 = DenseDownsampling(2 * features, 3 * features // 2, 2 * features, activation)
        self.F_R = ResidualDenseChain(5 * features, 2 * features, blocks, activation)
        self.F_h = nn.Sequential(
            nn.Conv2d(5 * features, features, 3, padding=1),
            ResidualDenseBlock(features, features, activation),
            nn.Conv2d(features, features, 3, padding=1),
        )

    def forward(self, frame: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden, encoded_before = state
        x = self.F_B0(frame)
        x = x * (self.MMAM1(self.prior(frame)) + 1)
        encoded = self.F_B2(self.F_B1(x))
        feature = self.F_R(torch.cat((encoded, encoded_before, hidden), dim=1))
        return feature, (self.F_h(feature), encoded)


class _Fusion(nn.Module):
    """Features of a window of frames, gated by channel and fused: K x (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, window: int, gate: bool) -> None:
        super().__init__()
        joined = window * channels
        self.gate = gate
        self.ca = nn.Sequential(
            OrderedDict(
                conv_du=nn.Sequential(
                    nn.Conv2d(joined, joined // 16, 1),
                    nn.ReLU(),
                    nn.Conv2d(joined // 16, joined, 1),
                    nn.Sigmoid(),
                )
            )
        )
        # Without the gate its entries are still part of every published file; frozen, so that distributed
        # training does not wait for gradients that never come.
        self.ca.requires_grad_(gate)
        self.fusion = PointwiseConv2d(joined, channels)

    def forward(self, window: Sequence[Tensor]) -> Tensor:
        x = torch.cat(tuple(window), dim=1)
        if self.gate:
            x = x * self.ca(x.mean(dim=(2, 3), keepdim=True))
        return self.fusion(x)


class _Reconstructor(nn.Module):
    """Fused feature (B, 5n, H / 4, W / 4) -> frame (B, 3, H, W)."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.D_Net = ResidualDenseChain(5 * features, 2 * features, blocks)
        self.model = frame_head(5 * features, features)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.D_Net(x))


class MMPRNN(nn.Module):
    """MMP-RNN (ECCV 2022, released code); the defaults are the published GoPro network.

    Clip (B, T, 3, H, W), RGB in [-0.5, 0.5] -> (B, T - past - future, 3, H, W) in the same range, not
    clamped; output k restores frame k + past. H and W are multiples of 4 and at least 16,
    T >= past + future + 1.

    The motion magnitude prior (`cell.prior`) is frozen: none of its parameters takes a gradient. Its batch
    normalisation follows the mode of the network as in the released code, that is, training mode normalises
    with the statistics of the batch and updates the running ones, unless `prior_batch_statistics` is false,
    which keeps the prior in evaluation mode always.

    Args:
        n_features: base width n.
        n_blocks_a: dense blocks of the recurrent cell.
        n_blocks_b: dense blocks of the reconstructor.
        past_frames: frames before the restored one that enter its fusion window.
        future_frames: frames after it.
        activation: of the dense blocks of the cell: gelu, relu or leakyrelu.
        do_skip: add a learned 9x9 convolution of the blurred frame to the output.
        fusion_gate: gate the window's channels before fusing; the July 2022 state of the released code has
            the weights of the gate but does not apply it.
        prior_batch_statistics: see above.

    Raises:
        ValueError: for an unknown activation or impossible numbers.
    """

    def __init__(
        self,
        n_features: int = 18,
        n_blocks_a: int = 9,
        n_blocks_b: int = 10,
        past_frames: int = 2,
        future_frames: int = 2,
        activation: str = "gelu",
        do_skip: bool = True,
        fusion_gate: bool = True,
        prior_batch_statistics: bool = True,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, received {activation!r}")
        check_at_least(2, n_features=n_features)
        check_at_least(1, n_blocks_a=n_blocks_a, n_blocks_b=n_blocks_b)
        check_at_least(0, past_frames=past_frames, future_frames=future_frames)
        self.n_features = n_features
        self.past_frames = past_frames
        self.future_frames = future_frames
        self.prior_batch_statistics = prior_batch_statistics
        window = past_frames + 1 + future_frames
        self.cell = _Cell(n_features, n_blocks_a, activation)
        self.recons = _Reconstructor(n_features, n_blocks_b)
        self.fusion = _Fusion(5 * n_features, window, fusion_gate)
        self.skip = nn.Conv2d(3, 3, 9, padding=4) if do_skip else None

    def train(self, mode: bool = True) -> "MMPRNN":
        super().train(mode)
        self.cell.prior.train(mode and self.prior_batch_statistics)
        return self

    def forward(self, clip: Tensor) -> Tensor:
        """Restored frames (B, T - past - future, 3, H, W) of a clip (B, T, 3, H, W).

        Raises:
            ValueError: for a clip of another shape, too few frames or a wrong size.
        """
        window = self.past_frames + 1 + self.future_frames
        check_clip(clip, multiple=4, frames=window, smallest=16)
        batch, frames, _, height, width = clip.shape
        state = (
            clip.new_zeros(batch, self.n_features, height // 4, width // 4),
            clip.new_zeros(batch, 2 * self.n_features, height // 4, width // 4),
        )
        features: deque[Tensor] = deque(maxlen=window)
        restored = []
        for index in range(frames):
            feature, state = self.cell(clip[:, index], state)
            features.append(feature)
            if len(features) == window:
                restored.append(self._restore(features, clip[:, index - self.future_frames]))
        return torch.stack(restored, dim=1)

    def _restore(self, features: Sequence[Tensor], frame: Tensor) -> Tensor:
        restored = self.recons(self.fusion(features))
        return restored if self.skip is None else restored + self.skip(frame)
