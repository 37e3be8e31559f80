"""The numbers that tell the two published Shift-Net networks apart."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Widths and depths of one network.

    Attributes:
        width: channels at full resolution.
        growth: channels added per level of the frame-wise U-Nets.
        fusion_width: channels of the fusion stage, a multiple of 16.
        reduction: divisor of the width inside channel attention.
        group_width: channels per group in the 5x5 and 3x3 convolutions of the shift blocks.
        shift_steps: temporal shifts per shift block, alternating past and future.
        cyclic: the temporal shift wraps around the ends of the clip.
        unets_built: U-Nets held before and after the fusion stage each.
        unets_run: how many of them are used.
        encoder_blocks: blocks at every encoder level of the fusion stage.
        shift_encoder: these blocks are shift blocks, not channel attention blocks.
        decoder_blocks: shift blocks at each decoder level of the fusion stage, finest level first; as many
            entries as there are levels.
        joined_head: the fusion stage's head concatenates the full-resolution skip instead of adding it.
    """

    width: int
    growth: int
    fusion_width: int
    reduction: int
    group_width: int
    shift_steps: int
    cyclic: bool
    unets_built: int
    unets_run: int
    encoder_blocks: int
    shift_encoder: bool
    decoder_blocks: tuple[int, ...]
    joined_head: bool

    @property
    def size_multiple(self) -> int:
        """What height and width must be multiples of: the U-Nets halve them twice, the fusion stage once per
        level."""
        return max(4, 2 ** len(self.decoder_blocks))


ARCHITECTURES = {
    "plus": Architecture(
        width=24,
        growth=12,
        fusion_width=80,
        reduction=4,
        group_width=8,
        shift_steps=8,
        cyclic=False,
        unets_built=5,
        unets_run=5,
        encoder_blocks=2,
        shift_encoder=False,
        decoder_blocks=(3, 2, 2),
        joined_head=True,
    ),
    "small": Architecture(
        width=14,
        growth=4,
        fusion_width=64,
        reduction=1,
        group_width=1,
        shift_steps=4,
        cyclic=True,
        unets_built=5,
        unets_run=3,
        encoder_blocks=3,
        shift_encoder=True,
        decoder_blocks=(3, 3),
        joined_head=False,
    ),
}
