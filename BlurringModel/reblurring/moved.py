"""Windows made from the sharp frame alone, which moves and blurs as the video does at another moment."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from BlurringModel.reblurring.conditions import Conditions
from BlurringModel.reblurring.crops import Box
from BlurringModel.reblurring.measured import Measured
from BlurringModel.reblurring.moments import REACH, moved, moving_condition, patch_motion, poses
from BlurringModel.reblurring.noise import without_noise
from BlurringModel.reblurring.patches import Frame, Patch, noise_of
from common.config import BlurringConfig
from common.runtime.seeding import numpy_generator
from common.videos import FrameReader, Video


def moved_patches(
    frame: Frame,
    original: np.ndarray,
    boxes: Sequence[Box],
    copies: Sequence[int],
    reader: FrameReader,
    conditions: Conditions,
    config: BlurringConfig,
    seed: int,
    measured: Measured | None = None,
) -> list[Patch]:
    """Windows number `copies` of the frame's sharp content as it would look at other moments of the video,
    drawn by seed.

    The content already is as blurred as its own frame, so only the difference to the moment's blur is added.
    An estimator's error that is the same for both cancels out. measured: where the video's kernels lie, which
    blur the content instead wherever a moment has any; they were measured between blurry and sharp.
    """
    video, size = frame.video, original.shape[:2]
    windows = drawn_moments(frame, conditions, config.moved.copies, seed)
    # All windows, not only those of `copies`: the content's noise level is estimated from all of them.
    fields, noise = motion_and_noise(frame, boxes, windows, reader, conditions, config, size)
    present = conditions.read("condition", video, frame.position, (3, *size))[2]
    patches = []
    for box in boxes:
        own = float(present[box[0] : box[2], box[1] : box[3]].mean())
        content = without_noise(original, min(noise[box].values()))
        for copy in copies:
            placed = poses([fields[box][position] for position in windows[copy]])
            for index, (position, pose) in enumerate(zip(windows[copy], placed)):
                field = fields[box][position]
                patches.append(
                    Patch(
                        frame,
                        copy,
                        index,
                        box,
                        moved(content, pose),
                        partial(moment_condition, conditions, video, position, size, field, own),
                        noise[box][position],
                        moved(original, pose) if config.moved.blend_still else None,
                        content if config.moved.denoise_target else None,
                        measured and measured.at(video, position, box),
                    )
                )
    return patches


def drawn_moments(frame: Frame, conditions: Conditions, copies: int, seed: int) -> list[range]:
    """For each copy the five positions of the moment that the frame's content is to look like."""
    choices, windows = conditions.moments(frame.video), []
    for copy in range(copies):
        rng = numpy_generator(seed, "moment", frame.video.name, frame.name, copy)
        moment = int(rng.choice(choices))
        windows.append(range(moment - REACH, moment + REACH + 1))
    return windows


def motion_and_noise(
    frame: Frame,
    boxes: Sequence[Box],
    windows: Sequence[range],
    reader: FrameReader,
    conditions: Conditions,
    config: BlurringConfig,
    size: tuple[int, int],
) -> tuple[dict[Box, dict[int, np.ndarray]], dict[Box, dict[int, float]]]:
    """By box and position: the affine motion (2, 3) and the noise level in grey levels.

    Only these few numbers are kept of a moment, because there may be as many as the video has frames.
    """
    fields: dict[Box, dict[int, np.ndarray]] = {box: {} for box in boxes}
    noise: dict[Box, dict[int, float]] = {box: {} for box in boxes}
    for position in sorted({position for window in windows for position in window}):
        motion = conditions.read("motion", frame.video, position, (2, *size))
        image = reader.read(frame.video, position) if config.renoise else None
        for box in boxes:
            fields[box][position] = patch_motion(motion, box)
            noise[box][position] = noise_of(config, image, box)
    return fields, noise


def moment_condition(
    conditions: Conditions,
    video: Video,
    position: int,
    size: tuple[int, int],
    field: np.ndarray,
    own: float,
) -> np.ndarray:
    """The condition (3, H, W) of content that is blurred by `own` pixels already and moves by `field` at a
    moment."""
    magnitude = conditions.read("condition", video, position, (3, *size))[2]
    return moving_condition(field, np.maximum(magnitude - own, 0))
