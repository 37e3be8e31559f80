"""Stage 4, second half: restore whole videos with the network before (baseline) or after adaptation
(adapted).

With deblurring.select both there are two adapted results, `adapted` and `adapted_best_gt`.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, and for `adapted` <output>/deblurring/<model>/weights
Writes   <output>/deblurring/<model>/<baseline|adapted|adapted_best_gt>/<video>/<frame>.png
Usage    python DeblurringModel/deblur_inference.py --config configs/demo.yaml --variant adapted
         torchrun --nproc_per_node=2 DeblurringModel/deblur_inference.py --config configs/demo.yaml
"""

import argparse
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from common.checkpoints import sha256
from common.images import write_image
from common.layout import ADAPTED, ALIGNED, BASELINE, FUSED, REHEARSAL
from common.runtime.entry import run
from common.stage import Stage, open_stage, section_settings, weights_record
from common.videos import Video
from DeblurringModel.adapted import weights_of
from DeblurringModel.borrowing import borrow
from DeblurringModel.fused import fuse
from DeblurringModel.inference.clips import block
from DeblurringModel.inference.restoring import clips_of, restored_frames
from DeblurringModel.variants import (
    adapted_variants,
    load_network,
    model_spec,
    network_layout,
    work_name,
)

TRAINING_KEYS = (
    "epochs",
    "min_steps",
    "batch_size",
    "crop_size",
    "pairs",
    "rehearsal",
    "fusion",
    "aligned",
    "loss",
    "optimizer",
    "weight_decay",
    "learning_rate",
    "min_learning_rate",
    "gradient_clip",
    "scope",
    "select",
    "keep_every",
)
"""Settings of the fine-tuning: inference depends on them through the weights alone."""


def main() -> None:
    """Restore all videos with one or both sets of weights."""
    stage = open_stage(__doc__.splitlines()[0], _arguments)
    adapted = adapted_variants(stage.config.deblurring)
    wanted = stage.options.variant
    variants = {BASELINE: (BASELINE,), "both": (BASELINE, *adapted), ALIGNED: ()}
    results = {variant: infer(stage, variant) for variant in variants.get(wanted, adapted)}
    if wanted in (ALIGNED, FUSED):
        borrow(stage)
    if wanted == FUSED:
        fuse(stage, {video.name: results[ADAPTED] / video.name for video in stage.videos})
    stage.say_report()


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--variant",
        choices=("baseline", "adapted", "both", ALIGNED, FUSED),
        default="adapted",
        help="with the weights from before or after adaptation, or both; aligned: what is borrowed, without a "
        "network; fused: the adapted result with it",
    )


def infer(stage: Stage, variant: str, only: Mapping[str, Collection[int]] | None = None) -> Path:
    """Restore every video; returns the folder. Frames that exist are not made again.

    only: video name -> positions of the frames wanted; None: all frames of all videos.
    """
    config = stage.config.deblurring
    # Report an impossible interface before anything else.
    model_spec(stage.config)
    layout = network_layout(stage.config)
    folder = layout.variant(variant)
    sources = weights_of(stage, variant)
    if variant in (BASELINE, REHEARSAL):
        weights = weights_record(config.weights)
    else:
        weights = {name: sha256(path) for name, path in sources.items()}
    settings = section_settings(config, without=("weights", *TRAINING_KEYS))
    stage.claim(
        folder,
        {
            "deblurring": settings,
            "weights": weights,
            "precision": stage.precision,
            "dataset": stage.inputs(),
        },
        work_name(layout, variant),
    )
    for video in stage.videos:
        wanted = range(len(video.frames)) if only is None else only.get(video.name, ())
        restore(stage, sources[video.name], video, wanted, folder, variant)
    stage.world.barrier()
    stage.say(f"stage 4: {variant} -> {folder}")
    return folder


def restore(
    stage: Stage,
    weights: Path,
    video: Video,
    wanted: Collection[int],
    folder: Path,
    variant: str,
) -> None:
    """Restore the wanted frames of a video that are missing in `folder`, the folder of the variant's result.

    wanted: positions of frames. variant: the name of the result.
    """
    config, spec = stage.config.deblurring, model_spec(stage.config)
    clips = clips_of(video, spec, config.clip_length, config.clip_overlap, config.borders)
    missing = [
        clip
        for clip in block(clips, stage.world.rank, stage.world.size)
        if any(
            position in wanted and not video.restored(folder, position).exists()
            for _, position in clip.outputs
        )
    ]
    if not missing:
        return
    with stage.timed(work_name(network_layout(stage.config), variant)):
        network = load_network(stage.config, weights, stage.world.device).eval()
        bar = stage.progress(missing, f"stage 4, {variant} {video.name}", "clip")
        for position, picture in restored_frames(
            network, spec, video, bar, stage.config, stage.world.device, stage.say
        ):
            if position in wanted:
                write_image(video.restored(folder, position), picture)


if __name__ == "__main__":
    run(main)
