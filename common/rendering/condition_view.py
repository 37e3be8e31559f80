"""Blur conditions as pictures: colour wheel for direction, brightness for magnitude."""

import numpy as np
import torch


def condition_picture(condition: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) colour wheel of a condition (3, H, W): hue is direction, saturation magnitude
    (relative to the largest in the picture)."""
    # Imported here, because it takes a second that no start of a stage has to wait for.
    from torchvision.utils import flow_to_image

    vectors = torch.from_numpy(np.ascontiguousarray(condition[:2] * condition[2:3], dtype=np.float32))
    return np.ascontiguousarray(flow_to_image(vectors).numpy().transpose(1, 2, 0))


def magnitude_picture(magnitude: np.ndarray, largest: float = 30.0) -> np.ndarray:
    """uint8 RGB grey (H, W, 3) of a magnitude map (H, W) in pixels; white is `largest` pixels or more."""
    grey = (np.clip(magnitude / largest, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
