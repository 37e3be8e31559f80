"""Preset `real`: clips as a camera records them, for training and validation.

Light is averaged, not display values; bright parts may outshine what the sensor holds and draw streaks; the
sensor's noise passes through the camera's whole pipeline; some clips are compressed. The target is the moment
at mid-exposure through the same pipeline, without noise and compression: as the scene was (for deblurring), or as the
camera would have recorded it (for blurring, which is given recorded pictures). Only the asked-for frame (or crop)
is warped, with as many samples of an exposure as its longest path has pixels.

A share of the clips can be made the other way, as GoPro's training data are: the mean of encoded pictures, without lens
and mosaic and with hardly any noise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from common.rendering.compression import h264, jpeg
from common.rendering.content import Still
from common.rendering.exposure import to_bytes
from common.rendering.motion import Motion, draw_motion, frame_lengths, path_condition
from common.rendering.pieces import Piece, piece_of, view_of, with_look
from common.rendering.pipeline import (
    Pipeline,
    add_noise,
    converted,
    demosaic,
    develop,
    draw_pipeline,
    sensed,
    to_raw,
    tone_table,
)

WIDTH = 640.0
LENGTHS = (1.0, 40.0)
"""Pixels of path that a frame has which is not sharp, at a frame width of WIDTH."""
MARGIN = 2
"""Pixels around the frame that demosaicing needs."""
LENS = 0.45
"""Deviation in pixels of the lens's own blur: finer detail than a lens lets through would come out of the mosaic
in false colours."""
OBJECTS = (0.4, 0.3, 0.2, 0.1)
"""Shares of the clips with 0 to 3 moving objects."""
ENCODED_NOISE = (0.001, 0.01)
"""Deviation of the noise, of values in [0, 1], in clips that are means of encoded pictures."""
PARTS = 12
"""Straight pieces that a path is measured by."""
Place = tuple[np.ndarray, list[int]]


@dataclass(frozen=True)
class Clip:
    """blurry and sharp: uint8 RGB (T, H, W, 3)."""

    blurry: np.ndarray
    sharp: np.ndarray
    _poses: list[tuple[np.ndarray, np.ndarray]]
    _covers: list[list[np.ndarray]]

    def condition(self, frame: int) -> np.ndarray:
        """(3, H, W) float32 of frame number `frame`: unit direction x (right), y (down) and path length in
        pixels, of the object where one covers more than half of a pixel."""
        height, width = self.blurry.shape[1:3]
        box = (-(height - 1) / 2, -(width - 1) / 2, height, width)
        background, *objects = [
            path_condition(turns[frame], shifts[frame], box) for turns, shifts in self._poses
        ]
        for own, cover in zip(objects, self._covers[frame]):
            background = np.where(cover < 0.5, own, background)
        return background


def render_real(
    stills: list[Still],
    frames: int,
    height: int,
    width: int,
    rng: np.random.Generator,
    frame_width: float = WIDTH,
    lengths: tuple[float, float] = LENGTHS,
    still: Still | None = None,
    sharp_as: str = "scene",
    encoded_share: float = 0.0,
) -> Clip:
    """A clip of `frames` frames of height x width pixels, both even.

    stills: what is shown, and what moving objects are cut from. still: the one to show, as a whole;
    without it one is drawn, and a part of it. frame_width: width in pixels of the whole frame that this is a
    crop of; motion is scaled with it. lengths: shortest and longest path of a frame that is not sharp, in
    pixels at a frame width of WIDTH. sharp_as: "scene", without what lens and mosaic do to fine detail, or
    "camera", with it. encoded_share: share of the clips that are means of encoded pictures. All randomness comes
    from `rng`.
    """
    size = (height + 2 * MARGIN, width + 2 * MARGIN)
    scale = frame_width / WIDTH
    # Without such a share nothing is drawn for it: the clips of a seed stay what they are.
    light = not (encoded_share and rng.uniform() < encoded_share)
    pieces = _draw_pieces(stills, frames, size, rng, scale, lengths, still, light)
    motion = pieces[0].motion
    camera = _Sensor(draw_pipeline(rng), sharp_as) if light else _Mean(rng)
    parts = np.stack([motion.ends(frame, PARTS) for frame in range(frames)])
    poses = [piece.poses(parts) for piece in pieces]
    samples = samples_needed(poses, size)
    times = [[*motion.exposure(frame, count), frame] for frame, count in enumerate(samples)]
    moments = _moments(pieces, np.concatenate(times))
    blurry, sharp, covers = [], [], []
    inside = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    for count in samples:
        mean = average([next(moments) for _ in range(count)], pieces, size)
        moment = next(moments)
        blurry.append(camera.recorded(mean, rng)[inside])
        sharp.append(camera.target(composed(moment, pieces, size, cv2.INTER_CUBIC))[inside])
        covers.append([seen_through(piece, own, size)[inside] for piece, own in zip(pieces[1:], moment[1:])])
    return Clip(compressed(np.stack(blurry), rng), np.stack(sharp), poses, covers)


class _Sensor:
    """From light to picture as a camera does it."""

    def __init__(self, pipeline: Pipeline, sharp_as: str) -> None:
        self._pipeline, self._sharp_as, self._table = pipeline, sharp_as, tone_table(pipeline)

    def recorded(self, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The frame, uint8, with noise."""
        noisy = add_noise(to_raw(through_lens(light), self._pipeline), self._pipeline, rng)
        return develop(demosaic(noisy), self._table)

    def target(self, light: np.ndarray) -> np.ndarray:
        """The sharp picture, uint8, without noise."""
        if self._sharp_as == "camera":
            raw = demosaic(to_raw(through_lens(light), self._pipeline))
        else:
            raw = converted(sensed(light, self._pipeline))
        return develop(raw, self._table)


