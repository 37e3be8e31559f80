"""Which pictures of a five-frame window are blurred (blurring.window), what that needs, and in which
portions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from BlurringModel.reblurring.conditions import Conditions
from BlurringModel.reblurring.measured import Measured
from BlurringModel.reblurring.moments import REACH
from BlurringModel.reblurring.moved import moved_patches
from BlurringModel.reblurring.patches import Frame, Patch, own_patches
from common.config import BlurringConfig
from common.errors import UserError
from common.stage import groups
from common.videos import FrameReader, Video

COPIES_TOGETHER = 8
"""About how many windows of a frame are in memory together (blurring.window moved)."""


@dataclass(frozen=True)
class Portion:
    """Shots that are in memory together, and the frames' pictures as they are."""

    originals: dict[Frame, np.ndarray]
    patches: list[Patch]


def check_window(
    config: BlurringConfig,
    conditions: Conditions,
    frames: Sequence[Frame],
    videos: list[Video],
) -> None:
    """UserError where blurring.window needs what stage 2 has not made, before any work is done."""
    if config.window == "all":
        for frame in frames:
            check_neighbours(frame, conditions)
    if config.window == "moved":
        conditions.check_complete(videos)
        for video in dict.fromkeys(frame.video for frame in frames):
            if not conditions.moments(video):
                raise UserError(
                    "blurring.window: moved needs five successive frames with condition and motion, "
                    f"{video.name} has none; set dbcgm.frames to all and dbcgm.motion to true (a video needs 7 "
                    "frames, 9 with dbcgm.trajectory five_frame), and run python DBCGM/main.py again"
                )


def check_neighbours(frame: Frame, conditions: Conditions) -> None:
    """UserError unless all five frames of the frame's window have a condition."""
    for position in range(frame.position - REACH, frame.position + REACH + 1):
        if not (
            0 <= position < len(frame.video.frames)
            and conditions.path("condition", frame.video, position).exists()
        ):
            raise UserError(
                "blurring.window: all needs the condition of every frame of a window, "
                f"{frame.video.name}/{frame.name} lacks some; set dbcgm.frames to all and rsdm.border to "
                "3 (4 with dbcgm.trajectory five_frame), and run the stages before again"
            )


def portions(
    unit: Sequence[Frame],
    config: BlurringConfig,
    reader: FrameReader,
    conditions: Conditions,
    regions: Path,
    seed: int,
    measured: Measured | None = None,
) -> list[Callable[[], Portion]]:
    """What makes the portions of a unit, in order.

    With blurring.window moved a frame has many pictures. A portion then holds one frame and a limited number
    of its windows, so that memory does not grow with blurring.moved.copies. regions: stage 1's file, for
    messages.
    measured: where kernels lie (blurring.model measured).
    """
    make = partial(
        portion,
        config=config,
        reader=reader,
        conditions=conditions,
        regions=regions,
        seed=seed,
        measured=measured,
    )
    if config.window != "moved":
        return [partial(make, unit, range(1))]
    together = config.batch_size * max(1, COPIES_TOGETHER // config.batch_size)
    # Window 0 is in the last portion: with it comes the picture by which a frame counts as done.
    copies = groups(list(range(config.moved.copies)), together)[::-1]
    return [partial(make, [frame], some) for frame in unit for some in copies]


def portion(
    frames: Sequence[Frame],
    copies: Sequence[int],
    config: BlurringConfig,
    reader: FrameReader,
    conditions: Conditions,
    regions: Path,
    seed: int,
    measured: Measured | None = None,
) -> Portion:
    """Read the frames and make the patches of their windows number `copies`."""
    originals = {frame: reader.read(frame.video, frame.position) for frame in frames}
    patches = []
    for frame, original in originals.items():
        height, width = original.shape[:2]
        if any(box[2] > height or box[3] > width for box in frame.boxes):
            raise UserError(
                f"{regions}: a box of {frame.video.name}/{frame.name} lies outside the frame of {width} x "
                f"{height} pixels"
            )
        boxes = ((0, 0, height, width),) if config.area == "frame" else frame.boxes
        if config.window == "moved":
            patches += moved_patches(
                frame, original, boxes, copies, reader, conditions, config, seed, measured
            )
        else:
            patches += own_patches(frame, original, boxes, reader, conditions, config, measured, seed)
    return Portion(originals, patches)
