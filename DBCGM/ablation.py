"""The blur conditions that the paper's ablation (Table 2) compares with DBCGM. The paper gives few details.
Each docstring states our reading."""

import math

import numpy as np
import torch
from torch import Tensor

from DBCGM.adaptation import condition
from DBCGM.boe import unit


def flow_condition(motion: Tensor) -> np.ndarray:
    """Condition float32 (3, H, W) taken from optical flow alone: direction and length of the frame's own
    motion.

    motion: (2, H, W), pixels per frame interval. Our reading: the magnitude is that length, not estimated
    from the picture (no BME), not adapted to the neighbours, and without the released code's offset.
    """
    return condition(unit(motion).cpu().numpy(), torch.hypot(motion[0], motion[1]).cpu().numpy())


def random_condition(height: int, width: int, largest: float, rng: np.random.Generator) -> np.ndarray:
    """Condition float32 (3, height, width) of one direction and one magnitude for the whole frame.

    Our reading: the direction is uniform on the circle, the magnitude uniform in [0, `largest`] pixels. Each
    frame has one direction and one magnitude, because the blur of a camera is spatially coherent.
    """
    angle, magnitude = rng.uniform(0, 2 * math.pi), rng.uniform(0, largest)
    values = np.array([math.cos(angle), math.sin(angle), magnitude], np.float32)
    return np.broadcast_to(values[:, None, None], (3, height, width)).copy()
