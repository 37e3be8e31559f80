"""Pictures of the report: arrays in, arrays out, and data URIs at the end."""

import base64
from collections.abc import Iterable

import cv2
import numpy as np

from common.rendering.condition_view import condition_picture

Box = tuple[int, int, int, int]
_BOX_COLOUR, _BOX_EDGE = (255, 255, 255), (20, 20, 20)


def data_uri(picture: np.ndarray, kind: str = "jpeg", quality: int = 90) -> str:
    """uint8 RGB (H, W, 3), or RGBA with kind png, as a data URI; kind: jpeg or png. Colours keep full
    resolution."""
    stored = cv2.cvtColor(picture, cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    options = (
        [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        if kind == "jpeg"
        else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )
    data = cv2.imencode(".jpg" if kind == "jpeg" else ".png", stored, options)[1]
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"


def fitted(picture: np.ndarray, width: int) -> np.ndarray:
    """`picture` (H, W, ...) reduced to at most `width` columns, averaging; smaller ones are left alone."""
    if picture.shape[1] <= width:
        return picture
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def cut(picture: np.ndarray, box: Box) -> np.ndarray:
    """The part of a picture inside (r0, c0, r1, c1), maxima exclusive."""
    return picture[box[0] : box[2], box[1] : box[3]]


def with_boxes(picture: np.ndarray, boxes: Iterable[Box], full: tuple[int, int]) -> np.ndarray:
    """A copy of uint8 RGB (h, w, 3) with white outlines, edged in black, of boxes that are given in the
    pixels of the full size (H, W). The outer edge of the white line is the box's."""
    canvas, thick = picture.copy(), max(2, round(picture.shape[1] / 320))
    for box in boxes:
        r0, c0, r1, c1 = scaled_box(box, full, picture.shape[:2])
        cv2.rectangle(canvas, (c0 - 1, r0 - 1), (c1, r1), _BOX_EDGE, 1)
        for inset in range(thick):
            cv2.rectangle(canvas, (c0 + inset, r0 + inset), (c1 - 1 - inset, r1 - 1 - inset), _BOX_COLOUR, 1)
        cv2.rectangle(canvas, (c0 + thick, r0 + thick), (c1 - 1 - thick, r1 - 1 - thick), _BOX_EDGE, 1)
    return canvas


def scaled_box(box: Box, full: tuple[int, int], shown: tuple[int, int]) -> Box:
    """A box in a picture of size `full` (H, W), in the pixels of the same picture of size `shown`."""
    factors = (shown[0] / full[0], shown[1] / full[1]) * 2
    return tuple(round(side * factor) for side, factor in zip(box, factors))


def magnitude_colours(magnitude: np.ndarray, largest: float) -> np.ndarray:
    """uint8 RGB (H, W, 3) of a magnitude map (H, W) in pixels: dark is 0, bright is `largest` or more."""
    levels = (np.clip(magnitude / largest, 0, 1) * 255).round().astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def colour_bar(height: int = 14, width: int = 256) -> np.ndarray:
    """uint8 RGB (height, width, 3): the colours of `magnitude_colours` from 0 at the left to the largest."""
    return magnitude_colours(np.repeat(np.linspace(0, 1, width)[None], height, axis=0), 1.0)


def direction_wheel(size: int = 240) -> np.ndarray:
    """uint8 RGBA (size, size, 4): the colour that `condition_picture` gives a blur that points from the
    centre to the pixel, as long, relative to the longest, as the pixel is far out. Outside the disc it is
    transparent."""
    middle = (size - 1) / 2
    y, x = (np.mgrid[:size, :size] - middle) / middle
    radius = np.hypot(x, y)
    inside = radius <= 1
    direction = np.stack([x, y]) / np.maximum(radius, 1e-6)
    colours = condition_picture(np.concatenate([direction, (radius * inside)[None]]).astype(np.float32))
    return np.dstack([colours, np.where(inside, 255, 0).astype(np.uint8)])


def telling_place(weight: np.ndarray, picture: np.ndarray, size: int) -> Box:
    """The square of at most `size` pixels where `weight` (H, W), a blur's length, and the detail of `picture`
    (H, W, 3) are large together: long blur of an empty wall shows nothing."""
    height, width = picture.shape[:2]
    side = min(size, height, width)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    score = cv2.boxFilter(
        np.maximum(weight, 0).astype(np.float32) * detail,
        -1,
        (side, side),
        normalize=False,
        anchor=(0, 0),
        borderType=cv2.BORDER_CONSTANT,
    )[: height - side + 1, : width - side + 1]
    top, left = np.unravel_index(int(np.argmax(score)), score.shape)
    return int(top), int(left), int(top) + side, int(left) + side


def round_up(value: float) -> float:
    """The next number of the form 1, 1.5, 2, 3, 4, 5, 6, 8 or 10 times a power of ten: the end of a scale."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    steps = (power * factor for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10))
    return float(next(step for step in steps if step >= value * 0.999999))
