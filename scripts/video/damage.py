"""Which frames of a video file are missing, from the times of those that are there."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

GAP = 1.5
"""Usual intervals between two frames from which something may be missing between them."""
_NAMED = 3
"""Gaps that are named one by one."""


def usual_interval(times: np.ndarray) -> float:
    """Mean distance of neighbours, int64 (n,) ascending, where nothing is missing between them; 0 for fewer
    than two."""
    steps = np.diff(times)
    if not len(steps):
        return 0.0
    return float(steps[steps <= GAP * np.median(steps)].mean())


def gaps(times: np.ndarray, interval: float) -> list[tuple[int, int]]:
    """Neighbours that lie further apart than the interval allows."""
    wide = np.flatnonzero(np.diff(times) > GAP * interval)
    return [(int(times[index]), int(times[index + 1])) for index in wide]


def filled(times: np.ndarray, interval: float, end: float | None) -> np.ndarray:
    """The times, and the missing ones between them and up to `end`, the end of the last frame."""
    parts = [times]
    for start, stop in gaps(times, interval):
        count = round((stop - start) / interval)
        parts.append(np.linspace(start, stop, count + 1)[1:-1].round().astype(np.int64))
    if end is not None and len(times):
        count = int((end - float(times[-1])) / interval + 0.5) - 1
        parts.append(float(times[-1]) + interval * np.arange(1, max(0, count) + 1))
    return np.unique(np.concatenate(parts).round().astype(np.int64))


def overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether two spans of time have something in common."""
    return first[0] < second[1] and second[0] < first[1]


def after_losses(times: np.ndarray, lost: np.ndarray, keys: np.ndarray) -> int:
    """How many of the frames shown at `times` come after a lost one and before the next that needs no
    other; all int64, ascending."""
    if not len(lost):
        return 0
    latest_loss = np.searchsorted(lost, times)
    last_key = np.searchsorted(keys, times, side="right")
    loss = np.where(latest_loss > 0, lost[np.maximum(latest_loss - 1, 0)], np.iinfo(np.int64).min)
    key = (
        np.where(last_key > 0, keys[np.maximum(last_key - 1, 0)], np.iinfo(np.int64).min)
        if len(keys)
        else loss - 1
    )
    return int(((latest_loss > 0) & (loss > key)).sum())


def told(lost: np.ndarray, expected: int, damaged: int, base: Fraction, first: int, interval: float) -> str:
    """How many of the expected frames are lost, where, and how many others are shown damaged, as text.

    lost: their times, int64, ascending, in units of `base`; first: time of the file's first frame; interval:
    usual distance of two frames.
    """
    spans: list[list[int]] = []
    for time in lost.tolist():
        if spans and time - spans[-1][1] <= GAP * interval:
            spans[-1][1] = time
        else:
            spans.append([time, time])
    named = [
        f"{float((start - first) * base):.3f} to {float((stop - first + interval) * base):.3f} s"
        for start, stop in spans[:_NAMED]
    ]
    more = f" and {len(spans) - _NAMED} more places" if len(spans) > _NAMED else ""
    words = f"{len(lost)} of {expected} frames are lost (at {', '.join(named)}{more})"
    return words + (f", {damaged} after them may look damaged" if damaged else "")


def without(times: np.ndarray, delivered: Sequence[int]) -> np.ndarray:
    """Those of the times, int64 ascending, that are not among the delivered ones."""
    return np.setdiff1d(times, np.asarray(delivered, np.int64))
