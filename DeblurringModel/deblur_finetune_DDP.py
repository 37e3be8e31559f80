"""Stage 4, first half: fine-tune the deblurring network on the pairs that stages 1 to 3 made.

Reads    <output>/rsdm/sharp_regions.json, <output>/blurring/<video>/reblur, <dataset.root>, deblurring.weights
Writes   <output>/deblurring/<model>/weights/{last,best,epoch_N}.pth and log.csv (below <video>/ with scope video)
         <output>/deblurring/<model>/aligned   what is borrowed (deblurring.pairs aligned, both)
         <output>/deblurring/<model>/rehearsal/<video>/<frame>.png   unadapted, frames with regions (rehearsal, targets)
Usage    python DeblurringModel/deblur_finetune_DDP.py --config configs/demo.yaml
         torchrun --nproc_per_node=2 DeblurringModel/deblur_finetune_DDP.py --config configs/demo.yaml
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from torch import nn

from common.checkpoints import load_checkpoint, sha256
from common.layout import ALIGNED, BEST, LAST, REHEARSAL, SETTINGS
from common.regions_file import Region, read_regions
from common.runtime.entry import run
from common.stage import Stage, open_stage, section_settings
from common.training.frame_cache import FrameCache
from common.training.loop import Task, fit
from common.videos import Video
from DeblurringModel.adapted import is_finished
from DeblurringModel.borrowing import borrow
from DeblurringModel.checks import BY_GROUND_TRUTH, check_stage
from DeblurringModel.deblur_inference import infer
from DeblurringModel.fine_tuning import (
    chosen_pairs,
    epochs_and_steps,
    ground_truth_psnr,
    middle_loss,
    pairs_psnr,
    plan_of,
)
from DeblurringModel.models import Spec
from DeblurringModel.pair_sources import BORROWED, borrowed_pairs, pairs_of, restores_regions
from DeblurringModel.pairs import Pair, Pairs
from DeblurringModel.variants import (
    load_network,
    model_spec,
    network_layout,
    weights_folder,
    work_name,
)

INFERENCE_KEYS = ("borders", "clip_length", "clip_overlap", "tile", "tile_overlap")
FUSION_KEYS = ("fusion", "aligned")
"""Settings of what is done with the result, and of borrowing, whose own record is what a training with aligned
pairs is made from."""
NOTHING = {
    "reblurred": "no sharp region",
    "ground_truth": "no sharp region",
    "aligned": "no aligned pair",
    "both": "no sharp region and no aligned pair",
}
"""Why a video has nothing to learn from, by deblurring.pairs."""


def main() -> None:
    """Fine-tune one network for all videos, or one for each."""
    stage = open_stage(__doc__.splitlines()[0])
    finetune(stage)
    stage.say_report()


def finetune(stage: Stage) -> None:
    """Fine-tune as configured; a finished training is left alone, an interrupted one goes on."""
    config, layout, own = stage.config.deblurring, stage.layout, network_layout(stage.config)
    check_stage(stage)
    restores = restores_regions(config)
    of_regions = config.pairs != "aligned" or restores
    regions = read_regions(layout.sharp_regions, stage.videos) if of_regions else []
    made_from, aligned = {}, {}
    if config.pairs in BORROWED:
        made_from["aligned"] = sha256(borrow(stage) / SETTINGS)
        aligned = borrowed_pairs(
            stage.videos, own.variant(ALIGNED), config.pairs, config.crop_size, stage.say
        )
    if config.pairs != "aligned":
        made_from["blurring"] = sha256(layout.blurring / SETTINGS)
    if of_regions:
        made_from["sharp_regions"] = sha256(layout.sharp_regions)
    left_out = FUSION_KEYS if restores else (*FUSION_KEYS, *INFERENCE_KEYS)
    stage.claim(
        own.weights,
        {
            "deblurring": section_settings(config, without=left_out),
            **made_from,
            "precision": stage.precision,
            "seed": stage.config.runtime.seed,
        },
        work_name(own, "fine-tuning"),
    )
    if restores:
        chosen = {
            video.name: [region.position for region in regions if region.video.name == video.name]
            for video in stage.videos
        }
        infer(stage, REHEARSAL, chosen)
    learn(stage, regions, aligned)


def learn(stage: Stage, regions: list[Region], aligned: dict[str, list[Pair]]) -> None:
    """Fine-tune the network, or one for each video. aligned: the aligned pairs by the video's name, where the
    configuration asks for them."""
    config, blurring = stage.config.deblurring, stage.layout.blurring
    layout = network_layout(stage.config)
    restored = layout.variant(REHEARSAL)
    if config.scope == "dataset":
        every = [pair for own in aligned.values() for pair in own]
        made = pairs_of(config, regions, blurring, restored, every)
        finetune_on(stage, regions, made, stage.videos, layout.weights, "stage 4, fine-tuning")
        return
    for video in stage.videos:
        own = [region for region in regions if region.video.name == video.name]
        made = pairs_of(config, own, blurring, restored, aligned.get(video.name, []))
        if made:
            label = f"stage 4, fine-tuning {video.name}"
            folder = weights_folder(layout, config.scope, video.name)
            finetune_on(stage, own, made, [video], folder, label)
        else:
            stage.say(f"{video.name}: {NOTHING[config.pairs]}, restored with the unadapted network")


def finetune_on(
    stage: Stage,
    regions: list[Region],
    made: list[Pair],
    videos: list[Video],
    folder: Path,
    label: str,
) -> None:
    """Fine-tune one network on the pairs `made` of the videos, and rehearse on their regions."""
    config, runtime, world = stage.config.deblurring, stage.config.runtime, stage.world
    spec = model_spec(stage.config)
    rehearsal = network_layout(stage.config).variant(REHEARSAL)
    learned, held_out = chosen_pairs(config, regions, made, rehearsal, runtime.seed)
    frames = FrameCache(world.memory_share(runtime.cache_gib))
    pairs = Pairs(learned, config.crop_size, runtime.seed, frames)
    epochs, per_epoch = epochs_and_steps(config, len(pairs))
    steps = epochs * per_epoch
    last = folder / LAST
    # A file without its step is no state that a training left.
    done = world.main and last.exists() and is_finished({"step": 0, **load_checkpoint(last)}, steps)
    if world.gather(done)[0]:
        return
    network = load_network(stage.config, config.weights, world.device)
    validate, best = validation(stage, spec, videos, held_out, frames)
    task = Task(
        lambda items: pairs.batch(items, config.batch_size),
        middle_loss(config, spec),
        validate,
        best,
        shared=True,
    )
    plan = plan_of(config, runtime, spec, epochs, per_epoch, label, validate_first=bool(held_out))
    metadata = {"network": config.model, "architecture": dict(config.architecture)}
    metadata |= {"epochs": epochs, "steps_per_epoch": per_epoch}
    with stage.timed(work_name(network_layout(stage.config), "fine-tuning")):
        log = fit(network, task, plan, folder, world, metadata)
    made = f"{steps} steps"
    if log[-1]["step"] < steps:
        made = (
            f"{log[-1]['step']} of {steps} steps, no better state in the last {config.patience} validations"
        )
    stage.say(f"stage 4: {made} ({epochs} epochs of {len(pairs)} pairs) -> {folder}")
    if held_out and load_checkpoint(folder / BEST)["step"] == 0:
        stage.say(
            f"stage 4: no state was better on the {len(held_out)} held-out pairs than the unadapted network, which is "
            "what is used"
        )


def validation(
    stage: Stage,
    spec: Spec,
    videos: list[Video],
    held_out: list[Pair],
    frames: FrameCache,
) -> tuple[Callable[[nn.Module], dict[str, float]] | None, str]:
    """(network -> its figure by name, the name), as deblurring.select says; (None, "") for the last state."""
    config, world = stage.config.deblurring, stage.world
    if config.select in BY_GROUND_TRUTH:
        name = "psnr_ground_truth"
        return lambda net: {name: ground_truth_psnr(net, spec, videos, stage.config, world, stage.say)}, name
    if held_out:
        name, held = "psnr_held_out", Pairs(held_out, config.crop_size, stage.config.runtime.seed, frames)
        return lambda net: {name: pairs_psnr(net, spec, held, config.channel_order, world)}, name
    return None, ""


if __name__ == "__main__":
    run(main)
