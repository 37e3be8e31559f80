"""Does a restored video look sound? Checks that need no ground truth."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

_GRID = 8
MOST_COLOUR_SHIFT = 4.0
"""Grey levels by which the mean of a frame's colour may differ from the input's. Blur and deblurring move
light and keep its sum (up to the tone curve and noise)."""
MOST_LOCAL_SHIFT = 8.0
"""The same for the colour of a part of the picture, averaged over all frames. True sharp frames of the
synthetic benchmark stay below it. A network that has learned from patches without red turns what is red to another
colour, though the mean of the whole frame may hardly move."""
MOST_FLICKER_RATIO, FLICKER_ALLOWANCE = 1.5, 0.5
"""The result may flicker this many times as much as the input, plus so many grey levels, the least the eye
sees."""


@dataclass(frozen=True)
class Health:
    """colour_shift: largest difference, over frames and colours, of the mean from the input's. local_shift: the
    largest of a part of the picture, over parts and colours, of the mean over all frames. flicker,
    input_flicker: root mean square of how far the brightness of each part of the picture is from the mean of
    the frames before and after. All in grey levels (0 to 255)."""

    colour_shift: float
    flicker: float
    input_flicker: float
    local_shift: float = 0.0

    def problems(self) -> list[str]:
        """The problems that were found, as text; empty where there are none."""
        found = []
        if self.colour_shift > MOST_COLOUR_SHIFT:
            found.append(
                f"colours are off by {self.colour_shift:.1f} grey levels (at most {MOST_COLOUR_SHIFT:g})"
            )
        if self.local_shift > MOST_LOCAL_SHIFT:
            found.append(
                f"colours of a part are off by {self.local_shift:.1f} grey levels (at most {MOST_LOCAL_SHIFT:g})"
            )
        allowed = MOST_FLICKER_RATIO * self.input_flicker + FLICKER_ALLOWANCE
        if self.flicker > allowed:
            found.append(
                f"flickers by {self.flicker:.1f} grey levels (the input {self.input_flicker:.1f}, at most "
                f"{allowed:.1f})"
            )
        return found


def health(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Health:
    """The health of a restored video.

    pairs: (blurry frame, restored frame) in order, each uint8 (H, W, 3). (That values are finite is checked
    where they become pictures.) Raises ValueError without a frame.
    """
    shift, series, local = 0.0, [], 0.0
    for blurry, restored in pairs:
        means = [
            cv2.resize(image, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
            for image in (blurry.astype(np.float32), restored.astype(np.float32))
        ]
        local = local + (means[1] - means[0])
        shift = max(shift, float(np.abs((means[1] - means[0]).mean(axis=(0, 1))).max()))
        series.append([mean.mean(axis=2) for mean in means])
    if not series:
        raise ValueError("expected at least one frame")
    input_flicker, flicker = (_flicker(np.array(part)) for part in zip(*series))
    return Health(shift, flicker, input_flicker, float(np.abs(local).max()) / len(series))


def _flicker(brightness: np.ndarray) -> float:
    """Root mean square second difference over time of (T, grid, grid), halved; 0 for fewer than three
    frames."""
    if len(brightness) < 3:
        return 0.0
    return float(np.sqrt(np.mean((np.diff(brightness, 2, axis=0) / 2) ** 2)))
