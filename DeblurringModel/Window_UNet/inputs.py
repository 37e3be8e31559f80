"""What the network sees of a window: its frames, moved to where the middle one shows the same things, their motion, and
the middle frame blurred once more along that motion."""

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from common.flow import DisFlow

FLOW = DisFlow(cv2.DISOPTICAL_FLOW_PRESET_FAST, smoothing=1.0)
"""Smoothed, because noise is no motion."""
SHARE, SAMPLES, TIMES = 0.6, 5, 3
"""The middle frame is blurred again along this share of the motion from frame to frame, a usual exposure, by the mean
of so many samples, one to so many times."""
MOTION_SCALE = 16.0
"""Pixels of motion that are given to the network as 1."""


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
    batch, frames = window.shape[:2]
    firsts, middle = range(0, batch * frames, frames), frames // 2
    pairs = [
        (first + middle, first + other) for first in firsts for other in range(frames) if other != middle
    ]
    pictures = ((window.float() + 0.5) * 255).flatten(0, 1)
    flow = pictures.new_zeros(batch * frames, 2, *pictures.shape[-2:])
    flow[[other for _, other in pairs]] = FLOW.between(pictures, pairs)
    moved = _sampled(window.flatten(0, 1).float(), flow, "bicubic")
    return moved.unflatten(0, (batch, frames)), flow.unflatten(0, (batch, frames))


def _sampled(pictures: Tensor, flow: Tensor, mode: str) -> Tensor:
    """Pictures (N, 3, H, W) at p + flow(p); beyond the border the nearest pixel."""
    height, width = pictures.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None]
    columns = torch.arange(width, device=flow.device, dtype=torch.float32)
    x = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(pictures, grid, mode=mode, padding_mode="border", align_corners=True)
