"""The picture that scripts/compare.py draws of a run."""

import numpy as np
import pytest

from scripts.compare import ENLARGED, enlarged, most_changed


@pytest.mark.parametrize("place", [(0, 0), (13, 40), (40, 60)])
def test_the_part_that_changed_most_is_found(place: tuple[int, int]) -> None:
    before = np.full((60, 90, 3), 100, np.uint8)
    after = before.copy()
    top, left = place
    after[top : top + 20, left : left + 30] = 180
    # A stronger change of a few pixels is less in the mean.
    after[-1, 0] = 255
    assert most_changed(before, after) == place


def test_the_part_is_shown_as_large_as_the_frame() -> None:
    picture = np.zeros((61, 92, 3), np.uint8)
    picture[20:40, 30:60] = 200
    shown = enlarged(picture, (20, 30))
    assert shown.shape == picture.shape and (shown == 200).all()
    assert ENLARGED == 3
    assert (enlarged(picture, (0, 0)) == 0).all()
