"""How long a video exposes, with the curve that it was read from (dbcgm.magnitude shutter)."""

from html import escape
from pathlib import Path

import numpy as np

from common.layout import Layout
from common.videos import Video
from DBCGM.exposure import in_words, read_fit
from DBCGM.shutter import Fit
from scripts.reporting.curves import Mark, Series, chart


def exposure(output: Path, video: Video) -> str:
    """The part of a video's section, or nothing where stage 2 did not fit an exposure."""
    path = Layout(output).shutter(video.name)
    if not path.exists():
        return ""
    fit = read_fit(path)
    return (
        f'<h3>Exposure</h3><div class="halves"><div>{fit_chart(fit, video)}</div><div><p class="hint">This video '
        f"{escape(in_words(fit))}. {EXPLANATIONS[fit.source]}</p></div></div>"
    )


EXPLANATIONS = {
    "neighbours": "A sharp frame is moved onto a blurry one by optical flow and blurred along its motion, as long as "
    "the shutter would have to be open. Where the two come nearest to each other, that is how long it was.",
    "magnitudes": "Each point is a frame: how long its blur is by stage 1, over how far it moves. The slope is the "
    "exposure.",
    "none": "A video that hardly moves does not show how long it was exposed, and hardly needs it.",
}


def fit_chart(fit: Fit, video: Video) -> str:
    """The fit's curve with the exposure marked."""
    points = sorted((float(x), float(y)) for x, y in fit.curve)
    if fit.source == "neighbours":
        nearest = min(points, key=lambda point: abs(point[0] - fit.tau))
        return chart(
            f"difference between blurred sharp frames and blurry ones of {video.name}",
            "exposure, share of the frame interval",
            "squared difference, relative",
            [Series("mean over the frames compared", points)],
            [Mark(f"least at {fit.tau:.2f}", (fit.tau, nearest[1]))],
            from_zero=True,
        )
    offset = float(np.median([y - fit.tau * x for x, y in points]))
    furthest = points[-1][0]
    return chart(
        f"estimated blur over motion of the frames of {video.name}",
        "motion, px",
        "estimated blur, px",
        [Series(f"slope {fit.tau:.2f}", [(0.0, offset), (furthest, offset + fit.tau * furthest)])],
        [Mark("a frame", point) for point in points],
        from_zero=True,
    )
