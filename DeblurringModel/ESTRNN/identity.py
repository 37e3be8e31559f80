"""Identity start for ESTRNN: initial weights with which the untrained network copies the centre frame.

The published network predicts the frame itself, not a correction, so from PyTorch's default weights it first spends
thousands of steps on learning to copy. One that predicts the difference (`residual`) starts with the difference zero.
Not part of the published method.
"""

import torch
from torch import nn

from DeblurringModel.blocks import ResidualDenseBlock
from DeblurringModel.ESTRNN.model import ESTRNN

CENTRE_5X5 = 2
CELL = 48  # a feature cell stands for 4 x 4 pixels of 3 colours


def start_as_identity(network: ESTRNN, noise: float = 0.1) -> None:
    """Reset all weights of `network`, in place, so that it returns (roughly) the frames it should restore.

    With `network.residual` the last layer becomes zero, the rest PyTorch's default, and the copy is exact. Otherwise:
    The first 48 feature channels carry the pixels: gathered 2 x 2 by both strided convolutions, passed on by
    everything in between, and spread again by the transposed convolutions. All other channels keep PyTorch's
    default initialisation; where they flow into the 48, and in the last layer of the residual dense blocks,
    the default is multiplied by `noise` (biases: by zero), so that gradients reach every parameter.

    Args:
        noise: at 0 the copy is exact to float rounding, but some parameters get no gradient at first.

    Raises:
        ValueError: fewer than 12 features, too few channels for the 48 values of a cell.
    """
    n = network.n_features
    if not network.residual and 4 * n < CELL:
        raise ValueError(f"n_features: expected at least {CELL // 4} for an identity start, received {n}")
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    if network.residual:
        last = network.recons.model[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return
    cell, fusion = network.cell, network.fusion
    blocks, channels = len(cell.F_R.RDBs), 5 * n
    colours = [(c, c, CENTRE_5X5, CENTRE_5X5) for c in range(3)]
    with torch.no_grad():
        for module in cell.modules():
            if isinstance(module, ResidualDenseBlock):
                module.conv1x1.weight *= noise
                module.conv1x1.bias.zero_()
        _carry(cell.F_B0, colours, noise)
        _carry(cell.F_B1.down_sampling, _gather(3), noise)
        _carry(cell.F_B2.down_sampling, _gather(12), noise)
        mean = [(c, block * channels + c, 0, 0) for block in range(blocks) for c in range(CELL)]
        _carry(cell.F_R.conv1x1, mean, noise, 1 / blocks)
        _carry(cell.F_R.conv3x3, [(c, c, 1, 1) for c in range(CELL)], noise)
        reference = (network.window - 1) * channels  # the reference feature comes last in the fusion
        _carry(fusion.fusion, [(c, reference + c, 0, 0) for c in range(CELL)], noise)
        _carry(network.recons.model[0], _spread(12), noise)
        _carry(network.recons.model[1], _spread(3), noise)
        _carry(network.recons.model[2], colours, noise)


def _carry(
    layer: nn.Conv2d | nn.ConvTranspose2d,
    routes: list[tuple[int, int, int, int]],
    noise: float,
    weight: float = 1.0,
) -> None:
    """Make `layer` copy inputs to outputs along `routes` (output, input, kernel row, kernel column).

    Of the inputs on a route a copying output sees its own alone; the weights of the rest are scaled by
    `noise`, and its bias is zero.
    """
    kernel = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    outputs, inputs, rows, columns = torch.tensor(routes).unbind(dim=1)
    outputs_used, inputs_used = outputs.unique(), inputs.unique()
    kernel[outputs_used] *= noise
    layer.bias[outputs_used] = 0
    kernel[outputs_used[:, None], inputs_used] = 0
    kernel[outputs, inputs, rows, columns] = weight


def _gather(channels: int) -> list[tuple[int, int, int, int]]:
    """Routes of a 5x5 convolution of stride 2: the 2 x 2 pixels under each output become channels."""
    return [
        (_folded(channels, c, y, x), c, CENTRE_5X5 + y, CENTRE_5X5 + x)
        for c in range(channels)
        for y in range(2)
        for x in range(2)
    ]


def _spread(channels: int) -> list[tuple[int, int, int, int]]:
    """Routes of the 3x3 transposed convolution of stride 2 (padding 1) that undoes `_gather`."""
    return [
        (c, _folded(channels, c, y, x), 1 + y, 1 + x)
        for c in range(channels)
        for y in range(2)
        for x in range(2)
    ]


def _folded(channels: int, channel: int, y: int, x: int) -> int:
    return (2 * y + x) * channels + channel
