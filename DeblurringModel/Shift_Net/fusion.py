"""The fusion stage of Shift-Net: a U-Net at half the size, in which frames exchange features by shifts."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DeblurringModel.Shift_Net.architecture import Architecture
from DeblurringModel.Shift_Net.shift import ShiftBlock, numbered
from DeblurringModel.Shift_Net.unet import ChannelAttentionBlock, Upsampling, downsampling


class FusionStage(nn.Module):
    """(B * T, width, H, W), the frames of each clip in order, -> the same shape."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.levels = len(architecture.decoder_blocks)
        self.encoder_blocks = architecture.encoder_blocks
        self.decoder_blocks = architecture.decoder_blocks
        self.joined_head = architecture.joined_head
        width, deep = architecture.width, architecture.fusion_width
        self.act = nn.PReLU()

        def attention(channels: int) -> ChannelAttentionBlock:
            return ChannelAttentionBlock(channels, architecture.reduction, self.act)

        def shifts() -> ShiftBlock:
            return ShiftBlock(
                deep,
                architecture.reduction,
                architecture.group_width,
                architecture.shift_steps,
                architecture.cyclic,
            )

        self.concat = attention(width)
        self.down01 = nn.Sequential(nn.Conv2d(width, deep, 2, stride=2, bias=False), nn.PReLU())
        for level in range(1, self.levels + 1):
            for index in range(self.encoder_blocks):
                block = shifts() if architecture.shift_encoder else attention(deep)
                self.add_module(numbered(f"encoder_level{level}", index), block)
            for index in range(self.decoder_blocks[level - 1]):
                self.add_module(numbered(f"decoder_level{level}", index), shifts())
        for level in range(1, self.levels):
            self.add_module(f"down{level}{level + 1}", downsampling(deep, deep))
            self.add_module(f"up{level + 1}{level}", Upsampling(deep, deep))
            self.add_module(f"skip_attn{level}", attention(deep))
        self.upsample0 = nn.Sequential(OrderedDict(upsample_conv=nn.Conv2d(deep, 4 * width, 3, padding=1)))
        self.skip_conv = attention(width)
        self.conv_hr0 = nn.Conv2d(
            2 * width if self.joined_head else width, width, 3, padding=1, bias=self.joined_head
        )
        self.out_conv = attention(width)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        full = self.concat(x)
        x = self.down01(full)
        skips = []
        for level in range(1, self.levels + 1):
            if level > 1:
                skips.append(x)
                x = self.get_submodule(f"down{level - 1}{level}")(x)
            x = self._blocks(f"encoder_level{level}", self.encoder_blocks, x, frames)
        for level in range(self.levels, 0, -1):
            if level < self.levels:
                skip = self.get_submodule(f"skip_attn{level}")(skips.pop())
                x = self.get_submodule(f"up{level + 1}{level}")(x) + skip
            x = self._blocks(f"decoder_level{level}", self.decoder_blocks[level - 1], x, frames)
        return self.out_conv(self._head(F.pixel_shuffle(self.upsample0(x), 2), self.skip_conv(full)))

    def _blocks(self, name: str, count: int, x: Tensor, frames: int) -> Tensor:
        for index in range(count):
            block = self.get_submodule(numbered(name, index))
            x = block(x, frames) if isinstance(block, ShiftBlock) else block(x)
        return x

    def _head(self, x: Tensor, skip: Tensor) -> Tensor:
        if self.joined_head:
            return self.conv_hr0(torch.cat((x, skip), dim=1))
        return self.conv_hr0(self.act(x)) + skip
