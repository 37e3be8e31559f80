"""The blur condition of one frame, from its neighbours and its magnitude maps: arrays in, arrays out."""

from dataclasses import dataclass

import numpy as np
import torch

from common.config import DbcgmConfig
from common.flow import Flow
from common.images import on_device
from DBCGM.ablation import flow_condition, random_condition
from DBCGM.adaptation import adapt_magnitude, condition
from DBCGM.boe import central_motion, five_frame_motion, five_frame_trajectory, orientation


@dataclass(frozen=True)
class Inputs:
    """What one frame's condition is made of."""

    place: tuple[str, int]
    """Name of the video, position of the frame."""
    images: torch.Tensor
    """The frame, in the middle of its neighbours, uint8 RGB (N, 3, H, W)."""
    magnitude: np.ndarray | None = None
    """BME's blur length (H, W) in pixels; None where the length does not come from BME."""
    neighbours: list[np.ndarray] | None = None
    """Those of the frames two before, one before, one after, two after; None: the magnitude is not adapted."""


class NearFlows:
    """The optical flows that a frame's motion is made of. With five frames each is part of four trajectories:
    it is computed once, as long as frames come in order."""

    def __init__(self, flow: Flow, device: torch.device) -> None:
        self._flow, self._device = flow, device
        self._known: dict[tuple[str, int], torch.Tensor] = {}

    def central(self, inputs: Inputs) -> list[torch.Tensor]:
        """From the frame to the next, and to the one before: (2, H, W) each, in pixels."""
        with torch.inference_mode():
            return list(self._flow.between(on_device(inputs.images, self._device), ((1, 2), (1, 0))))

    def five_frame(self, inputs: Inputs) -> list[torch.Tensor]:
        """From each of the five frames to the next: four (2, H, W), in pixels."""
        video, position = inputs.place
        starts = range(position - 2, position + 2)
        known = {}
        for index, start in enumerate(starts):
            # Each by itself: what is computed together must not depend on what is known.
            known[video, start] = self._known.get((video, start))
            if known[video, start] is None:
                images = on_device(inputs.images[index : index + 2], self._device)
                with torch.inference_mode():
                    known[video, start] = self._flow.between(images, ((0, 1),))[0]
        self._known = known
        return list(known.values())


def random_frame(inputs: Inputs, longest: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random condition float32 (3, H, W) of at most `longest` pixels, and as its motion (2, H, W) one as
    long as the blur."""
    drawn = random_condition(*inputs.images.shape[2:], longest, rng)
    return drawn, drawn[:2] * drawn[2]


def frame_condition(
    config: DbcgmConfig,
    near: NearFlows,
    inputs: Inputs,
    exposure: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The condition float32 (3, H, W) of one frame, as dbcgm.condition says (not `random`, see
    `random_frame`), and its motion float32 (2, H, W) in pixels per frame interval.

    exposure: the video's, as a share of the frame interval, where dbcgm.magnitude asks for it.
    """
    central = config.trajectory == "central"
    flows = near.central(inputs) if central else near.five_frame(inputs)
    moved = central_motion(*flows) if central else five_frame_motion(flows)
    motion = moved.float().cpu().numpy()
    if config.condition == "optical_flow":
        return flow_condition(moved), motion
    direction = (orientation(*flows) if central else five_frame_trajectory(flows)).cpu().numpy()
    if exposure is not None:
        length = np.float32(exposure) * np.hypot(*motion) + np.float32(config.magnitude_offset)
    else:
        length = adapt_magnitude(inputs.magnitude, inputs.neighbours, config.magnitude_offset)
    return condition(direction, length), motion
