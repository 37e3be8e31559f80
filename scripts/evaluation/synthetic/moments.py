"""What the clips' own sharp moments give, frame by frame: the figures of Table 5."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Clips = Mapping[str, Sequence[float]]
"""A figure of each frame, by the name of the clip."""


@dataclass(frozen=True)
class Gain:
    """What one result has over another, dB. mean, blurriest: over the clips, each the mean of all its frames
    and of the blurriest third of them; clip: the least mean of a clip; frame: the least of a frame."""

    mean: float
    blurriest: float
    clip: float
    frame: float


def blurriest_third(blur: Sequence[float]) -> np.ndarray:
    """Which frames of a clip are its blurriest third: bool (frames,). blur: true length of each, pixels."""
    chosen = np.zeros(len(blur), bool)
    chosen[np.argsort(-np.asarray(blur), kind="stable")[: max(1, len(blur) // 3)]] = True
    return chosen


def mean_psnr(result: Clips, blur: Clips) -> tuple[float, float]:
    """Mean PSNR over the clips, of all frames and of the blurriest third."""
    every = [np.mean(values) for values in result.values()]
    third = [np.mean(np.asarray(values)[blurriest_third(blur[clip])]) for clip, values in result.items()]
    return float(np.mean(every)), float(np.mean(third))


def gain(result: Clips, over: Clips, blur: Clips) -> Gain:
    """What `result` has over another; a frame that is equal to its truth (infinite) in both gains nothing."""
    differences = {
        clip: [0.0 if a == b else a - b for a, b in zip(values, over[clip], strict=True)]
        for clip, values in result.items()
    }
    mean, blurriest = mean_psnr(differences, blur)
    return Gain(
        mean,
        blurriest,
        float(min(np.mean(values) for values in differences.values())),
        float(min(min(values) for values in differences.values())),
    )


def table(domain: str, rows: Sequence[tuple[str, Clips]], over: Mapping[str, str], blur: Clips) -> list[str]:
    """A domain's table in Markdown. rows: label and frames of each result; over: the label of a row -> that of
    the one it is compared with."""
    results = dict(rows)
    lines = [
        f"{domain}, frame by frame: mean and, of each clip's frames, the blurriest third (by the true blur); what "
        "they gain, the least gain of a clip, and of a frame",
        "",
        "| | mean | blurriest third | gain over | mean | blurriest third | least clip | worst frame |",
        "|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for label, frames in rows:
        mean, third = mean_psnr(frames, blur)
        cells = [label, f"{mean:.2f}", f"{third:.2f}", *[""] * 5]
        if label in over:
            found = gain(frames, results[over[label]], blur)
            values = (found.mean, found.blurriest, found.clip, found.frame)
            cells[3:] = [over[label], *(f"{value:+.2f}" for value in values)]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]
