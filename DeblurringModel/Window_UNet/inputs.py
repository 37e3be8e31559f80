"""What the network sees of a window: its frames, moved to where the middle one shows the same things, their motion, and
the middle frame blurred once more along that motion."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTHING = 1.0
"""Deviation in pixels of the Gaussian before the flow is estimated: noise is no motion."""
SHARE, SAMPLES, TIMES = 0.6, 5, 3
"""The middle frame is blurred again along this share of the motion from frame to frame, a usual exposure, by the mean
of so many samples, one to so many times."""
MOTION_SCALE = 16.0
"""Pixels of motion that are given to the network as 1."""
LEAST_SIDE = 32
"""Pixels; smaller pictures are enlarged at their borders first, which OpenCV's estimator needs."""


@torch.compiler.disable
@torch.no_grad()
def seen(window: Tensor) -> Tensor:
    """Windows (B, T, 3, H, W), pixel / 255 - 0.5 -> all that the network sees of them, (B, channels(T), H, W).

    The difference between a frame and the same frame blurred again, and again, is what a deconvolution adds (van
    Cittert, 1931): the network need not learn how to blur along a motion, only how much of which to add. No gradient
    flows through any of it.
    """
    frames, flow = aligned_to_middle(window)
    middle = window.shape[1] // 2
    before, after = flow[:, middle - 1], flow[:, middle + 1]
    again = reblurred(window[:, middle].float(), SHARE * (after - before) / 2)
    added = (again - window[:, middle, None]).flatten(1, 2)
    motion = torch.cat([before, after], dim=1) / MOTION_SCALE
    return torch.cat([frames.flatten(1, 2), motion, added], dim=1)


def channels(frames: int) -> int:
    """Channels of what is seen of a window of so many frames."""
    return 3 * frames + 4 + 3 * TIMES


def reblurred(picture: Tensor, path: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) blurred once, twice, ... along straight paths (B, 2, H, W) in pixels:
    (B, TIMES, 3, H, W)."""
    # The sample in the middle of the path is the picture itself.
    places = [step / (SAMPLES - 1) - 0.5 for step in range(SAMPLES) if 2 * step != SAMPLES - 1]
    results = []
    for _ in range(TIMES):
        picture = (picture + sum(_sampled(picture, place * path, "bilinear") for place in places)) / SAMPLES
        results.append(picture)
    return torch.stack(results, dim=1)


def aligned_to_middle(window: Tensor) -> tuple[Tensor, Tensor]:
    """Windows (B, T, 3, H, W), pixel / 255 - 0.5 -> the same, each frame as it is seen from the middle one, and the
    flow (B, T, 2, H, W) in pixels from the middle frame to each.

    OpenCV's dense inverse search (Kroeger et al., ECCV 2016) on 8-bit grey pictures, on the CPU wherever the network
    is; bicubic sampling, which hardly blurs.
    """
    grey = _grey(window)
    middle = window.shape[1] // 2
    flows = np.zeros((*grey.shape, 2), np.float32)
    for sample, pictures in enumerate(grey):
        for frame, picture in enumerate(pictures):
            if frame != middle:
                flows[sample, frame] = _flow(pictures[middle], picture)
    flow = torch.from_numpy(flows).permute(0, 1, 4, 2, 3).to(window.device)
    moved = _sampled(window.flatten(0, 1).float(), flow.flatten(0, 1), "bicubic")
    return moved.unflatten(0, window.shape[:2]), flow


def _grey(window: Tensor) -> np.ndarray:
    """uint8 (B, T, H, W), smoothed."""
    pictures = ((window.float() + 0.5) * 255).round().clamp(0, 255).to("cpu", torch.uint8)
    grey = [
        cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), SMOOTHING)
        for picture in pictures.flatten(0, 1).permute(0, 2, 3, 1).contiguous().numpy()
    ]
    return np.stack(grey).reshape(*window.shape[:2], *window.shape[-2:])


def _flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(H, W, 2) float32, right and down: first(p) = second(p + flow(p))."""
    height, width = first.shape
    below, beside = max(0, LEAST_SIDE - height), max(0, LEAST_SIDE - width)
    if below or beside:
        first, second = (
            cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_REPLICATE)
            for picture in (first, second)
        )
    # A new estimator each time: OpenCV's keeps the scales chosen for an earlier, smaller picture.
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return estimator.calc(first, second, None)[:height, :width]


def _sampled(pictures: Tensor, flow: Tensor, mode: str) -> Tensor:
    """Pictures (N, 3, H, W) at p + flow(p); beyond the border the nearest pixel."""
    height, width = pictures.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None]
    columns = torch.arange(width, device=flow.device, dtype=torch.float32)
    x = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(pictures, grid, mode=mode, padding_mode="border", align_corners=True)
