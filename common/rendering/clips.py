"""One clip: content from photographs or video frames, a camera path, moving objects, exposed frame by
frame."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from common.rendering.camera import Path, Shake, pose_matrix
from common.rendering.compression import h264, jpeg
from common.rendering.exposure import Layer, expose
from common.rendering.presets import Preset

REFERENCE_WIDTH = 384.0
OVERSAMPLING = 1.25
"""Content pixels per frame pixel that keep resampling from showing in the sharp frame without aliasing."""
_OBJECT_SHAKE = Shake(1.0, 0.5, (0.03, 0.10), (0.0, np.pi), 0.008, 0.0, 0.6, 0.0)


def render_clip(
    pictures: Sequence[np.ndarray],
    preset: Preset,
    frames: int,
    height: int,
    width: int,
    rng: np.random.Generator,
    objects: Sequence[np.ndarray] = (),
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Blurry uint8 (H, W, 3), sharp uint8 (H, W, 3) and condition float32 (3, H, W) for each frame.

    pictures: uint8 RGB background; one still for the whole clip, or one picture per frame (real video whose
    own motion then comes on top of the shake and is not part of the condition). objects: stills that moving
    foreground pieces are cut from. All randomness comes from `rng`. A clip that is stored (sensor.stored) is held as a
    whole; H.264 wants even height and width.
    """
    sensor = preset.sensor
    if sensor.raised != (1.0, 1.0):
        factor = rng.uniform(*sensor.raised)
        preset = replace(preset, sensor=replace(sensor, raised=(factor, factor)))
    rendered = _exposures(pictures, preset, frames, height, width, rng, objects)
    if not sensor.stored:
        return rendered
    quality = int(rng.integers(sensor.quality[0], sensor.quality[1] + 1))
    blurry, *others = zip(*rendered)
    return zip(_stored(np.stack(blurry), sensor.stored, quality), *others)


def _stored(frames: np.ndarray, kind: str, quality: int) -> np.ndarray:
    """uint8 (T, H, W, 3) as it is read again."""
    if kind == "h264":
        return h264(frames, quality)
    return np.stack([jpeg(frame, quality) for frame in frames])


def _exposures(
    pictures: Sequence[np.ndarray],
    preset: Preset,
    frames: int,
    height: int,
    width: int,
    rng: np.random.Generator,
    objects: Sequence[np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    if len(pictures) not in (1, frames):
        raise ValueError(f"expected 1 or {frames} pictures, received {len(pictures)}")
    speed = rng.uniform(*preset.speeds) * width / REFERENCE_WIDTH
    exposure = rng.uniform(*preset.sensor.exposure)
    camera = Path(replace(preset.shake, speed=speed), rng, frames)
    scale = _fit_scale(pictures[0].shape, height, width, camera.extent())
    layers = [_cut_out(picture, height, width, rng) for picture in objects]
    own_paths = [
        Path(replace(_OBJECT_SHAKE, speed=speed * rng.uniform(0.3, 1.0)), rng, frames) for _ in objects
    ]
    offsets = np.linspace(-0.5, 0.5, preset.sensor.samples) * exposure
    centre = ((width - 1) / 2, (height - 1) / 2)

    def matrices(times: np.ndarray) -> np.ndarray:
        view = np.stack([pose_matrix(pose, centre) for pose in camera(times)])
        moved = [view @ np.stack([pose_matrix(pose, centre) for pose in path(times)]) for path in own_paths]
        return np.stack([view, *moved])

    background = None
    for frame in range(frames):
        if background is None or len(pictures) > 1:
            background = _background(pictures[frame if len(pictures) > 1 else 0], scale, height, width)
        yield expose(
            [background, *layers],
            matrices(frame + offsets),
            list(matrices(np.array([float(frame)]))[:, 0]),
            preset.sensor,
            height,
            width,
            rng,
        )


def _fit_scale(shape: tuple[int, ...], height: int, width: int, extent: float) -> float:
    """Content pixels per frame pixel: as much of the picture as leaves room for the camera's path, but never
    below 1 (magnified content would have no sharp detail; what lies outside the picture is mirrored)."""
    return max(1.0, min(shape[1] / (width + 2 * extent), shape[0] / (height + 2 * extent)))


def _background(picture: np.ndarray, scale: float, height: int, width: int) -> Layer:
    """The picture as a layer, centred; reduced by area averaging first where sampling it would alias."""
    reduction = max(1.0, scale / OVERSAMPLING)
    if reduction > 1:
        picture = cv2.resize(picture, None, fx=1 / reduction, fy=1 / reduction, interpolation=cv2.INTER_AREA)
        scale = OVERSAMPLING
    place = np.array(
        [
            [scale, 0, (picture.shape[1] - 1) / 2 - scale * (width - 1) / 2],
            [0, scale, (picture.shape[0] - 1) / 2 - scale * (height - 1) / 2],
            [0, 0, 1],
        ]
    )
    return Layer(picture.astype(np.float32) / 255, None, place)


def _cut_out(picture: np.ndarray, height: int, width: int, rng: np.random.Generator) -> Layer:
    """A foreground piece with a soft irregular outline, placed somewhere in the frame."""
    size = int(rng.uniform(0.22, 0.45) * min(height, width))
    scale = min(1.0, 1.6 * size / min(picture.shape[:2]))
    picture = (
        cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    )
    top, left = (int(rng.integers(0, max(1, side - size))) for side in picture.shape[:2])
    piece = picture[top : top + size, left : left + size].astype(np.float32) / 255
    h, w = piece.shape[:2]
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    radius = 0.36 + sum(
        rng.uniform(-0.05, 0.05) * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    outline = np.column_stack([w / 2 + w * radius * np.cos(angles), h / 2 + h * radius * np.sin(angles)])
    alpha = np.zeros((h, w), np.float32)
    cv2.fillPoly(alpha, [outline.round().astype(np.int32)], 1.0)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 1.0)
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return Layer(piece * alpha[..., None], alpha, np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]]))
