"""An initialisation of the U-Net that already is a fair noise predictor where noise dominates."""
import torch
from torch import nn

from BlurringModel.id_blau.unet import UNet


@torch.no_grad()
def start_from_input(unet: UNet) -> None:
    """Set weights so that the untrained network returns its noisy input, and every residual block its shortcut.

    At most timesteps the noisy image is nearly all noise, so returning it is close to right; a short training then
    spends nothing on learning to pass it through. It goes through the last activation unharmed because
    silu(z) - silu(-z) = z: the first six channels carry the image and its negative. Raises ValueError for fewer
    than six base channels.
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
    for colour in range(3):
        for channel, sign in ((colour, 1.0), (colour + 3, -1.0)):
            unet.init_conv.weight[channel, colour, 1, 1] = sign
            last_block.shortcut.weight[channel, skip + channel, 0, 0] = 1.0
            last_layer.weight[colour, channel, 1, 1] = sign
