"""Whether stage 4 can work with its settings: asked before anything is computed with them."""

from common.config import Config, require
from common.errors import UserError
from common.layout import SETTINGS
from common.regions_file import read_regions
from common.stage import Stage, weights_record
from common.videos import Video
from DeblurringModel.fine_tuning import chosen_loss
from DeblurringModel.inference.clips import cut
from DeblurringModel.inference.restoring import clips_of
from DeblurringModel.pair_sources import restores_regions
from DeblurringModel.pairs import HINT, check_crop, check_true
from DeblurringModel.variants import WEIGHTS_HINT, built, model_spec

BY_GROUND_TRUTH = ("best_gt", "both")


def check_settings(config: Config, processes: int) -> None:
    """UserError for settings with which stage 4 would end before its result; nothing but the weights file's
    presence is looked up."""
    deblurring = config.deblurring
    if deblurring.batch_size % processes:
        raise UserError(
            f"deblurring.batch_size: {deblurring.batch_size} cannot be divided among {processes} processes"
        )
    spec = model_spec(config)
    if deblurring.crop_size % spec.multiple or deblurring.crop_size < spec.minimum:
        raise UserError(
            f"deblurring.crop_size: {deblurring.model} needs a multiple of {spec.multiple} of at least "
            f"{spec.minimum}, found {deblurring.crop_size}"
        )
    length = deblurring.clip_length or spec.clip_length
    try:
        cut(length, spec.past, spec.future, length, "mirror", deblurring.clip_overlap)
    except ValueError as error:
        raise UserError(f"deblurring.clip_length: {error}") from None
    chosen_loss(deblurring.loss, spec)
    weights_record(require(deblurring.weights, "deblurring.weights", WEIGHTS_HINT.format(deblurring.model)))


def check_stage(stage: Stage) -> None:
    """`check_settings`, and whether all is there that fine-tuning reads: pairs of the stages before, regions
    that hold a crop, the ground truth that deblurring.select looks at. The network is built, so that keywords
    it does not take are refused too."""
    config = stage.config.deblurring
    check_settings(stage.config, stage.world.size)
    built(stage.config)
    if config.pairs != "aligned" or restores_regions(config):
        check_crop(read_regions(stage.layout.sharp_regions, stage.videos), config.crop_size)
    if config.pairs != "aligned" and not (stage.layout.blurring / SETTINGS).exists():
        raise UserError(f"{stage.layout.blurring}: no reblurred frames; {HINT}")
    check_ground_truth(stage.config, stage.videos)


def check_ground_truth(config: Config, videos: list[Video]) -> None:
    """UserError where deblurring.select or deblurring.pairs look at ground truth that a video does not have,
    or a video is too short to be looked at."""
    deblurring, spec = config.deblurring, model_spec(config)
    if deblurring.select in BY_GROUND_TRUTH:
        if not all(video.sharp for video in videos):
            raise UserError(
                f"deblurring.select: {deblurring.select} needs ground truth for every video (dataset.sharp); "
                "use last or best_pairs"
            )
        for video in videos:
            clips_of(video, spec, deblurring.clip_length, deblurring.clip_overlap, "drop")
    if deblurring.pairs == "ground_truth":
        check_true(videos)
