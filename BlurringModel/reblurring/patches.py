"""What is blurred: the frames that stage 1 chose, and each single picture that is made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from BlurringModel.reblurring.conditions import Conditions
from BlurringModel.reblurring.crops import Box, merge_overlapping
from BlurringModel.reblurring.measured import Measured
from BlurringModel.reblurring.moments import REACH
from BlurringModel.reblurring.noise import noise_level
from common.config import BlurringConfig
from common.regions_file import Region, by_frame
from common.videos import FrameReader, Video


@dataclass(frozen=True)
class Frame:
    """A frame to reblur: its place in its video, and the boxes wanted (merged where they overlap)."""

    video: Video
    position: int
    boxes: tuple[Box, ...]

    @property
    def name(self) -> str:
        """The frame's name without ending."""
        return self.video.names[self.position]

    @property
    def key(self) -> tuple[str, str]:
        """Names of the video and of the frame, without ending."""
        return self.video.at(self.position)


@dataclass(frozen=True, eq=False)
class Patch:
    """One box of one picture to be blurred.

    frame, copy, index: picture number `index` (0 .. 4, the middle one is 2) of the frame's window number `copy`.
    image: uint8 RGB (H, W, 3), the whole frame.
    condition: gives float32 (3, H, W), in pixels.
    noise: deviation that the result is to have, in grey levels.
    still: `image` with its own noise, where blurring.moved.blend_still asks for it.
    kernels: gives the blocks' kernels (R, C, K, K) by which the box is blurred instead of by the condition
    (blurring.model measured), where there are any.
    target: the whole frame that the box was cut from without its noise, where blurring.moved.denoise_target
    asks for it.
    """

    frame: Frame
    copy: int
    index: int
    box: Box
    image: np.ndarray
    condition: Callable[[], np.ndarray]
    noise: float
    still: np.ndarray | None = None
    target: np.ndarray | None = None
    kernels: Callable[[], np.ndarray] | None = None

    @property
    def identity(self) -> tuple[str | int, ...]:
        """What the patch's random numbers depend on, beside the seed."""
        own = self.frame.key
        return own if (self.copy, self.index) == (0, REACH) else (*own, self.copy, self.index)


def frames_to_blur(regions: Sequence[Region]) -> list[Frame]:
    """Each frame once, with all its boxes."""
    return [
        Frame(found[0].video, position, tuple(merge_overlapping([region.box for region in found])))
        for (_, position), found in by_frame(regions).items()
    ]


def own_patches(
    frame: Frame,
    original: np.ndarray,
    boxes: Sequence[Box],
    reader: FrameReader,
    conditions: Conditions,
    config: BlurringConfig,
    measured: Measured | None = None,
    seed: int = 0,
) -> list[Patch]:
    """The frame's boxes with its own condition; with blurring.window all also those of its four neighbours.

    measured: where the video's kernels lie, with which the boxes look as at another moment, drawn by seed.
    original: uint8 RGB (H, W, 3), the frame. Raises UserError where a condition is missing.
    """
    steps = range(-REACH, REACH + 1) if config.window == "all" else (0,)
    patches = []
    drawn = {box: measured and measured.drawn(frame.video, frame.name, box, seed) for box in boxes}
    for step in steps:
        position = frame.position + step
        image = original if step == 0 else reader.read(frame.video, position)
        condition = conditions.read("condition", frame.video, position, (3, *original.shape[:2]))
        given = partial(np.asarray, condition)
        for box in boxes:
            noise, moment = noise_of(config, image, box), drawn[box]
            kernels = None if moment is None else measured.at(frame.video, moment + step, box)
            patches.append(Patch(frame, 0, REACH + step, box, image, given, noise, kernels=kernels))
    return patches


def noise_of(config: BlurringConfig, image: np.ndarray | None, box: Box) -> float:
    """The noise level inside the box, where blurring.renoise asks for it (`image` is not read
    otherwise)."""
    return noise_level(image[box[0] : box[2], box[1] : box[3]]) if config.renoise else 0.0
