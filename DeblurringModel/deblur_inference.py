"""Stage 4, second half: restore whole videos with the network before (baseline) or after adaptation (adapted).

With deblurring.select both there are two adapted results, `adapted` and `adapted_best_gt`.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, and for `adapted` <output>/deblurring/<model>/weights
Writes   <output>/deblurring/<model>/<baseline|adapted|adapted_best_gt>/<video>/<frame>.png
Usage    python DeblurringModel/deblur_inference.py --config configs/demo.yaml --variant adapted
         torchrun --nproc_per_node=2 DeblurringModel/deblur_inference.py --config configs/demo.yaml
"""
import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn

from common.checkpoints import sha256
from common.cli import run
from common.distributed import mixed_precision
from common.errors import UserError
from common.images import pad_to_multiple, read_image, to_image, to_tensor, write_image
from common.stage import Stage, open_stage, section_settings, weights_record
from common.videos import Video
from DeblurringModel import models
from DeblurringModel.setup import adapted_variants, adapted_weights, load_network, model_folder, model_spec
from DeblurringModel.windows import Clip, cut


def main() -> None:
    """Restore all videos with one or both sets of weights."""
    stage = open_stage(__doc__.splitlines()[0], _arguments)
    adapted = adapted_variants(stage.config.deblurring)
    variants = {"baseline": ("baseline",), "adapted": adapted, "both": ("baseline", *adapted)}
    for variant in variants[stage.options.variant]:
        infer(stage, variant)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--variant", choices=("baseline", "adapted", "both"), default="adapted",
                        help="weights from before or after adaptation")


def infer(stage: Stage, variant: str) -> Path:
    """Restore every video; returns the folder. Frames that exist are not made again."""
    config, facts = stage.config.deblurring, model_spec(stage.config)
    folder = model_folder(stage) / variant
    if variant != "baseline":
        sources = {video.name: adapted_weights(stage, video, variant) for video in stage.videos}
        weights = {name: sha256(path) for name, path in sources.items()}
    else:
        sources = {video.name: config.weights for video in stage.videos}
        weights = weights_record(config.weights)
    settings = section_settings(config, without=("weights", *TRAINING_KEYS))
    stage.claim(folder, {"deblurring": settings, "weights": weights, "precision": stage.config.runtime.precision})
    for video in stage.videos:
        clips = clips_of(video, facts, config.clip_length, config.clip_overlap, config.borders)
        clips = _block(clips, stage.world.rank, stage.world.size)
        missing = [clip for clip in clips
                   if not all((folder / video.name / video.frames[position].name).exists()
                              for _, position in clip.outputs)]
        if missing:
            network = load_network(stage, sources[video.name]).eval()
            bar = stage.progress(missing, f"stage 4, {variant} {video.name}", "clip")
            for position, picture in restored_frames(network, facts, video, bar, stage):
                write_image(folder / video.name / video.frames[position].name, picture)
    stage.world.barrier()
    stage.say(f"stage 4: {variant} -> {folder}")
    return folder


TRAINING_KEYS = ("epochs", "min_steps", "batch_size", "crop_size", "pairs", "learning_rate", "min_learning_rate",
                 "gradient_clip", "scope", "select", "keep_every")
"""Settings of the fine-tuning: inference depends on them through the weights alone."""


def clips_of(video: Video, facts: models.Spec, length: int, overlap: int, borders: str) -> list[Clip]:
    """The video's clips of `length` frames (0: the network's own length)."""
    try:
        return cut(len(video.frames), facts.past, facts.future, length or facts.clip_length, borders, overlap)
    except ValueError as error:
        raise UserError(f"deblurring.clip_length: {error} ({video.name})") from None


def _block(clips: list[Clip], rank: int, size: int) -> list[Clip]:
    # Neighbouring clips share frames, so each process gets a run of them rather than every size-th.
    return clips[len(clips) * rank // size:len(clips) * (rank + 1) // size]


def restored_frames(network: nn.Module, facts: models.Spec, video: Video, clips: Iterable[Clip],
                    stage: Stage) -> Iterator[tuple[int, np.ndarray]]:
    """Restore the clips one after the other: (position in the video, picture uint8 RGB (H, W, 3)) of their frames."""
    order, device = stage.config.deblurring.channel_order, stage.world.device
    size: list[tuple[int, int]] = []

    def load(position: int) -> Tensor:
        image = read_image(video.frames[position])
        size.append(image.shape[:2])
        if size[0] != size[-1]:
            raise UserError(f"{video.frames[position]}: is {image.shape[1]} x {image.shape[0]} pixels, another frame "
                            f"{size[0][1]} x {size[0][0]}; all frames of a video need one size")
        return pad_to_multiple(models.to_range(to_tensor(image), facts, order), facts.multiple, facts.minimum).to(device)

    # ESTRNN and its like compute a part that depends on one frame only: once per frame, not once per window. (An
    # own network's methods of these names may mean anything.)
    split = stage.config.deblurring.model in models.names() and hasattr(network, "encode")
    prepared: dict[int, Tensor] = {}
    for clip in clips:
        with torch.inference_mode(), mixed_precision(network, device, stage.config.runtime.precision):
            prepare = (lambda position: network.encode(load(position)[None])[0]) if split else load
            prepared = {position: prepared[position] if position in prepared else prepare(position)
                        for position in dict.fromkeys(clip.inputs)}
            stacked = torch.stack([prepared[position] for position in clip.inputs])[None]
            restored = network.decode(stacked) if split else models.checked(network(stacked), stacked, facts)
        height, width = size[0]
        pictures = to_image(models.to_rgb(restored[0, :, :, :height, :width], facts, order))
        yield from ((position, pictures[index]) for index, position in clip.outputs)


if __name__ == "__main__":
    run(main)
