"""Where one shot ends and another begins."""

import cv2
import numpy as np

_SIDE = 160
_FLAT = 3.0
"""Standard deviation in grey levels below which a picture has nothing to compare."""
LEAST_AGREEMENT, LEAST_NEW_COLOUR, LEAST_STEP = 0.8, 0.12, 8.0


class CutDetector:
    """Given a video's frames one after the other, finds the first ones of new shots.

    Within a shot one frame, moved along the optical flow, looks like the next, however fast the camera moves;
    across a cut no motion explains the change, and the colours change as well.
    """

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def starts_shot(self, frame: np.ndarray) -> bool:
        """Whether the frame, uint8 RGB (H, W, 3), continues no shot; the first frame of all does not count as
        cut."""
        scale = _SIDE / max(frame.shape[:2])
        size = [max(8, round(side * scale)) for side in frame.shape[1::-1]]
        small = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
        before, self._before = self._before, small
        if before is None or before.shape != small.shape:
            return before is not None
        grey = [cv2.GaussianBlur(image[..., 0], (0, 0), 1.5) for image in (before, small)]
        if max(image.std() for image in grey) < _FLAT:
            return bool(abs(float(grey[0].mean()) - float(grey[1].mean())) > LEAST_STEP)
        return agreement(*grey) < LEAST_AGREEMENT and colour_distance(before, small) > LEAST_NEW_COLOUR


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation, -1 to 1, of grey pictures uint8 (H, W) after the second was moved onto the first along the
    flow."""
    pad = [(0, max(0, 32 - side)) for side in first.shape]
    first, second = (np.pad(image, pad, mode="edge") for image in (first, second))
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)
    rows, columns = np.mgrid[: first.shape[0], : first.shape[1]].astype(np.float32)
    moved = cv2.remap(
        second, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    a, b = (image - image.mean(dtype=np.float64) for image in (first, moved))
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))


def colour_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Bhattacharyya distance, 0 to 1, of the colour histograms of two pictures uint8 (H, W, 3)."""
    histograms = [
        cv2.calcHist([image], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3) for image in (first, second)
    ]
    return float(cv2.compareHist(*histograms, cv2.HISTCMP_BHATTACHARYYA))
