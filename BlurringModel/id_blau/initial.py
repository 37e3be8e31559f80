"""Initial weights with which the untrained U-Net already predicts roughly: the noise where noise dominates,
the blurred image where there is little blur."""

import torch
from torch import nn

from BlurringModel.id_blau.unet import UNet


@torch.no_grad()
def start_from_input(unet: UNet, prediction: str = "noise") -> None:
    """Set weights so that the untrained network returns a part of its input, and every residual block its
    shortcut.

    A noise predictor returns the noisy image, which at most timesteps is nearly all noise; an image predictor
    returns the sharp image, so that its training learns what blur adds to it. A short training then need not
    learn to pass these through. The first six channels carry the image and its negative; the last activation
    keeps their difference, because silu(z) - silu(-z) = z. Raises ValueError for fewer than
    six base channels.
    """
    channels = unet.init_conv.out_channels
    if channels < 6:
        raise ValueError(f"expected at least 6 base channels, got {channels}")
    for module in unet.modules():
        if hasattr(module, "layer2"):
            nn.init.zeros_(module.layer2[-1].weight)
            nn.init.zeros_(module.layer2[-1].bias)
    last_block, last_layer = unet.upblocks[-1], unet.last_layer[-1]
    for layer in (unet.init_conv, last_block.shortcut):
        layer.weight[:6] = 0
        layer.bias[:6] = 0
    nn.init.zeros_(last_layer.weight)
    nn.init.zeros_(last_layer.bias)
    skip = last_block.shortcut.in_channels - channels
    first = 0 if prediction == "noise" else 3
    for colour in range(3):
        for channel, sign in ((colour, 1.0), (colour + 3, -1.0)):
            unet.init_conv.weight[channel, first + colour, 1, 1] = sign
            last_block.shortcut.weight[channel, skip + channel, 0, 0] = 1.0
            last_layer.weight[colour, channel, 1, 1] = sign
