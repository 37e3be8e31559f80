"""How well a deblurring network restores frames of a data set whose truth is known."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import nn

from common.images import pad_to_multiple, to_image, to_tensor
from common.metrics import psnr
from common.training.recipe import validation_frames
from common.training.source_domain import SourceDomain
from DeblurringModel import models

FRAMES = 32
"""Frames that are looked at, spread evenly over the data set."""
REACH = 2
"""Frames before and after that the network sees."""


@dataclass(frozen=True)
class Restored:
    """A frame: blurry, restored and sharp, uint8 RGB (H, W, 3), of a video, and its name."""

    blurry: np.ndarray
    restored: np.ndarray
    sharp: np.ndarray
    video: str
    frame: str

    def figures(self) -> dict[str, float]:
        """PSNR in dB of the restored and of the blurry frame against the sharp one."""
        return {"psnr": psnr(self.restored, self.sharp), "psnr_blurry": psnr(self.blurry, self.sharp)}


def restored_frames(
    network: nn.Module,
    spec: models.Spec,
    domain: SourceDomain,
    count: int = FRAMES,
) -> Iterator[Restored]:
    """A fixed selection of `count` frames, each restored as the middle of five, whole."""
    device = next(network.parameters()).device
    for video, position in validation_frames(domain, count, margin=REACH):
        name = domain.videos[video][position]
        clip = window_at(domain, "Blur/RGB", video, position)
        sharp = domain.frame("Sharp/RGB", video, name)
        height, width = sharp.shape[:2]
        padded = pad_to_multiple(to_tensor(clip)[None].to(device), spec.multiple, spec.minimum)
        frame = models.restore(network, spec, padded)[0, REACH - spec.past, :, :height, :width]
        yield Restored(clip[REACH], to_image(frame), sharp, video, name)


def window_at(domain: SourceDomain, kind: str, video: str, position: int) -> np.ndarray:
    """The frame at a position of a video, with those around it: uint8 RGB (2 REACH + 1, H, W, 3)."""
    names = domain.videos[video][position - REACH : position + REACH + 1]
    return np.stack([domain.frame(kind, video, name) for name in names])


def side_by_side(frames: list[Restored]) -> np.ndarray:
    """Blurry, restored, sharp, a row a frame; only those of the first one's size."""
    rows = [np.concatenate([frame.blurry, frame.restored, frame.sharp], axis=1) for frame in frames]
    return np.concatenate([row for row in rows if row.shape == rows[0].shape])
