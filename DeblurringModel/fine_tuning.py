"""What fine-tuning learns from, by which loss, for how long, and what it is judged by."""

import math
from collections.abc import Callable

from torch import Tensor, nn

from common.config import DeblurringConfig
from common.errors import UserError
from common.images import to_image
from common.metrics import psnr
from common.stage import Stage
from common.videos import Video
from DeblurringModel import models
from DeblurringModel.evaluation import ground_truth
from DeblurringModel.losses import weighted
from DeblurringModel.pairs import Pairs
from DeblurringModel.restoring import clips_of, restored_frames


def chosen_loss(name: str | None, spec: models.Spec) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that deblurring.loss names; UserError where it cannot be loaded."""
    try:
        return models.adaptation_loss(name, spec)
    except ValueError as error:
        raise UserError(str(error)) from None


def epochs_and_steps(config: DeblurringConfig, pairs: int) -> tuple[int, int]:
    """(epochs, steps in each) of a fine-tuning on so many pairs."""
    per_epoch = math.ceil(pairs / config.batch_size)
    # On one short clip ten epochs are a dozen steps; the floor leaves large data sets as published.
    return max(config.epochs, math.ceil(config.min_steps / per_epoch)), per_epoch


def interval(per_epoch: int) -> int:
    """Steps between checkpoints: every epoch, but not more often than every 50 steps on very short videos.
    Between looks at the ground truth too (deblurring.select) where deblurring.min_steps has multiplied the
    epochs."""
    return per_epoch * max(1, 50 // per_epoch)


def pairs_psnr(network: nn.Module, spec: models.Spec, pairs: Pairs, stage: Stage) -> float:
    """Mean PSNR over the pairs of the restored middle frame against the sharp patch, `Pairs.centre` crops."""
    values = []
    for index in range(len(pairs)):
        windows, sharp, *weight = pairs.centre(index)
        restored = models.restore(
            network, spec, windows.to(stage.world.device), stage.config.deblurring.channel_order
        )
        middle = windows.shape[1] // 2 - spec.past
        values.append(weighted_psnr(restored[0, middle].cpu(), sharp[0, 0], *(part[0, 0] for part in weight)))
    return sum(values) / len(values)


def weighted_psnr(restored: Tensor, sharp: Tensor, weight: Tensor | None = None) -> float:
    """PSNR in dB of (3, H, W) in [0, 1], as 8-bit pictures, of which each error counts with its weight in
    [0, 1] (as a square)."""
    if weight is None:
        return psnr(to_image(restored), to_image(sharp))
    counted = weighted(restored.clamp(0, 1), sharp, weight)
    return psnr(to_image(counted), to_image(sharp)) + 10 * math.log10(float(weight.square().mean()))


def ground_truth_psnr(network: nn.Module, spec: models.Spec, videos: list[Video], stage: Stage) -> float:
    """Mean PSNR over the frames of all videos against their ground truth. It looks at the answer: only for
    the comparison with the released code's choice of the epoch (deblurring.select best_gt, both)."""
    config, values = stage.config.deblurring, []
    for video in videos:
        clips = clips_of(video, spec, config.clip_length, config.clip_overlap, "drop")
        values += [
            psnr(picture, ground_truth(video, position, picture))
            for position, picture in restored_frames(network, spec, video, clips, stage)
        ]
    return sum(values) / len(values)
