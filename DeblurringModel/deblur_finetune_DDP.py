"""Stage 4, first half: fine-tune the deblurring network on the pairs that stages 1 to 3 made.

Reads    <output>/rsdm/sharp_regions.json, <output>/blurring/<video>/reblur, <dataset.root>, deblurring.weights
Writes   <output>/deblurring/<model>/weights/{last,best,epoch_N}.pth and log.csv (below <video>/ with scope video)
         <output>/deblurring/<model>/rehearsal/<video>/<frame>.png   chosen frames, unadapted (deblurring.rehearsal)
Usage    python DeblurringModel/deblur_finetune_DDP.py --config configs/demo.yaml
         torchrun --nproc_per_node=2 DeblurringModel/deblur_finetune_DDP.py --config configs/demo.yaml
"""

import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import environment, interrupts

if __name__ == "__main__":
    environment.require()
    interrupts.end_at_once()

from torch import Tensor, nn

from common.checkpoints import load_checkpoint, sha256
from common.config import DeblurringConfig
from common.images import to_image
from common.metrics import psnr
from common.regions_file import Region, read_regions
from common.runtime.distributed import World
from common.runtime.entry import run
from common.stage import Stage, open_stage, section_settings
from common.training.frame_cache import FrameCache
from common.training.loop import Plan, Task, cosine, fit
from common.videos import Video
from DeblurringModel import models
from DeblurringModel.checks import BY_GROUND_TRUTH, check_stage
from DeblurringModel.deblur_inference import block, infer
from DeblurringModel.evaluation import ground_truth
from DeblurringModel.pairs import Pair, Pairs, hold_out, reblurred_pairs, rehearsal_pairs, true_pairs
from DeblurringModel.restoring import clips_of, restored_frames
from DeblurringModel.variants import (
    REHEARSAL,
    chosen_loss,
    load_network,
    model_folder,
    model_spec,
    weights_folder,
    work_name,
)

INFERENCE_KEYS = ("borders", "clip_length", "clip_overlap", "tile", "tile_overlap")
FUSION_KEYS = ("fusion", "aligned")
"""Settings of what is done with the result: no training depends on them."""


def main() -> None:
    """Fine-tune one network for all videos, or one for each."""
    stage = open_stage(__doc__.splitlines()[0])
    finetune(stage)
    stage.say_report()


def finetune(stage: Stage) -> None:
    """Fine-tune as configured; a finished training is left alone, an interrupted one goes on."""
    config = stage.config.deblurring
    check_stage(stage)
    regions_path = stage.output / "rsdm" / "sharp_regions.json"
    regions = read_regions(regions_path, stage.videos)
    blurring = stage.output / "blurring"
    rehearses = config.pairs == "reblurred" and config.rehearsal > 0
    stage.claim(
        model_folder(stage) / "weights",
        {
            "deblurring": section_settings(
                config, without=FUSION_KEYS if rehearses else (*FUSION_KEYS, *INFERENCE_KEYS)
            ),
            "blurring": sha256(blurring / "settings.json"),
            "sharp_regions": sha256(regions_path),
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
        if own:
            finetune_on(
                stage, own, [video], weights_folder(stage, video), f"stage 4, fine-tuning {video.name}"
            )
        else:
            stage.say(f"{video.name}: no sharp region, restored with the unadapted network")


def finetune_on(stage: Stage, regions: list[Region], videos: list[Video], folder: Path, label: str) -> None:
    """Fine-tune one network on the given regions."""
    config, runtime, spec = stage.config.deblurring, stage.config.runtime, model_spec(stage.config)
    made = (
        true_pairs(regions)
        if config.pairs == "ground_truth"
        else reblurred_pairs(regions, stage.output / "blurring")
    )
    held_out: list[Pair] = []
    if config.select == "best_pairs":
        made, held_out = hold_out(made, runtime.seed)
    if config.pairs == "reblurred":
        # None of a patch that is held out: they would show it.
        learned = {(pair.name, pair.box) for pair in made}
        rehearsed = rehearsal_pairs(regions, model_folder(stage) / REHEARSAL, config.rehearsal)
        made = made + [pair for pair in rehearsed if (pair.name, pair.box) in learned]
    frames = FrameCache.of_machine(runtime.cache_gib, stage.world)
    pairs = Pairs(made, config.crop_size, runtime.seed, frames)
    epochs, per_epoch = epochs_and_steps(config, len(pairs))
    steps = epochs * per_epoch
    last = folder / "last.pth"
    if last.exists() and load_checkpoint(last).get("step", 0) >= steps:
        return
    network = load_network(stage, config.weights)

    distance = chosen_loss(config.loss, spec)

    def loss(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        windows, sharp = (models.to_range(part, spec, config.channel_order) for part in batch)
        restored = models.checked(net(windows), windows, spec)
        middle = windows.shape[1] // 2 - spec.past
        return distance(restored[:, middle : middle + 1], sharp)

    def keep(step: int) -> str | None:
        epoch, rest = divmod(step, per_epoch)
        return (
            f"epoch_{epoch}.pth" if config.keep_every and not rest and not epoch % config.keep_every else None
        )

    validate, best = None, ""
    if config.select in BY_GROUND_TRUTH:
        validate, best = lambda net: {best: ground_truth_psnr(net, spec, videos, stage)}, "psnr_ground_truth"
    elif held_out:
        held = Pairs(held_out, config.crop_size, runtime.seed, frames)
        validate, best = lambda net: {best: pairs_psnr(net, spec, held, stage)}, "psnr_held_out"
    task = Task(lambda items: pairs.batch(items, config.batch_size), loss, validate, best=best, shared=True)
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
    """Mean PSNR over the pairs of the restored middle frame against the sharp patch, centre crops. All
    processes have to call it; each looks at its share."""
    values = []
    for index in stage.world.share(range(len(pairs))):
        windows, sharp = pairs.centre(index)
        restored = models.restore(
            network, spec, windows.to(stage.world.device), stage.config.deblurring.channel_order
        )
        middle = windows.shape[1] // 2 - spec.past
        values.append((index, psnr(to_image(restored[0, middle]), to_image(sharp[0, 0]))))
    return mean_of_all(values, stage.world)


def ground_truth_psnr(network: nn.Module, spec: models.Spec, videos: list[Video], stage: Stage) -> float:
    """Mean PSNR over the frames of all videos against their ground truth. It looks at the answer: only for
    the comparison with the released code's choice of the epoch (deblurring.select best_gt, both). All
    processes have to call it; each restores its part of every video."""
    config, values = stage.config.deblurring, []
    for number, video in enumerate(videos):
        clips = clips_of(video, spec, config.clip_length, config.clip_overlap, "drop")
        own = block(clips, stage.world.rank, stage.world.size)
        values += [
            ((number, position), psnr(picture, ground_truth(video, position, picture)))
            for position, picture in restored_frames(network, spec, video, own, stage)
        ]
    return mean_of_all(values, stage.world)


def mean_of_all(values: list[tuple[Any, float]], world: World) -> float:
    """Mean of the numbers of all processes, added in the order of their keys, so that it is the same however
    many there are."""
    every = sorted(pair for part in world.gather(values) for pair in part)
    return sum(value for _, value in every) / len(every)


if __name__ == "__main__":
    run(main)
