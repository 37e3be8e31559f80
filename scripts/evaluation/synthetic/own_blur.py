"""How near the video's own measured kernels come to its true blur, and how near a line does."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from BlurringModel.reblurring.conditions import Conditions
from BlurringModel.reblurring.crops import Box
from BlurringModel.reblurring.measured import blocks_of, blurred, kernels_of_frames
from common.images import read_image, to_image, to_tensor
from common.metrics import psnr
from common.rendering import kernels
from common.rendering.alignment import GAMMA
from common.rendering.line_blur import line_blur
from common.videos import Video
from scripts.evaluation.synthetic.diagnosis import BLURRED, CROP

NAMES = ("sharp", "line", "measured")


def box_of(values: np.ndarray, height: int, width: int) -> Box | None:
    """A square of CROP pixels of a frame in which all blocks have a kernel, the first one from the middle on;
    None where there is none. values: the frame's kernels (R, C, K, K)."""
    known, step, side = values.sum((2, 3)) > 0, kernels.STRIDE, min(CROP, height, width)
    places = [
        (r0, c0)
        for r0 in range(0, height - side + 1, step)
        for c0 in range(0, width - side + 1, step)
        if known[blocks_of((r0, c0, r0 + side, c0 + side))].all()
    ]
    if not places:
        return None
    middle = np.array([height - side, width - side]) / 2
    r0, c0 = min(places, key=lambda place: float(np.abs(np.array(place) - middle).sum()))
    return r0, c0, r0 + side, c0 + side


def against_true_blur(
    video: Video,
    conditions: Conditions,
    blurry: Iterable[int],
) -> list[tuple[float, float, float]]:
    """PSNR in dB against the true blurry frame, of one crop a frame of the `blurry` positions in which its blur
    could be measured: the sharp truth as it is, blurred along lines as stage 2 found them, and by the measured
    kernels."""
    rows = []
    for position, values in kernels_of_frames(
        lambda at: read_image(video.frames[at]), len(video.frames), sorted(blurry)
    ):
        frame, sharp = read_image(video.frames[position]), read_image(video.sharp[position])
        box = box_of(values, *frame.shape[:2])
        if box is None or not conditions.path("condition", video, position).exists():
            continue
        condition = conditions.read("condition", video, position, (3, *frame.shape[:2]))
        line = line_blur(to_tensor(sharp)[None], torch.from_numpy(condition)[None], GAMMA)
        r0, c0, r1, c1 = box
        made = (sharp[r0:r1, c0:c1], to_image(line)[0, r0:r1, c0:c1], blurred(sharp, values, box))
        rows.append(tuple(psnr(np.ascontiguousarray(one), frame[r0:r1, c0:c1]) for one in made))
    return rows


def own_blur(
    videos: Sequence[Video],
    conditions: Conditions,
    truth: dict[tuple[str, str], np.ndarray],
) -> dict[str, float]:
    """The means of `against_true_blur` by NAMES, over the frames of all videos that are blurred by BLURRED pixels
    or more, and `frames`, how many; NaN where in none the blur could be measured. truth: true conditions (3, H,
    W) by (video name, frame name)."""
    rows = []
    for video in videos:
        blurry = [
            position
            for position, name in enumerate(video.names)
            if truth[video.name, name][2].mean() >= BLURRED
        ]
        rows += against_true_blur(video, conditions, blurry)
    means = np.mean(rows, axis=0) if rows else [float("nan")] * len(NAMES)
    return dict(zip(NAMES, map(float, means))) | {"frames": len(rows)}
