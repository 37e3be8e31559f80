"""The report's part about a video's exposure."""

from pathlib import Path

import pytest

from common.layout import Layout
from common.videos import Video
from DBCGM.exposure import write_fit
from DBCGM.shutter import Fit
from scripts.reporting.exposure import exposure

VIDEO = Video("walk & run", (Path("0.png"),), ())
CURVE = [(0.0, 2.0), (0.3, 1.0), (0.6, 0.4), (0.9, 1.1)]


def test_nothing_is_shown_where_no_exposure_was_fitted(tmp_path):
    assert exposure(tmp_path, VIDEO) == ""


@pytest.mark.parametrize(
    "fit, words, points",
    [
        (Fit(0.62, "neighbours", [(3, 5), (8, 6)], CURVE), "exposes 0.62 of the frame interval (2 blurry", 4),
        (Fit(0.62, "magnitudes", [], CURVE), "exposes 0.62 of the frame interval (no sharp neighbours", 2),
        (Fit(0.5, "none", [], CURVE), "0.50 of the frame interval is assumed", 2),
    ],
)
def test_the_fit_is_shown_with_its_curve(tmp_path, fit, words, points):
    write_fit(Layout(tmp_path).shutter(VIDEO.name), fit)
    html = exposure(tmp_path, VIDEO)
    assert words in html and "walk &amp; run" in html and "walk & run" not in html
    assert html.count('class="dot c0"') == points
    marks = html.count('class="mark"') - 1  # one more in the legend
    assert marks == (1 if fit.source == "neighbours" else len(CURVE))
