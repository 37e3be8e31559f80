"""Which weights restore a video after adaptation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.checkpoints import load_checkpoint
from common.config import DeblurringConfig, require
from common.errors import UserError
from common.layout import ADAPTED_BEST_GT, ALIGNED, BASELINE, BEST, LAST, REHEARSAL, NetworkLayout
from common.regions_file import Region, read_regions
from common.stage import Stage
from common.videos import Video
from DeblurringModel.pair_sources import BORROWED, aligned_pairs
from DeblurringModel.variants import HINT, network_layout, weights_folder


def weights_of(stage: Stage, variant: str) -> dict[str, Path | None]:
    """Video name -> the weights that restore it for the result `variant`. UserError as `adapted_weights`."""
    config, layout = stage.config.deblurring, network_layout(stage.config)
    if variant in (BASELINE, REHEARSAL):
        return {video.name: config.weights for video in stage.videos}
    regions = learned_regions(stage.layout.sharp_regions, config, stage.videos)
    return {video.name: adapted_weights(layout, config, video, regions, variant) for video in stage.videos}


def adapted_weights(
    layout: NetworkLayout,
    config: DeblurringConfig,
    video: Video,
    regions: list[Region],
    variant: str,
) -> Path:
    """The adapted weights that restore `video`; the unadapted ones where it had nothing to learn from.

    regions: the regions that a training may have learned from (`learned_regions`). Raises UserError where
    fine-tuning has not been run or not come to its end.
    """
    folder = weights_folder(layout, config.scope, video.name)
    if config.scope == "video" and not _learned_from(layout, config, video, regions):
        return require(config.weights, "deblurring.weights", "GoPro-trained weights")
    last = folder / LAST
    if not last.exists():
        raise UserError(f"{last}: no adapted weights; {HINT}")
    stored = load_checkpoint(last)
    steps = stored.get("epochs", 0) * stored.get("steps_per_epoch", 0)
    if not is_finished(stored, steps):
        raise UserError(f"{last}: fine-tuning stopped after step {stored['step']} of {steps}; {HINT}")
    return folder / BEST if config.select in ("best_gt", "best_pairs") or variant == ADAPTED_BEST_GT else last


def is_finished(stored: Mapping[str, Any], steps: int) -> bool:
    """Whether the training with this last state has made its steps, or has ended as deblurring.patience says."""
    return stored.get("ended", False) or stored.get("step", steps) >= steps


def learned_regions(path: Path, config: DeblurringConfig, videos: list[Video]) -> list[Region]:
    """The regions of `path` that decide which videos have weights of their own; none where all videos share
    one network or learn from aligned pairs alone."""
    return read_regions(path, videos) if config.scope == "video" and config.pairs != "aligned" else []


def _learned_from(
    layout: NetworkLayout,
    config: DeblurringConfig,
    video: Video,
    regions: list[Region],
) -> bool:
    if any(region.video.name == video.name for region in regions):
        return True
    aligned = layout.variant(ALIGNED)
    return config.pairs in BORROWED and bool(aligned_pairs(video, aligned, config.crop_size))
