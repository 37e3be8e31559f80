"""Learning rate over the steps, and when a training ends before the last of them."""

import math


def cosine(step: float, steps: float, highest: float, lowest: float, warmup: int = 0) -> float:
    """Learning rate after `step` of `steps`: linear warm-up, then half a cosine from `highest` to
    `lowest`."""
    if step < warmup:
        return highest * (step + 1) / warmup
    part = min(1.0, (step - warmup) / max(1, steps - warmup))
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * part)) / 2


def in_vain(log: list[dict], figure: str, higher_is_better: bool, patience: int) -> bool:
    """Whether the last `patience` validations of the log brought no better `figure` than those before; False
    with a patience of 0. NaN is worse than any number."""
    if not patience:
        return False
    values = [row[figure] if higher_is_better else -row[figure] for row in log if figure in row]
    values = [value if value == value else -math.inf for value in values]
    return bool(values) and len(values) - 1 - values.index(max(values)) >= patience