class _Mean:
    """What is averaged is the picture already; white noise."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._noise = np.float32(np.exp(rng.uniform(*np.log(ENCODED_NOISE))))

    def recorded(self, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """As `_Sensor.recorded`, of encoded values."""
        return to_bytes(mean + self._noise * rng.standard_normal(mean.shape, dtype=np.float32))

    def target(self, picture: np.ndarray) -> np.ndarray:
        """As `_Sensor.target`, of encoded values."""
        return to_bytes(picture)


def through_lens(light: np.ndarray) -> np.ndarray:
    """Light (H, W, 3) with the lens's own blur."""
    return cv2.GaussianBlur(light, (3, 3), LENS, borderType=cv2.BORDER_REPLICATE)


def compressed(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A third of the clips (T, H, W, 3) uint8 come back compressed: half of these as JPEG pictures of quality
    40 to 95, half as H.264 of rate factor 18 to 34."""
    kind, quality, rate = rng.uniform(), int(rng.integers(40, 96)), int(rng.integers(18, 35))
    if kind < 1 / 6:
        return np.stack([jpeg(frame, quality) for frame in frames])
    return h264(frames, rate) if kind < 1 / 3 else frames


def _draw_pieces(
    stills: list[Still],
    frames: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    scale: float,
    lengths: tuple[float, float],
    still: Still | None,
    light: bool,
) -> list[Piece]:
    """The background and the moving objects, from back to front, in light or in encoded values."""
    open_share = rng.uniform(0.4, 0.95)

    def motion(sharp: float) -> Motion:
        turning = math.exp(rng.uniform(math.log(5e-5), math.log(2e-3))) / scale
        own = frame_lengths(rng, frames, lengths[0] * scale, lengths[1] * scale, sharp)
        return draw_motion(rng, own, open_share, turning, 0.3 * turning)

    shown = still or stills[rng.integers(len(stills))]
    look = _draw_look(rng)
    raised = rng.uniform(1, 3) if rng.integers(2) else 1.0
    camera = motion(0.15)
    pieces = [with_look(view_of(shown, camera, frames, size, rng, still is not None), look, raised, light)]
    for _ in range(rng.choice(len(OBJECTS), p=OBJECTS)):
        cut = piece_of(stills[rng.integers(len(stills))], motion(0.3), camera, size, rng)
        pieces.append(with_look(cut, look, raised, light))
    return pieces


def _draw_look(rng: np.random.Generator) -> np.ndarray:
    """(3, 3) matrix for columns of light: brightness 0.5 to 1.25, colour cast 5 %, saturation 0.8 to 1.25."""
    grey = np.full((3, 3), 1 / 3)
    colour = grey + rng.uniform(0.8, 1.25) * (np.eye(3) - grey)
    gains = math.exp(rng.uniform(math.log(0.5), math.log(1.25))) * rng.uniform(0.95, 1.05, 3)
    return colour * gains[:, None]


def samples_needed(poses: list[tuple[np.ndarray, np.ndarray]], size: tuple[int, int]) -> list[int]:
    """Samples of each exposure: the pixels of the longest path of any corner of the frame under any of the
    poses, turns and shifts (T, n) of each piece; at least 1."""
    corners = np.array([-1 - 1j, 1 - 1j, 1 + 1j, -1 + 1j])
    corners = (corners.real * size[1] + 1j * corners.imag * size[0]) / 2
    longest = [
        np.abs(np.diff(turns[..., None] * corners + shifts[..., None], axis=1)).sum(1).max(1)
        for turns, shifts in poses
    ]
    return [max(1, math.ceil(length)) for length in np.max(longest, axis=0)]


def _moments(pieces: list[Piece], times: np.ndarray) -> Iterator[list[Place]]:
    """For each time the place of each piece: matrix from frame to content, box in the frame."""
    placed = [piece.places(times) for piece in pieces]
    boxes = [piece.boxes(places) for piece, places in zip(pieces, placed)]
    for index in range(len(times)):
        yield [(places[index], box[index]) for places, box in zip(placed, boxes)]


def average(moments: list[list[Place]], pieces: list[Piece], size: tuple[int, int]) -> np.ndarray:
    """Mean light (H, W, 3) of the composed picture over the moments."""
    # A sharp frame's one sample would be softened by linear interpolation.
    interpolation = cv2.INTER_LINEAR if len(moments) > 2 else cv2.INTER_CUBIC
    total = np.zeros((*size, 3), np.float32)
    for moment in moments:
        cv2.accumulate(composed(moment, pieces, size, interpolation), total)
    total /= len(moments)
    return total


def composed(
    moment: list[Place],
    pieces: list[Piece],
    size: tuple[int, int],
    interpolation: int,
) -> np.ndarray:
    """The picture at one moment, light (H, W, 3)."""
    flags = interpolation | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(
        pieces[0].light, moment[0][0], size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    for piece, (place, (top, left, bottom, right)) in zip(pieces[1:], moment[1:]):
        if bottom > top and right > left:
            # Only the rectangle that the object covers.
            place = place.copy()
            place[:, 2] += place[:, :2] @ (left, top)
            part, shape = picture[top:bottom, left:right], (right - left, bottom - top)
            part *= cv2.warpAffine(piece.cover, place, shape, flags=flags, borderValue=(1, 1, 1))
            part += cv2.warpAffine(piece.light, place, shape, flags=flags)
    return picture


def seen_through(piece: Piece, place: Place, size: tuple[int, int]) -> np.ndarray:
    """What an object lets through of what is behind it, (H, W)."""
    return cv2.warpAffine(
        piece.cover[..., 0], place[0], size[::-1], flags=cv2.WARP_INVERSE_MAP, borderValue=(1,)
    )
