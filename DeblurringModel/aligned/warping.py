"""Sharp neighbours laid over a blurry frame: judged and blended. Arrays in, arrays out.

How well a neighbour, blurred as the frame is (`common.rendering.alignment`), explains the frame bounds the error
of borrowing from it, and the difference that it does explain is what is gained.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from common.rendering.alignment import Flow, Frame, align, coarse_flow, fine_flow, to_bytes, trust
from DeblurringModel.aligned.guard import guard

SOURCE_WITHIN = 10.0
"""One source for a neighbourhood of about so many pixels."""


@dataclass(frozen=True)
class Borrowed:
    """What neighbours give to a frame.

    picture: uint8 (H, W, 3), the frame itself where nothing was borrowed. weight: float32 (H, W), 0 (keep the
    frame) to 1 (take the picture). source: int (H, W), which of the neighbours gave most, -1 for none.
    """

    picture: np.ndarray
    weight: np.ndarray
    source: np.ndarray


@dataclass(frozen=True)
class Offer:
    """One neighbour at the frame's place: picture float32 (H, W, 3), its brightness the frame's; weight (H,
    W); gain (H, W), the squared error that it saves, grey levels."""

    picture: np.ndarray
    weight: np.ndarray
    gain: np.ndarray


def offer(frame: Frame, neighbour: np.ndarray, coarse: Flow = coarse_flow, fine: Flow = fine_flow) -> Offer:
    """What `neighbour` uint8 RGB (H, W, 3) gives to `frame`."""
    laid = align(frame, neighbour, coarse, fine)
    weight, saved = trust(frame, laid)
    return Offer(laid.picture, guard(frame, laid, weight), cv2.GaussianBlur(saved, (0, 0), SOURCE_WITHIN))


def blend(frame: np.ndarray, offers: Sequence[Offer]) -> Borrowed:
    """One picture of all offers for `frame` uint8 (H, W, 3): for each neighbourhood the one that saves
    most."""
    if not offers:
        return Borrowed(frame, np.zeros(frame.shape[:2], np.float32), np.full(frame.shape[:2], -1))
    scores = np.stack([np.where(o.weight > 0.02, np.maximum(o.gain, 0) * o.weight, 0) + 1e-3 for o in offers])
    shares = (scores / scores.max(0)) ** 4
    shares = [cv2.GaussianBlur(share, (0, 0), 2.0) for share in shares / shares.sum(0)]
    parts = np.stack([share * o.weight for share, o in zip(shares, offers)])
    weight = parts.sum(0)
    mixed = sum(part[..., None] * o.picture for part, o in zip(parts, offers))
    taken = weight > 1e-2
    picture = np.where(taken[..., None], mixed / np.maximum(weight, 1e-2)[..., None], frame)
    return Borrowed(
        to_bytes(picture), np.where(taken, np.minimum(weight, 1), 0), np.where(taken, parts.argmax(0), -1)
    )
