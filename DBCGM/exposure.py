"""Fit the exposure of a video (dbcgm.magnitude shutter), and keep the fit in a file."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch

from common.errors import UserError
from common.flow import Flow
from common.images import on_device
from common.runtime.files import read_json, write_json
from DBCGM import shutter
from DBCGM.shutter import Fit

Read = Callable[[int], np.ndarray]
MOST_FRAMES = 24
"""Frames whose motion the line through the estimated blur lengths is fitted to."""
ASSUMED = 0.5
"""tau where the video does not determine it: half of the frame interval, the rule of film cameras."""


def fit_video(read: Read, blur: Sequence[float], flow: Flow, device: torch.device) -> Fit:
    """How long the video exposes; see `DBCGM.shutter`. read: the frame at a position, uint8 RGB (H, W, 3). blur:
    mean estimated blur of each frame in pixels."""
    curves, used = [], []
    for blurry, sharp in shutter.sharp_neighbours(blur):
        curve = _curve(read, blurry, sharp, flow, device)
        if curve is not None:
            curves.append(curve)
            used.append((blurry, sharp))
        if len(curves) == shutter.PAIRS:
            break
    if curves:
        tau, mean = shutter.from_neighbours(curves)
        return Fit(tau, "neighbours", used, list(zip(shutter.TAUS.tolist(), mean.tolist())))
    inner = np.arange(1, len(blur) - 1)
    chosen = inner[np.linspace(0, len(inner) - 1, min(MOST_FRAMES, len(inner))).round().astype(int)]
    points = [(_median_motion(read, int(t), flow, device), float(blur[t])) for t in chosen]
    tau = shutter.from_magnitudes([motion for motion, _ in points], [length for _, length in points])
    return Fit(ASSUMED, "none", [], points) if tau is None else Fit(tau, "magnitudes", [], points)


def _curve(read: Read, blurry: int, sharp: int, flow: Flow, device: torch.device) -> np.ndarray | None:
    """The pair's curve over `shutter.TAUS`, or None where too little can be compared."""
    images = [read(t) for t in (blurry - 1, blurry, blurry + 1, sharp)]
    flows = _flows(images, [(1, 2), (1, 0), (1, 3), (3, 1)], flow, device)
    motion, change = (flows[0] - flows[1]) / 2, flows[0] + flows[1]
    if not shutter.steady(motion, change):
        return None
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (images[1], images[3])]
    return shutter.pair_curve(*grey, motion, flows[2], flows[3])


def _median_motion(read: Read, position: int, flow: Flow, device: torch.device) -> float:
    images = [read(t) for t in range(position - 1, position + 2)]
    ahead, behind = _flows(images, [(1, 2), (1, 0)], flow, device)
    return float(np.median(np.hypot(*((ahead - behind) / 2))))


def _flows(
    images: Sequence[np.ndarray],
    pairs: Sequence[tuple[int, int]],
    flow: Flow,
    device: torch.device,
) -> np.ndarray:
    """Flows (P, 2, H, W) in pixels between uint8 pictures (H, W, 3)."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return flow.between(on_device(stacked, device), pairs).float().cpu().numpy()


def write_fit(path: Path, fit: Fit) -> None:
    """Keep a fit."""
    write_json(path, asdict(fit))


def read_fit(path: Path) -> Fit:
    """The fit that `write_fit` kept. UserError where the file is damaged."""
    try:
        fit = Fit(**read_json(path))
        if not 0 <= fit.tau <= 1:
            raise ValueError(fit.tau)
    except (TypeError, ValueError):
        raise UserError(
            f"{path}: not a fit of the exposure; remove it and run python DBCGM/main.py again"
        ) from None
    return fit


def in_words(fit: Fit) -> str:
    """One line that describes a fit."""
    if fit.source == "none":
        return f"has no motion that would tell its exposure: {fit.tau:.2f} of the frame interval is assumed"
    how = (
        f"{len(fit.pairs)} blurry frames with sharp neighbours"
        if fit.source == "neighbours"
        else "no sharp neighbours, a line through the estimated blur lengths"
    )
    return f"exposes {fit.tau:.2f} of the frame interval ({how})"
