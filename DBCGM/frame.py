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

CENTRAL = ((1, 2), (1, 0))
FIVE_FRAME = ((0, 1), (1, 2), (2, 3), (3, 4))
"""The pairs of frames whose flows a trajectory is made of, by their places among `Inputs.images`."""


@dataclass(frozen=True)
class Inputs:
    """What one frame's condition is made of."""

    images: torch.Tensor
    """The frame, in the middle of its neighbours, uint8 RGB (N, 3, H, W)."""
    magnitude: np.ndarray | None = None
    """BME's blur length (H, W) in pixels; None where the length does not come from BME."""
    neighbours: list[np.ndarray] | None = None
    """Those of the frames two before, one before, one after, two after; None: the magnitude is not adapted."""


def random_frame(inputs: Inputs, longest: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random condition float32 (3, H, W) of at most `longest` pixels, and as its motion (2, H, W) one as
    long as the blur."""
    drawn = random_condition(*inputs.images.shape[2:], longest, rng)
    return drawn, drawn[:2] * drawn[2]


def frame_condition(
    config: DbcgmConfig,
    flow: Flow,
    device: torch.device,
    inputs: Inputs,
    exposure: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The condition float32 (3, H, W) of one frame, as dbcgm.condition says (not `random`, see
    `random_frame`), and its motion float32 (2, H, W) in pixels per frame interval.

    exposure: the video's, as a share of the frame interval, where dbcgm.magnitude asks for it.
    """
    central = config.trajectory == "central"
    with torch.inference_mode():
        flows = list(flow.between(on_device(inputs.images, device), CENTRAL if central else FIVE_FRAME))
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
