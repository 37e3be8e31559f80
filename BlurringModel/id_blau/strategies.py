"""Random changes of a blur condition, to make more kinds of blur from one image. Source: ID-Blau's released
code.

A strategy is a list of tokens. Magnitude: M10, M20, M30, M40, M60, M80, or ALLM (one of them, M10 excepted).
Orientation: O (flip, or one axis direction), RO, 60O, 30O (rotation), or ALLO (one of five changes).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

Range = tuple[float, float]


@dataclass(frozen=True)
class MagnitudeChange:
    """Ranges of the uniform draws of one strategy. Magnitudes are relative to the normalisation, in [0, 1].

    A map whose mean is below `low` is replaced by v - m (`inverted`) or by a constant (`constant_low`).
    Another one is replaced by a constant (`constant`) or multiplied with a draw from the first of `factors`
    whose bound is below the mean.
    """

    low: float
    inverted: Range
    constant_low: Range
    constant: Range
    factors: tuple[tuple[float, Range], ...]


ANY_MEAN = -math.inf
MAGNITUDE_CHANGES = {
    "M10": MagnitudeChange(
        0.1, (0.1, 0.2), (0.03, 0.12), (0.03, 0.12), ((0.3, (0.1, 0.3)), (ANY_MEAN, (0.2, 0.4)))
    ),
    "M20": MagnitudeChange(
        0.075, (0.15, 0.2), (0.075, 0.15), (0.05, 0.2), ((0.3, (0.1, 0.9)), (ANY_MEAN, (0.5, 2)))
    ),
    "M40": MagnitudeChange(
        0.1,
        (0.2, 0.3),
        (0.2, 0.3),
        (0.2, 0.4),
        ((0.4, (0.8, 1.2)), (0.2, (1.2, 1.5)), (ANY_MEAN, (1.5, 2.5))),
    ),
    "M60": MagnitudeChange(
        0.1,
        (0.35, 0.45),
        (0.3, 0.5),
        (0.3, 0.5),
        ((0.4, (0.8, 1.2)), (0.2, (1.5, 2)), (ANY_MEAN, (2.5, 4.5))),
    ),
    "M80": MagnitudeChange(
        0.1, (0.5, 0.7), (0.5, 0.7), (0.5, 0.7), ((0.4, (1.2, 1.5)), (0.2, (2, 3)), (ANY_MEAN, (4, 6)))
    ),
}
MAGNITUDE_ORDER = ("M20", "M40", "M60", "M80", "M30", "M10")
ALLM_CHOICES = ("M20", "M40", "M60", "M80", "M30")
TOKENS = (*MAGNITUDE_ORDER, "ALLM", "O", "RO", "60O", "30O", "ALLO")


def set_condition(
    condition: Tensor,
    strategy: Sequence[str],
    choice_num: int | None = None,
    change_base: int = 0,
    rng: random.Random | ModuleType = random,
) -> Tensor:
    """A changed copy of condition maps (B, 3, H, W): unit vector x, y and normalised magnitude.

    One change, drawn from `rng`, holds for the whole batch. `choice_num` fixes the choices of ALLM and ALLO
    (`change_base` is added for ALLO) instead of drawing them. An empty strategy changes nothing. The order of
    the draws is that of the released code. Raises ValueError for an unknown token.
    """
    unknown = [token for token in strategy if token not in TOKENS]
    if unknown:
        raise ValueError(f"unknown strategy token {unknown[0]!r}, expected one of {', '.join(TOKENS)}")
    if not strategy:
        return condition.clone()

    chosen = set(strategy)
    if "ALLM" in chosen:
        chosen.add(ALLM_CHOICES[rng.randint(0, 4) if choice_num is None else choice_num % 5])
    name = next((name for name in MAGNITUDE_ORDER if name in chosen), None)
    x, y, magnitude = condition.unbind(1)
    if name == "M30":
        name = "M20" if rng.randint(0, 1) == 1 else "M40"
    if name is not None:
        magnitude = _change_magnitude(magnitude, MAGNITUDE_CHANGES[name], rng)

    if "ALLO" in chosen:
        index = rng.randint(0, 4) if choice_num is None else (choice_num + change_base) % 5
        x, y = _one_of_five(x, y, index, rng)
    elif "O" in chosen:
        x, y = _flip_or_axis(x, y, rng)
    else:
        # The released code means to tell RO, 60O and 30O apart, but its test for RO is always true: the other
        # two, and a strategy of magnitude tokens only, also rotate by any angle.
        x, y = _rotate(x, y, rng.randint(1, 359))
    return torch.stack([x, y, magnitude], dim=1)


def _change_magnitude(magnitude: Tensor, change: MagnitudeChange, rng: random.Random | ModuleType) -> Tensor:
    mean = magnitude.mean()
    if mean < change.low:
        if rng.randint(0, 1) == 1:
            return (rng.uniform(*change.inverted) - magnitude).clamp(min=0)
        return torch.full_like(magnitude, rng.uniform(*change.constant_low))
    if rng.randint(0, 3) == 0:
        return torch.full_like(magnitude, rng.uniform(*change.constant))
    factor = next(factor for bound, factor in change.factors if mean > bound)
    return (magnitude * rng.uniform(*factor)).clamp(max=1)


def _one_of_five(x: Tensor, y: Tensor, index: int, rng: random.Random | ModuleType) -> tuple[Tensor, Tensor]:
    if index < 2:
        return _rotate(x, y, 120 * (index + 1))
    if index < 4:
        return _constant(x, y, (1, 0) if index == 2 else (-1, 0))
    return _constant(x, y, rng.choice([(0, 1), (0, -1)]))


def _flip_or_axis(x: Tensor, y: Tensor, rng: random.Random | ModuleType) -> tuple[Tensor, Tensor]:
    if rng.randint(0, 1) == 0:
        x = -x if rng.randint(0, 1) == 1 else x
        y = -y if rng.randint(0, 1) == 1 else y
        return x, y
    return _constant(x, y, rng.choice([(1, 0), (0, 1), (-1, 0), (0, -1)]))


def _constant(x: Tensor, y: Tensor, vector: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return torch.full_like(x, vector[0]), torch.full_like(y, vector[1])


def _rotate(x: Tensor, y: Tensor, degrees: int) -> tuple[Tensor, Tensor]:
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    x64, y64 = x.double(), y.double()
    return (x64 * cos - y64 * sin).to(x.dtype), (x64 * sin + y64 * cos).to(y.dtype)
