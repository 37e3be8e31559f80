"""Windows made from one sharp frame, which moves and blurs as the video does at another moment.

The neighbours of a sharp frame are mostly sharp too, and hardly displaced. A network that is fine-tuned on
windows with them learns to copy them. The blurry frames, which it has to restore, have no such neighbours.
"""

from collections.abc import Collection, Sequence

import cv2
import numpy as np

Box = tuple[int, int, int, int]
REACH = 2
"""Frames before and after the middle one in a window."""
_GRID = 8
_INLIER_PX = 1.0


def moments(known: Collection[int]) -> list[int]:
    """Frame positions that can stand for a moment of the video: their whole window is among `known`.

    Moments without motion are included: a network that never sees sharp input learns to oversharpen it.
    """
    return [
        position
        for position in sorted(known)
        if all(position + step in known for step in range(-REACH, REACH + 1))
    ]


def patch_motion(motion: np.ndarray, box: Box) -> np.ndarray:
    """The motion (2, H, W) inside `box` as one affine field, (2, 3) float64: (x, y, 1) -> displacement in
    pixels.

    Fitted robustly, so that an object that passes through the box does not tear the patch apart.
    """
    r0, c0, r1, c1 = box
    rows, columns = np.mgrid[r0:r1:_GRID, c0:c1:_GRID]
    start = np.column_stack([columns.ravel(), rows.ravel()]).astype(np.float64)
    moved = motion[:, rows.ravel(), columns.ravel()].T.astype(np.float64)
    fitted, _ = cv2.estimateAffine2D(
        start, start + moved, method=cv2.RANSAC, ransacReprojThreshold=_INLIER_PX
    )
    if fitted is None:
        # No affine motion fits enough points: the whole patch gets one translation.
        fitted = np.column_stack([np.eye(2), np.median(moved, axis=0)])
    return fitted - np.eye(2, 3)


def poses(fields: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Where the content of the window's middle frame stands in each of its frames, as (3, 3) matrices.

    fields: the affine motion (2, 3) of each frame, in order. From one frame to the next the content moves by
    the mean of their motions.
    """
    steps = [_matrix((now + following) / 2) for now, following in zip(fields, fields[1:])]
    middle = len(fields) // 2
    placed = {middle: np.eye(3)}
    for index in range(middle, len(steps)):
        placed[index + 1] = steps[index] @ placed[index]
    for index in range(middle - 1, -1, -1):
        placed[index] = np.linalg.inv(steps[index]) @ placed[index + 1]
    return [placed[index] for index in range(len(fields))]


def _matrix(field: np.ndarray) -> np.ndarray:
    return np.vstack([field + np.eye(2, 3), [0, 0, 1]])


def moved(image: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The picture uint8 (H, W, 3) with its content at `pose`; what comes in from outside is mirrored."""
    if np.array_equal(pose, np.eye(3)):
        return image
    return cv2.warpAffine(
        image, pose[:2], image.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )


def blend_still(blurred: np.ndarray, still: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """`blurred` where `magnitude` is a pixel or more, `still` where it is zero, in between a mixture.

    Pictures uint8 (h, w, 3), magnitude (h, w) in pixels. ID-Blau changes a picture slightly even where the
    magnitude is zero, and the network must not learn to undo that.
    """
    weight = np.clip(magnitude, 0, 1)[..., None]
    return (weight * blurred + (1 - weight) * still + 0.5).astype(np.uint8)


def moving_condition(field: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Blur condition float32 (3, H, W): direction of the affine motion (2, 3) at every pixel, (0, 0) where it
    is zero, and the magnitude map (H, W) in pixels."""
    rows, columns = np.mgrid[: magnitude.shape[0], : magnitude.shape[1]]
    x, y = np.tensordot(field, np.stack([columns, rows, np.ones_like(rows)]), axes=1)
    length = np.hypot(x, y)
    scale = 1 / np.where(length > 0, length, np.inf)
    return np.stack([x * scale, y * scale, magnitude]).astype(np.float32)
