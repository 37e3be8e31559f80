"""Stage 4, first half: fine-tune the deblurring network on the pairs that stages 1 to 3 made.

Reads    <output>/rsdm/sharp_regions.json, <output>/blurring/<video>/reblur, <dataset.root>, deblurring.weights
Writes   <output>/deblurring/<model>/weights/{last,best,epoch_N}.pth and log.csv (below <video>/ with scope video)
         <output>/deblurring/<model>/aligned   what is borrowed (deblurring.pairs aligned, both)
         <output>/deblurring/<model>/rehearsal/<video>/<frame>.png   chosen frames, unadapted (deblurring.rehearsal)
Usage    python DeblurringModel/deblur_finetune_DDP.py --config configs/demo.yaml
         torchrun --nproc_per_node=2 DeblurringModel/deblur_finetune_DDP.py --config configs/demo.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import environment, interrupts

if __name__ == "__main__":
    environment.require()
    interrupts.end_at_once()

from torch import Tensor, nn

from common.checkpoints import load_checkpoint, sha256
from common.errors import UserError
from common.regions_file import Region, read_regions
from common.runtime.entry import run
from common.stage import Stage, open_stage, section_settings
from common.training.loop import Plan, Task, cosine, fit
from common.videos import Video
from DeblurringModel import models
from DeblurringModel.borrowing import borrow
from DeblurringModel.deblur_inference import infer
from DeblurringModel.fine_tuning import (
    chosen_loss,
    epochs_and_steps,
    ground_truth_psnr,
    interval,
    pairs_psnr,
)
from DeblurringModel.losses import weighted
from DeblurringModel.pair_sources import BORROWED, TRUE, chosen_pairs, require_aligned
from DeblurringModel.pairs import HINT, Pair, Pairs, hold_out, rehearsal_pairs
from DeblurringModel.variants import (
    REHEARSAL,
    load_network,
    model_folder,
    model_spec,
    weights_folder,
    work_name,
)

BY_GROUND_TRUTH = ("best_gt", "both")
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
    config = stage.config.deblurring
    regions_path = stage.output / "rsdm" / "sharp_regions.json"
    rehearses = config.pairs != TRUE and config.rehearsal > 0
    of_regions = config.pairs != "aligned" or rehearses
    regions = read_regions(regions_path, stage.videos) if of_regions else []
    blurring = stage.output / "blurring"
    if config.pairs != "aligned" and not (blurring / "settings.json").exists():
        raise UserError(f"{blurring}: no reblurred frames; {HINT}")
    if config.batch_size % stage.world.size:
        raise UserError(
            f"deblurring.batch_size: {config.batch_size} cannot be divided among {stage.world.size} processes"
        )
    spec = model_spec(stage.config)
    if config.crop_size % spec.multiple or config.crop_size < spec.minimum:
        raise UserError(
            f"deblurring.crop_size: {config.model} needs a multiple of {spec.multiple} of at least "
            f"{spec.minimum}, found {config.crop_size}"
        )
    if config.select in BY_GROUND_TRUTH and not all(video.sharp for video in stage.videos):
        raise UserError(
            f"deblurring.select: {config.select} needs ground truth for every video (dataset.sharp); use last "
            "or best_pairs"
        )
    made_from = {}
    if config.pairs in BORROWED:
        made_from["aligned"] = sha256(borrow(stage) / "settings.json")
        require_aligned(stage)
    if config.pairs != "aligned":
        made_from["blurring"] = sha256(blurring / "settings.json")
    if of_regions:
        made_from["sharp_regions"] = sha256(regions_path)
    stage.claim(
        model_folder(stage) / "weights",
        {
            "deblurring": section_settings(
                config, without=FUSION_KEYS if rehearses else (*FUSION_KEYS, *INFERENCE_KEYS)
            ),
            **made_from,
            "precision": stage.precision,
            "seed": stage.config.runtime.seed,
        },
        work_name(stage, "fine-tuning"),
    )
    if rehearses:
        infer(
            stage,
            REHEARSAL,
            {
                video.name: [region.position for region in regions if region.video.name == video.name]
                for video in stage.videos
            },
        )
    if config.scope == "dataset":
        finetune_on(stage, regions, stage.videos, weights_folder(stage, None), "stage 4, fine-tuning")
        return
    for video in stage.videos:
        own = [region for region in regions if region.video.name == video.name]
        if chosen_pairs(stage, own, [video]):
            finetune_on(
                stage, own, [video], weights_folder(stage, video), f"stage 4, fine-tuning {video.name}"
            )
        else:
            stage.say(f"{video.name}: {NOTHING[config.pairs]}, restored with the unadapted network")


def finetune_on(stage: Stage, regions: list[Region], videos: list[Video], folder: Path, label: str) -> None:
    """Fine-tune one network on the given regions."""
    config, runtime, spec = stage.config.deblurring, stage.config.runtime, model_spec(stage.config)
    made = chosen_pairs(stage, regions, videos)
    held_out: list[Pair] = []
    if config.select == "best_pairs":
        made, held_out = hold_out(made, runtime.seed)
    if config.pairs != TRUE:
        # None of a patch that is held out: they would show it.
        shown = {pair.source or (pair.name, pair.box) for pair in held_out}
        rehearsed = rehearsal_pairs(regions, model_folder(stage) / REHEARSAL, config.rehearsal)
        made = made + [pair for pair in rehearsed if not shown & {pair.name, (pair.name, pair.box)}]
    pairs = Pairs(made, config.crop_size, runtime.seed, runtime.cache_gib)
    epochs, per_epoch = epochs_and_steps(config, len(pairs))
    steps = epochs * per_epoch
    last = folder / "last.pth"
    if last.exists() and load_checkpoint(last).get("step", 0) >= steps:
        return
    network = load_network(stage, config.weights)

    distance = chosen_loss(config.loss, spec)

    def loss(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        windows, sharp = (models.to_range(part, spec, config.channel_order) for part in batch[:2])
        restored = models.checked(net(windows), windows, spec)
        middle = windows.shape[1] // 2 - spec.past
        return distance(weighted(restored[:, middle : middle + 1], sharp, *batch[2:]), sharp)

    def keep(step: int) -> str | None:
        epoch, rest = divmod(step, per_epoch)
        return (
            f"epoch_{epoch}.pth" if config.keep_every and not rest and not epoch % config.keep_every else None
        )

    validate, best = None, ""
    if config.select in BY_GROUND_TRUTH:
        validate, best = lambda net: {best: ground_truth_psnr(net, spec, videos, stage)}, "psnr_ground_truth"
    elif held_out:
        held = Pairs(held_out, config.crop_size, runtime.seed, runtime.cache_gib)
        validate, best = lambda net: {best: pairs_psnr(net, spec, held, stage)}, "psnr_held_out"
    task = Task(lambda items: pairs.batch(items, config.batch_size), loss, validate, best=best)
    rate = spec.learning_rate if config.learning_rate is None else config.learning_rate
    clip = spec.gradient_clip if config.gradient_clip is None else config.gradient_clip
    plan = Plan(
        steps,
        config.batch_size,
        lambda step: cosine(step // per_epoch, epochs, rate, config.min_learning_rate),
        clip,
        runtime.precision,
        runtime.seed,
        runtime.workers,
        validate_every=per_epoch if epochs == config.epochs else interval(per_epoch),
        save_every=interval(per_epoch),
        validate_first=bool(held_out),
        keep=keep,
        label=label,
        section="deblurring",
        compile=runtime.compile,
        optimizer=config.optimizer or "adam",
        weight_decay=config.weight_decay,
    )
    with stage.timed(work_name(stage, "fine-tuning")):
        fit(
            network,
            task,
            plan,
            folder,
            stage.world,
            {
                "network": config.model,
                "architecture": dict(config.architecture),
                "epochs": epochs,
                "steps_per_epoch": per_epoch,
            },
        )
    stage.say(f"stage 4: {steps} steps ({epochs} epochs of {len(pairs)} pairs) -> {folder}")
    if held_out and load_checkpoint(folder / "best.pth")["step"] == 0:
        stage.say(
            f"stage 4: no state was better on the {len(held_out)} held-out pairs than the unadapted network, which is "
            "what is used"
        )


if __name__ == "__main__":
    run(main)
