"""Frames, magnitude maps and seeded random weights, made on the spot."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from BlurringModel.id_blau.diffusion import GaussianDiffusion, linear_betas
from BlurringModel.id_blau.unet import UNet
from common.flow import raft_network
from common.images import write_image
from common.videos import Video, sorted_frames
from DeblurringModel import models
from RSDM.bme.model import BlurMagnitudeEstimator
from scripts.benchmarking.workload import Workload

_STEP = 3


def frames(workload: Workload, count: int) -> np.ndarray:
    """uint8 RGB (count, H, W, 3): a smooth texture that moves to the left, with a little noise."""
    rng = np.random.default_rng(0)
    height, width = workload.height, workload.width + _STEP * count
    scene = cv2.resize(
        rng.uniform(0, 255, (height // 8, width // 8, 3)).astype(np.float32),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    return np.stack(
        [
            np.clip(
                scene[:, _STEP * index : _STEP * index + workload.width]
                + rng.normal(0, 2, (height, workload.width, 3)),
                0,
                255,
            )
            for index in range(count)
        ]
    ).astype(np.uint8)


def video(folder: Path, workload: Workload, count: int) -> Video:
    """`frames` as PNG files <folder>/Blur/RGB/<frame>.png, and Sharp/RGB alike."""
    for index, picture in enumerate(frames(workload, count)):
        for kind in ("Blur", "Sharp"):
            write_image(folder / kind / "RGB" / f"{index:08d}.png", picture)
    return Video(
        folder.name,
        tuple(sorted_frames(folder / "Blur" / "RGB")),
        tuple(sorted_frames(folder / "Sharp" / "RGB")),
    )


def magnitude_maps(workload: Workload, count: int) -> list[np.ndarray]:
    """Smooth maps float32 (H, W) that grow and shrink over time, so that a threshold search has steps to
    go."""
    rng = np.random.default_rng(1)
    small = rng.uniform(0, 0.3, (count, workload.height // 32, workload.width // 32)).astype(np.float32)
    small += np.abs(np.sin(np.arange(count, dtype=np.float32)))[:, None, None] * np.float32(0.3)
    return [
        cv2.resize(cells, (workload.width, workload.height), interpolation=cv2.INTER_CUBIC) for cells in small
    ]


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with the random weights of seed 0."""
    torch.manual_seed(0)
    return make()


def bme(workload: Workload) -> nn.Module:
    """Stage 1's network."""
    return seeded(lambda: BlurMagnitudeEstimator(**workload.bme)).eval()


def raft(workload: Workload) -> nn.Module:
    """Stage 2's network."""
    return seeded(lambda: raft_network(workload.flow)).eval()


def diffusion(workload: Workload) -> GaussianDiffusion:
    """Stage 3's network."""
    return seeded(lambda: GaussianDiffusion(UNet(**workload.unet), linear_betas())).eval()


def estrnn(workload: Workload) -> nn.Module:
    """Stage 4's network."""
    return seeded(lambda: models.build("ESTRNN", **workload.estrnn)).eval()


def write_weights(folder: Path, workload: Workload) -> None:
    """The four networks' weights as files that the stages read."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in (bme, raft, diffusion, estrnn):
        torch.save(make(workload).state_dict(), folder / f"{make.__name__}.pth")
