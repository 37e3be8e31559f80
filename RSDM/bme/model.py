"""BME: blur magnitude estimator, the network that measures how far every pixel moved during the exposure.

Parameter names and shapes of the `resnet50` backbone are those of the released code (ECCV 2024), so the
published checkpoint loads directly.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50
from torchvision.models.resnet import BasicBlock

BACKBONES = {  # name -> channels after each of the five stages
    "resnet50": (64, 256, 512, 1024, 2048),
    "resnet18": (64, 64, 128, 256, 512),
    "resnet10_slim": (16, 24, 48, 96, 160),
}
SMALLEST_SIZE = 23
LEAKY_SLOPE = 0.2


def _slim_stages() -> list[nn.Module]:
    stem, *widths = BACKBONES["resnet10_slim"]
    first = nn.Conv2d(3, stem, 7, 2, padding=3, bias=False)
    stages = [nn.Sequential(first, nn.BatchNorm2d(stem), nn.ReLU(inplace=True))]
    inputs = stem
    for width, stride in zip(widths, (1, 2, 2, 2)):
        shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        stages.append(nn.Sequential(BasicBlock(inputs, width, stride, shortcut)))
        inputs = width
    stages[1] = nn.Sequential(nn.MaxPool2d(3, 2, padding=1), stages[1])
    for module in (m for stage in stages for m in stage.modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return stages


def _stages(backbone: str) -> list[nn.Module]:
    """The five parts of a trunk, each half the resolution of the one before; randomly initialised."""
    if backbone == "resnet10_slim":
        return _slim_stages()
    trunk = {"resnet18": resnet18, "resnet50": resnet50}[backbone](weights=None)
    return [
        nn.Sequential(trunk.conv1, trunk.bn1, trunk.relu),
        nn.Sequential(trunk.maxpool, trunk.layer1),
        trunk.layer2,
        trunk.layer3,
        trunk.layer4,
    ]


def _up(features: Tensor, factor: int) -> Tensor:
    """Nearest neighbour: every value `factor` times in both directions."""
    return F.interpolate(features, scale_factor=factor, mode="nearest")


def _down(features: Tensor, factor: int) -> Tensor:
    """Nearest neighbour: rows and columns 0, factor, 2 * factor, ...; floor(size / factor) of them.

    Slicing states the rule of the released network, which follows from its scale factor; resizing to a target
    size picks other pixels when the size is no multiple of the factor.
    """
    height, width = features.shape[-2:]
    return features[..., : height // factor * factor : factor, : width // factor * factor : factor]


def _difference(target: Tensor, actual: Tensor) -> tuple[int, int]:
    return target.shape[-2] - actual.shape[-2], target.shape[-1] - actual.shape[-1]


def _match(features: Tensor, difference: tuple[int, int]) -> Tensor:
    """Grow by `difference` rows and columns of zeros, half on each side, an odd one at the bottom or right.

    Negative numbers crop. Floor division keeps the released network's choice of side for both signs.
    """
    rows, columns = difference
    top, left = rows // 2, columns // 2
    return F.pad(features, (left, columns - left, top, rows - top))


class FeatureFusion(nn.Module):
    """Mixes every scale of the trunk with its neighbours; no activations.

    Five trunk features (finest first) -> five features of `width` channels (the finest: `width` // 2) whose
    sizes are those of the trunk features, the third and fourth made even where needed.
    """

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        reduced = 3 * width
        outputs = (width // 2, width, width, width, width)
        for i, inputs in enumerate(channels):
            self.add_module(f"conv{i}", nn.Conv2d(inputs, width, 3, padding=1))
        for i in range(len(channels)):
            self.add_module(f"conv{i}_1x1", nn.Conv2d(reduced, reduced, 1))
        for i, output in enumerate(outputs):
            self.add_module(f"conv{i}_out", nn.Conv2d(reduced, output, 3, padding=1))

    def _mix(self, i: int, *scales: Tensor) -> Tensor:
        mixed = self.get_submodule(f"conv{i}_1x1")(torch.cat(scales, dim=1))
        return self.get_submodule(f"conv{i}_out")(mixed)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        x0, x1, x2, x3, x4 = (self.get_submodule(f"conv{i}")(feature) for i, feature in enumerate(features))
        f0 = self._mix(0, x0, _up(x1, 2), _up(x2, 4))
        f1 = self._mix(1, _down(x0, 2), x1, _up(x2, 2))

        coarser, finer = _up(x3, 2), _down(x1, 2)
        difference = _difference(coarser, finer)
        x2 = _match(x2, difference)
        f2 = self._mix(2, _match(finer, difference), x2, coarser)

        coarser, finer = _up(x4, 2), _down(x2, 2)
        difference = _difference(coarser, finer)
        x3 = _match(x3, difference)
        f3 = self._mix(3, _match(finer, difference), x3, coarser)

        finest = _down(x2, 4)
        f4 = self._mix(4, _match(finest, _difference(x4, finest)), _down(x3, 2), x4)
        return [f0, f1, f2, f3, f4]


class ResidualBlock(nn.Module):
    """Two convolutions with BatchNorm and LeakyReLU, and a skip: (B, channels, h, w) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(LEAKY_SLOPE),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Decoder(nn.Module):
    """Five residual blocks: (B, channels, h, w) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*(ResidualBlock(channels) for _ in range(5)))

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


def _doubling(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)


class Join(nn.Module):
    """Doubles the coarser feature and merges it with the finer one, whose size the result has:
    (B, channels, ~h/2, ~w/2) and (B, channels, h, w) -> (B, outputs, h, w)."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.Up = nn.Sequential(_doubling(channels))
        self.conv = nn.Sequential(nn.Conv2d(2 * channels, outputs, 1), nn.LeakyReLU(LEAKY_SLOPE))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        doubled = self.Up(coarse)
        return self.conv(torch.cat([_match(doubled, _difference(fine, doubled)), fine], dim=1))


class BlurMagnitudeEstimator(nn.Module):
    """Blur magnitude estimator (released code; the defaults are the published network).

    Args:
        backbone: one of BACKBONES; randomly initialised. Only `resnet50` fits the published checkpoint.
        width: channels of the fused features and the coarse decoders, even; half in the two finest decoders.

    Input (B, 3, H, W), BGR, in [0, 1], without ImageNet normalisation; H and W each congruent to 0 or 7
    modulo 8 and at least 23. Output (B, 1, 2 * ceil(H/2), 2 * ceil(W/2)): length of the motion trajectory
    in pixels / 205, neither clamped nor activated.
    """

    def __init__(self, backbone: str = "resnet50", width: int = 64) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone: expected one of {', '.join(BACKBONES)}, received {backbone!r}")
        if width < 2 or width % 2:
            raise ValueError(f"width: expected a positive even number, received {width}")
        half = width // 2
        self.div_2, self.div_4, self.div_8, self.div_16, self.div_32 = _stages(backbone)
        self.aff = FeatureFusion(BACKBONES[backbone], width)
        self.decoder_0 = Decoder(half)
        self.decoder_1 = Decoder(half)
        self.decoder_2 = Decoder(width)
        self.decoder_3 = Decoder(width)
        self.decoder_4 = Decoder(width)
        self.cm_0 = Join(half, half)
        self.cm_1 = Join(width, half)
        self.cm_2 = Join(width, width)
        self.cm_3 = Join(width, width)
        self.Up = _doubling(half)
        self.classifier = nn.Conv2d(half, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1, 2 * ceil(H/2), 2 * ceil(W/2)), magnitude / 205.

        Raises:
            ValueError: another shape, or a height or width that the network cannot take.
        """
        _check_image(image)
        features, feature = [], image
        for stage in (self.div_2, self.div_4, self.div_8, self.div_16, self.div_32):
            feature = stage(feature)
            features.append(feature)
        f0, f1, f2, f3, f4 = self.aff(features)
        decoded = self.decoder_4(f4)
        decoded = self.decoder_3(self.cm_3(decoded, f3))
        decoded = self.decoder_2(self.cm_2(decoded, f2))
        decoded = self.decoder_1(self.cm_1(decoded, f1))
        decoded = self.decoder_0(self.cm_0(decoded, f0))
        return self.classifier(self.Up(decoded))


def _check_image(image: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"image: expected shape (B, 3, H, W), received {tuple(image.shape)}")
    if any(size < SMALLEST_SIZE or size % 8 not in (0, 7) for size in image.shape[2:]):
        raise ValueError(
            f"height and width: expected at least {SMALLEST_SIZE} and 0 or 7 modulo 8, "
            f"received {image.shape[2]} x {image.shape[3]}"
        )
