"""Which pairs a fine-tuning learns from (deblurring.pairs): what stages 1 to 3 made, what was borrowed, both,
or the ground truth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.config import DeblurringConfig
from common.errors import UserError
from common.images import read_image
from common.layout import PICTURE, SOURCE, WEIGHT, borrowed_file
from common.regions_file import Region
from common.videos import Video
from DeblurringModel.borrowing import THIS_FRAME
from DeblurringModel.pairs import (
    LEAST_WEIGHT,
    REACH,
    NothingToLearn,
    Pair,
    crop_shares,
    frames_around,
    reblurred_pairs,
    true_pairs,
)
from DeblurringModel.variants import HINT

BORROWED, REBLURRED, TRUE = ("aligned", "both"), ("reblurred", "both"), "ground_truth"
"""Values of deblurring.pairs, by what they take."""


def aligned_pairs(video: Video, aligned: Path, crop_size: int) -> list[Pair]:
    """Pairs of the video's real blur: each window whose middle frame borrowed enough for a crop, with what it
    borrowed, below the folder `aligned`, as its target and how far that is to be trusted as its weight.

    Raises UserError for frames that nothing was borrowed for yet.
    """
    pairs = []
    for position in range(REACH, len(video.frames) - REACH):
        target, weight, source = (
            borrowed_file(aligned, kind, *video.at(position)) for kind in (PICTURE, WEIGHT, SOURCE)
        )
        if not weight.exists():
            raise UserError(f"{weight}: missing; {HINT}")
        trust = read_image(weight)[..., 0]
        height, width = trust.shape
        if min(height, width) < crop_size or crop_shares(trust, crop_size).max() < LEAST_WEIGHT:
            continue
        sharp = position + main_offset(read_image(source)[..., 0], trust)
        if not 0 <= sharp < len(video.frames):
            raise UserError(f"{source}: names no frame; run the stage again with --overwrite")
        pairs.append(
            Pair(
                frames_around(video, position),
                target,
                (0, 0, height, width),
                f"{video.name}/{video.names[position]}",
                weight,
                f"{video.name}/{video.names[sharp]}",
            )
        )
    return pairs


def main_offset(source: np.ndarray, weight: np.ndarray) -> int:
    """How many frames later the one is from which most was borrowed; source, weight: as written, uint8 (H,
    W)."""
    return int(np.bincount(source[source > 0], weight[source > 0], 256).argmax()) - THIS_FRAME


def pairs_of(
    config: DeblurringConfig,
    regions: list[Region],
    blurring: Path,
    restored: Path,
    aligned: list[Pair],
) -> list[Pair]:
    """The pairs that deblurring.pairs asks for, of the given regions, and `aligned`; may be empty.

    blurring: the folder of stage 3's results. restored: that of the unadapted results on the frames with regions.
    """
    if config.pairs == TRUE:
        return true_pairs(regions)
    if config.pairs not in REBLURRED:
        return aligned
    targets = restored if config.targets == "restored" else None
    return reblurred_pairs(regions, blurring, targets) + aligned


def restores_regions(config: DeblurringConfig) -> bool:
    """Whether a fine-tuning needs the unadapted results on the frames with regions."""
    targets = config.targets == "restored" and config.pairs in REBLURRED
    return targets or (config.rehearsal > 0 and config.pairs != TRUE)


def borrowed_pairs(
    videos: list[Video],
    aligned: Path,
    kind: str,
    crop_size: int,
    say: Callable[[str], None],
) -> dict[str, list[Pair]]:
    """The aligned pairs of each video, by its name; says which have none.

    aligned: the folder of what was borrowed. kind: deblurring.pairs. Raises NothingToLearn where no video has
    any and there are no others (`kind` aligned).
    """
    found = {video.name: aligned_pairs(video, aligned, crop_size) for video in videos}
    reason = f"no frame borrows enough for a crop of {crop_size} pixels"
    if kind == "aligned" and not any(found.values()):
        raise NothingToLearn(
            f"deblurring.pairs: aligned, but in no video there is one: {reason} from its neighbours; use both "
            "or reblurred, or raise deblurring.aligned.reach"
        )
    for name in (name for name, pairs in found.items() if not pairs):
        rest = "; only its reblurred pairs are learned from" if kind == "both" else ""
        say(f"{name}: no aligned pair, {reason}{rest}")
    return found
