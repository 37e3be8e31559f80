"""Shift-Net: video restoration by grouped spatial-temporal shift."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from DeblurringModel.blocks import check_at_least, check_clip
from DeblurringModel.Shift_Net.architecture import ARCHITECTURES
from DeblurringModel.Shift_Net.fusion import FusionStage
from DeblurringModel.Shift_Net.unet import ChannelAttentionBlock, FrameUNet


class ShiftNet(nn.Module):
    """Shift-Net (CVPR 2023, released code), GoPro deblurring: "plus" is the paper's Ours+, "small" Ours-s.

    Clips (B, T, 3, H, W), RGB in [0, 1] -> (B, T - past - future, 3, H, W), not clamped; output k restores
    frame k + past. H and W are multiples of 8 (plus) or 4 (small), T >= past + future + 1. Clips of a batch
    do not influence each other (the released code computes the first alone). Frames do, up to 28 (plus) or 24
    (small) either way; in "small" the temporal shift is cyclic, which ties the two ends of the clip together.

    The published files hold parameters that nothing uses (`lrelu`; in "small" `orb4`, `orb5`, `rorb4` and
    `rorb5`); they are kept, and frozen.

    Args:
        variant: "plus" or "small".
        past_frames: frames at the beginning of a clip that get no output; the weights do not depend on it.
        future_frames: the same at the end.
        width: channels at full resolution, as published if None (so for all that follow).
        growth: channels added per level of the U-Nets.
        fusion_width: channels of the fusion stage, a multiple of 16.
        shift_steps: temporal shifts per shift block.
        unets: U-Nets before, and after, the fusion stage; a given number is built and run.

    Raises:
        ValueError: for an unknown variant or impossible numbers.
    """

    def __init__(
        self,
        variant: str = "plus",
        past_frames: int = 2,
        future_frames: int = 2,
        *,
        width: int | None = None,
        growth: int | None = None,
        fusion_width: int | None = None,
        shift_steps: int | None = None,
        unets: int | None = None,
    ) -> None:
        super().__init__()
        if variant not in ARCHITECTURES:
            raise ValueError(f"variant: expected one of {', '.join(ARCHITECTURES)}, received {variant!r}")
        changes = dict(
            width=width,
            growth=growth,
            fusion_width=fusion_width,
            shift_steps=shift_steps,
            unets_built=unets,
            unets_run=unets,
        )
        architecture = replace(
            ARCHITECTURES[variant], **{name: value for name, value in changes.items() if value is not None}
        )
        check_at_least(0, past_frames=past_frames, future_frames=future_frames, growth=architecture.growth)
        check_at_least(1, shift_steps=architecture.shift_steps, unets=architecture.unets_run)
        check_at_least(architecture.reduction, width=architecture.width)
        if architecture.fusion_width < 16 or architecture.fusion_width % 16:
            raise ValueError(
                f"fusion_width: expected a positive multiple of 16, received {architecture.fusion_width}"
            )
        width = architecture.width
        self.past_frames = past_frames
        self.future_frames = future_frames
        self.architecture = architecture
        self.feat_extract = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            ChannelAttentionBlock(width, architecture.reduction, nn.PReLU()),
        )
        self.conv_trans = nn.Conv2d(width, width, 3, padding=1)
        self.stage1 = FusionStage(architecture)
        self.rconcat = nn.Conv2d(3 * width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 5, padding=2, bias=False)
        self.lrelu = nn.PReLU().requires_grad_(False)
        for number in range(1, architecture.unets_built + 1):
            for name in ("orb", "rorb"):
                unet = FrameUNet(width, architecture.growth, architecture.reduction)
                self.add_module(f"{name}{number}", unet.requires_grad_(number <= architecture.unets_run))

    def forward(self, clips: Tensor) -> Tensor:
        """Restored frames (B, T - past - future, 3, H, W) of clips (B, T, 3, H, W).

        Raises:
            ValueError: for clips of another shape, too few frames or a wrong size.
        """
        past, future = self.past_frames, self.future_frames
        check_clip(clips, multiple=self.architecture.size_multiple, frames=past + future + 1)
        batch, frames = clips.shape[:2]

        def restored_frames(x: Tensor) -> Tensor:
            return x.unflatten(0, (batch, frames))[:, past : frames - future].flatten(0, 1)

        features = self.feat_extract(clips.flatten(0, 1))
        refined = self._unets("orb", features) + features
        fused = self.stage1(self.conv_trans(refined), frames)
        joined = self.rconcat(torch.cat([restored_frames(x) for x in (features, refined, fused)], dim=1))
        residual = self.conv_last(self._unets("rorb", joined) + joined)
        return residual.unflatten(0, (batch, -1)) + clips[:, past : frames - future]

    def _unets(self, name: str, x: Tensor) -> Tensor:
        for number in range(1, self.architecture.unets_run + 1):
            x = self.get_submodule(f"{name}{number}")(x)
        return x
