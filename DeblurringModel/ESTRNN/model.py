"""ESTRNN: efficient spatio-temporal recurrent network for video deblurring (Zhong et al., ECCV 2020).

Parameter names and shapes are those of the released code, so published checkpoints load directly.
"""

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
    check_size,
    frame_head,
)

STRIDE = 4  # the encoder halves height and width twice


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class RecurrentCell(nn.Module):
    """Frame encoder (F_B0, F_B1, F_B2), which sees no state, and the recurrent part (F_R, F_h)."""

    def __init__(self, n: int, blocks: int, activation: str) -> None:
        super().__init__()
        self.F_B0 = _conv(3, n, 5)
        self.F_B1 = DenseDownsampling(n, n, 2 * n, activation)
        self.F_B2 = DenseDownsampling(2 * n, 3 * n // 2, 4 * n, activation)
        self.F_R = ResidualDenseChain(5 * n, 2 * n, blocks, activation)
        self.F_h = nn.Sequential(_conv(5 * n, n, 3), ResidualDenseBlock(n, n, activation), _conv(n, n, 3))

    def encode(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 4n, H/4, W/4)."""
        return self.F_B2(self.F_B1(self.F_B0(frames)))

    def forward(self, encoded: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One time step: encoded frame (B, 4n, h, w), state (B, n, h, w) -> feature (B, 5n, h, w), state."""
        feature = self.F_R(torch.cat([encoded, state], dim=1))
        return feature, self.F_h(feature)


class Reconstruction(nn.Module):
    """Fused features to a frame: (B, channels, h, w) -> (B, 3, 4h, 4w)."""

    def __init__(self, channels: int, n: int) -> None:
        super().__init__()
        self.model = frame_head(channels, n)

    def forward(self, fused: Tensor) -> Tensor:
        return self.model(fused)


class Fusion(nn.Module):
    """Global spatio-temporal attention: weighs every other frame of a window against the reference frame."""

    def __init__(self, channels: int, frames: int, reference: int, activation: str) -> None:
        super().__init__()
        self.reference = reference
        pair = 2 * channels
        self.F_f = nn.Sequential(
            nn.Linear(pair, 2 * pair), ACTIVATIONS[activation](), nn.Linear(2 * pair, pair), nn.Sigmoid()
        )
        self.F_p = nn.Sequential(_conv(pair, 2 * pair, 1), _conv(2 * pair, pair, 1))
        self.condense = _conv(pair, channels, 1)
        self.fusion = PointwiseConv2d(frames * channels, frames * channels)

    def _pair_maps(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled pairs (B, P, 2C) -> per pair the linear map to its feature: (B, P, C, 2C) and (B, P, C).

        F_p has no activation inside and the channel weights do not vary over space, so F_p, weighting and
        `condense` together are one matrix per pair. Multiplying the small matrices first is equal to applying
        them in turn to the features, and takes about a ninth of the work.
        """
        expand, project = (layer.weight.flatten(1) for layer in self.F_p)
        weighted = self.condense.weight.flatten(1) * self.F_f(means).unsqueeze(-2)
        offset = project @ self.F_p[0].bias + self.F_p[1].bias
        return weighted @ (project @ expand), weighted @ offset + self.condense.bias

    def forward(self, window: list[Tensor]) -> Tensor:
        """One window, `frames` features (B, C, h, w) in temporal order -> (B, frames * C, h, w)."""
        reference = window[self.reference]
        others = window[: self.reference] + window[self.reference + 1 :]
        means = torch.stack([feature.mean(dim=(2, 3)) for feature in others], dim=1)
        reference_mean = reference.mean(dim=(2, 3)).unsqueeze(1).expand_as(means)
        matrices, offsets = self._pair_maps(torch.cat([reference_mean, means], dim=2))
        on_reference, on_other = matrices.chunk(2, dim=3)
        flat = reference.flatten(2)
        # The reference's share of all pairs is one product, since it is the same feature in each of them.
        shared = torch.baddbmm(offsets.flatten(1).unsqueeze(2), on_reference.flatten(1, 2), flat)
        fused = [
            torch.baddbmm(share, on_other[:, i], feature.flatten(2))
            for i, (feature, share) in enumerate(zip(others, shared.chunk(len(others), dim=1)))
        ]
        return self.fusion(torch.cat([*fused, flat], dim=1).unflatten(2, reference.shape[2:]))


class ESTRNN(nn.Module):
    """Recurrent video deblurring network (ECCV 2020; the defaults: the released model C80B15).

    Args:
        n_features: base width n; the recurrent features have 5n channels.
        n_blocks: residual dense blocks per time step.
        future_frames: frames after the restored one that its window holds.
        past_frames: frames before the restored one that its window holds.
        activation: one of ACTIVATIONS.
        residual: the network predicts what to add to the frame; the published one predicts the frame itself.
            Weights of the two kinds do not load into each other.

    Input (B, T, 3, H, W), pixel / 255 - 0.5, in the channel order of the checkpoint; H and W multiples of 4.
    Output (B, T - past_frames - future_frames, 3, H, W) in the same centred scale, not clamped; output j restores
    frame j + past_frames. The state starts at zero and runs over all T frames.
    """

    def __init__(
        self,
        n_features: int = 16,
        n_blocks: int = 15,
        future_frames: int = 2,
        past_frames: int = 2,
        activation: str = "gelu",
        residual: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, received {activation!r}")
        check_at_least(1, n_features=n_features, n_blocks=n_blocks)
        check_at_least(0, future_frames=future_frames, past_frames=past_frames)
        if past_frames + future_frames == 0:
            raise ValueError("past_frames + future_frames: expected at least 1, received 0")
        self.n_features = n_features
        self.past_frames = past_frames
        self.future_frames = future_frames
        self.window = past_frames + 1 + future_frames
        self.residual = residual
        if residual:
            # Nothing else in the weights tells the two kinds apart.
            self.register_buffer("predicts_difference", torch.ones(1))
        self.cell = RecurrentCell(n_features, n_blocks, activation)
        self.recons = Reconstruction(5 * n_features * self.window, n_features)
        self.fusion = Fusion(5 * n_features, self.window, past_frames, activation)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W), pixel / 255 - 0.5 -> (N, 4n, H/4, W/4), each frame by itself; with `residual` the frame
        itself follows, as 48 more channels.

        Raises:
            ValueError: frames of another shape, or H or W not a positive multiple of 4.
        """
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ValueError(f"frames: expected shape (N, 3, H, W), received {tuple(frames.shape)}")
        check_size(frames, STRIDE)
        encoded = self.cell.encode(frames)
        return torch.cat([encoded, F.pixel_unshuffle(frames, STRIDE)], dim=1) if self.residual else encoded

    def decode(self, encoded: Tensor) -> Tensor:
        """Encoded clip (B, T, C, h, w), as `encode` gives it -> frames (B, T - past_frames - future_frames, 3, 4h, 4w).

        Raises:
            ValueError: another shape, or fewer than past_frames + 1 + future_frames frames.
        """
        features = 4 * self.n_features
        channels = features + (3 * STRIDE**2 if self.residual else 0)
        if encoded.ndim != 5 or encoded.shape[2] != channels:
            raise ValueError(
                f"encoded: expected shape (B, T, {channels}, h, w), received {tuple(encoded.shape)}"
            )
        if encoded.shape[1] < self.window:
            raise ValueError(f"encoded: expected at least {self.window} frames, received {encoded.shape[1]}")
        batch, _, _, height, width = encoded.shape
        state = encoded.new_zeros(batch, self.n_features, height, width)
        window, restored = [], []
        for frame in encoded.unbind(dim=1):
            feature, state = self.cell(frame[:, :features], state)
            window = [*window, feature][-self.window :]
            if len(window) == self.window:
                restored.append(self.recons(self.fusion(window)))
        result = torch.stack(restored, dim=1)
        if self.residual:
            middle = encoded[:, self.past_frames : encoded.shape[1] - self.future_frames, features:]
            result = result + F.pixel_shuffle(middle, STRIDE)
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Clip (B, T, 3, H, W) -> restored frames (B, T - past_frames - future_frames, 3, H, W).

        Raises:
            ValueError: a clip of another shape, H or W not a positive multiple of 4, or too few frames.
        """
        check_clip(x, multiple=STRIDE, frames=self.window)
        return self.decode(self.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
