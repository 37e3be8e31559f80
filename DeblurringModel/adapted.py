"""Which weights restore a video after adaptation."""

from pathlib import Path

from common.checkpoints import load_checkpoint
from common.config import require
from common.errors import UserError
from common.layout import ADAPTED_BEST_GT, BEST, LAST
from common.regions_file import read_regions
from common.stage import Stage
from common.videos import Video
from DeblurringModel.pair_sources import BORROWED, aligned_of
from DeblurringModel.variants import HINT, weights_folder


def adapted_weights(stage: Stage, video: Video, variant: str) -> Path:
    """The adapted weights that restore `video`; the unadapted ones where it had nothing to learn from.

    Raises UserError where fine-tuning has not been run or not come to its end.
    """
    config, folder = stage.config.deblurring, weights_folder(stage, video)
    if config.scope == "video" and not _learned_from(stage, video):
        return require(config.weights, "deblurring.weights", "GoPro-trained weights")
    last = folder / LAST
    if not last.exists():
        raise UserError(f"{last}: no adapted weights; {HINT}")
    stored = load_checkpoint(last)
    steps = stored.get("epochs", 0) * stored.get("steps_per_epoch", 0)
    if stored.get("step", steps) < steps:
        raise UserError(f"{last}: fine-tuning stopped after step {stored['step']} of {steps}; {HINT}")
    return folder / BEST if config.select in ("best_gt", "best_pairs") or variant == ADAPTED_BEST_GT else last


def _learned_from(stage: Stage, video: Video) -> bool:
    regions = []
    if stage.config.deblurring.pairs != "aligned":
        every = read_regions(stage.layout.sharp_regions, stage.videos)
        regions = [region for region in every if region.video.name == video.name]
    return bool(regions) or (stage.config.deblurring.pairs in BORROWED and bool(aligned_of(stage, video)))
