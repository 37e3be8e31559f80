"""What stages 1 to 3 find in rendered clips, against what the renderer knows of them."""
from collections.abc import Sequence

import numpy as np
import torch

from BlurringModel.id_blau.dataset import sharp_condition_blur
from BlurringModel.id_blau.diffusion import GaussianDiffusion, seeded_draws
from common.augmentation import Turn
from common.config import BlurringConfig, DiffusionConfig
from common.images import read_image, to_image
from common.metrics import psnr
from common.regions_file import Region
from common.seeding import derive_seed, numpy_generator
from common.source_domain import SourceDomain, Window
from common.trainers import validation_frames
from common.videos import Video
from DeblurringModel.pairs import Pair

LEAST_BLUR = 1.0
"""Pixels of true blur from which on a pixel's blur has a direction to be right or wrong about."""
REST = 0.1
CROP, CROPS = 128, 24


def blur_inside(truth: dict[tuple[str, str], np.ndarray], regions: Sequence[Region]) -> np.ndarray:
    """Mean true blur in pixels of each region. truth: condition (3, H, W) by (video name, frame name)."""
    means = []
    for region in regions:
        r0, c0, r1, c1 = region.box
        means.append(truth[region.video.name, region.frame][2, r0:r1, c0:c1].mean())
    return np.array(means)


def direction_errors(truth: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """Angles in degrees, 0 to 90, between true and found direction, of the pixels blurred by LEAST_BLUR or more.

    Both are conditions (3, H, W); a direction is a line, because averaging over an exposure forgets the order of time.
    """
    blurred = truth[2] >= LEAST_BLUR
    cosine = np.abs((truth[:2, blurred] * condition[:2, blurred]).sum(axis=0))
    return np.degrees(np.arccos(np.clip(cosine, 0, 1)))


def against_truth(pairs: Sequence[Pair], videos: Sequence[Video]) -> tuple[float, float]:
    """Mean PSNR in dB inside the pairs' boxes against the sharp truth: of frames as they are, and of targets."""
    frames = {f"{video.name}/{name}": paths for video in videos
              for name, *paths in zip(video.names, video.frames, video.sharp)}
    values = []
    for pair in pairs:
        r0, c0, r1, c1 = pair.box
        frame, true, target = (read_image(path)[r0:r1, c0:c1] for path in (*frames[pair.name], pair.target))
        values.append((psnr(frame, true), psnr(target, true)))
    return tuple(np.mean(values, axis=0).tolist())


def at_rest(truth: dict[tuple[str, str], np.ndarray], videos: Sequence[Video]) -> float:
    """Mean PSNR in dB of frames that are blurred by less than REST pixels against the sharp truth, which is what their
    noise leaves; NaN where no frame rests. truth: as for `blur_inside`."""
    values = [psnr(read_image(frame), read_image(sharp)) for video in videos
              for name, frame, sharp in zip(video.names, video.frames, video.sharp)
              if truth[video.name, name][2].mean() < REST]
    return float(np.mean(values)) if values else float("nan")


def reblurring(network: GaussianDiffusion, domain: SourceDomain, config: BlurringConfig,
               device: torch.device) -> tuple[float, float]:
    """Mean PSNR in dB of sharp crops, reblurred with the true condition, against the true blurry ones; and of the sharp
    crops as they are, the zero line. `config` says how to sample (DDIM)."""
    samples = []
    for video, position in validation_frames(domain, CROPS):
        frame = domain.videos[video][position]
        height, width = domain.frame("Blur/RGB", video, frame).shape[:2]
        size, rng = min(CROP, height, width), numpy_generator("diagnosis", video, frame)
        top, left = (int(rng.integers(side - size + 1)) for side in (height, width))
        samples.append((Window(video, (frame,), top, left, size), Turn(), rng))
    recipe = DiffusionConfig(magnitude_scale=config.magnitude_scale, prediction=config.prediction)
    blurry, given = sharp_condition_blur(samples, domain, recipe)
    draw = seeded_draws([derive_seed("diagnosis", index) for index in range(len(samples))])
    with torch.inference_mode():
        sampled = network.ddim_sample(given.to(device), draw(0, blurry.shape).to(device), config.steps, config.eta, draw)
    sharp, reblurred, true = (to_image(part + 0.5) for part in (given[:, :3], sampled.cpu(), blurry))
    return (float(np.mean([psnr(*pair) for pair in zip(reblurred, true)])),
            float(np.mean([psnr(*pair) for pair in zip(sharp, true)])))
