"""What stages 1 to 3 find in rendered clips, compared with the rendered truth."""

from collections.abc import Sequence

import numpy as np
import torch

from BlurringModel.id_blau.dataset import Sample
from BlurringModel.id_blau.diffusion import GaussianDiffusion
from BlurringModel.id_blau.validation import FRAMES, Reblurred, fixed_crops, reblur
from BlurringModel.reblurring.sampling import sample
from common.config import BlurringConfig, DiffusionConfig
from common.images import read_image
from common.metrics import psnr
from common.regions_file import Region
from common.training.source_domain import SourceDomain
from common.videos import Video
from DeblurringModel.pairs import Pair

LEAST_BLUR = 1.0
"""Pixels of true blur from which on a pixel's blur has a direction to be right or wrong about."""
REST = 0.1
"""Pixels of mean true blur below which a frame rests."""
BLURRED = 4.0
"""Pixels of mean true blur from which on a frame's crop is reblurred."""
CROP = 128
"""Side in pixels of the crops that are reblurred with the true condition, where frames are not smaller."""


def blur_inside(truth: dict[tuple[str, str], np.ndarray], regions: Sequence[Region]) -> np.ndarray:
    """Mean true blur in pixels of each region. truth: condition (3, H, W) by (video name, frame name)."""
    means = []
    for region in regions:
        r0, c0, r1, c1 = region.box
        means.append(truth[region.video.name, region.frame][2, r0:r1, c0:c1].mean())
    return np.array(means)


def direction_errors(truth: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """Angles in degrees, 0 to 90, between true and found direction, of the pixels blurred by LEAST_BLUR or
    more.

    Both are conditions (3, H, W); a direction is a line, because averaging over an exposure forgets the order
    of time.
    """
    blurred = truth[2] >= LEAST_BLUR
    cosine = np.abs((truth[:2, blurred] * condition[:2, blurred]).sum(axis=0))
    return np.degrees(np.arccos(np.clip(cosine, 0, 1)))


def against_truth(pairs: Sequence[Pair], videos: Sequence[Video]) -> tuple[float, float]:
    """Mean PSNR in dB inside the pairs' boxes against the sharp truth: of frames as they are, and of
    targets."""
    frames = {
        f"{video.name}/{name}": paths
        for video in videos
        for name, *paths in zip(video.names, video.frames, video.sharp)
    }
    values = []
    for pair in pairs:
        r0, c0, r1, c1 = pair.box
        frame, true, target = (read_image(path)[r0:r1, c0:c1] for path in (*frames[pair.name], pair.target))
        values.append((psnr(frame, true), psnr(target, true)))
    return tuple(np.mean(values, axis=0).tolist())


def at_rest(truth: dict[tuple[str, str], np.ndarray], videos: Sequence[Video]) -> float:
    """Mean PSNR in dB of frames that are blurred by less than REST pixels against the sharp truth, which is
    what their noise leaves; NaN where no frame rests. truth: as for `blur_inside`."""
    values = [
        psnr(read_image(frame), read_image(sharp))
        for video in videos
        for name, frame, sharp in zip(video.names, video.frames, video.sharp)
        if truth[video.name, name][2].mean() < REST
    ]
    return float(np.mean(values)) if values else float("nan")


def reblurring(network: GaussianDiffusion, domain: SourceDomain, config: BlurringConfig) -> Reblurred:
    """Crops, reblurred with the true condition, and what they are to be compared with. config: how to
    sample."""
    recipe = DiffusionConfig(
        magnitude_scale=config.magnitude_scale,
        prediction=config.prediction,
        direction=config.direction,
    )
    sides = [
        side
        for video, frames in domain.videos.items()
        for side in domain.frame("Blur/RGB", video, frames[0]).shape[:2]
    ]
    crops = blurred_crops(domain, min(CROP, *sides))
    with torch.inference_mode():
        return reblur(
            network,
            domain,
            crops,
            recipe,
            lambda condition, noise, draw: sample(network, config, condition, noise, draw),
            config.gamma,
        )


def blurred_crops(domain: SourceDomain, size: int) -> list[Sample]:
    """Crops of frames that are blurred by BLURRED pixels or more on average, because the others hardly tell
    one blur from another; crops of all frames where none is."""
    blurred = [
        sample
        for sample in fixed_crops(domain, size, every=True)
        if domain.condition(sample[0].video, sample[0].frames[0])[2].mean() >= BLURRED
    ]
    if not blurred:
        return fixed_crops(domain, size)
    chosen = np.linspace(0, len(blurred) - 1, min(FRAMES, len(blurred))).round().astype(int)
    return [blurred[index] for index in chosen]
