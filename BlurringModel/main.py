"""Stage 3, ID-Blau: blur the sharp regions the way their video blurs.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, <output>/rsdm/sharp_regions.json, <output>/dbcgm/condition
Writes   <output>/blurring/<video>/ori/<frame>.png      the frame as it is
         <output>/blurring/<video>/reblur/<frame>.png   its regions (or all of it) blurred
         <output>/blurring/<video>/flow/<frame>.png     the condition as a colour wheel
Usage    python BlurringModel/main.py --config configs/demo.yaml
         torchrun --nproc_per_node=2 BlurringModel/main.py --config configs/demo.yaml
"""
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from BlurringModel.id_blau.dataset import normalise_condition
from BlurringModel.id_blau.diffusion import GaussianDiffusion
from BlurringModel.id_blau.unet import UNet
from BlurringModel.windows import Box, context_window, merge_overlapping, window_draws
from common.checkpoints import load_state, load_state_into, sha256
from common.cli import run
from common.condition_view import condition_picture
from common.config import require
from common.errors import UserError
from common.images import pad_to_multiple, read_array, read_image, to_image, to_tensor, write_image
from common.regions_file import Region, by_frame, read_regions
from common.seeding import derive_seed
from common.stage import Stage, autocast, groups, open_stage, section_settings, unfinished

HINT = "run python DBCGM/main.py first"


@dataclass(frozen=True)
class Frame:
    """A frame to reblur: its name, place on disk, and the boxes wanted (merged where they overlap)."""
    video: str
    name: str
    path: Path
    boxes: tuple[Box, ...]


def main() -> None:
    """Reblur every frame that stage 1 chose."""
    stage = open_stage(__doc__.splitlines()[0])
    config, folder = stage.config.blurring, stage.output / "blurring"
    require(config.weights, "blurring.weights", "ID-Blau weights, see README.md (Published weights)")
    regions_path = stage.output / "rsdm" / "sharp_regions.json"
    frames = frames_to_blur(read_regions(regions_path, stage.videos))
    condition_settings = stage.output / "dbcgm" / "settings.json"
    if not condition_settings.exists():
        raise UserError(f"{condition_settings.parent}: no blur conditions; {HINT}")
    stage.claim(folder, {"blurring": section_settings(config), "sharp_regions": sha256(regions_path),
                         "dbcgm": sha256(condition_settings), "seed": stage.config.runtime.seed,
                         "precision": stage.config.runtime.precision})
    # Frames with windows of like size are neighbours in this order and share batches.
    frames.sort(key=lambda frame: sorted((b[2] - b[0], b[3] - b[1]) for b in frame.boxes))
    units = unfinished(groups(frames, config.batch_size),
                       lambda unit: all(picture(folder, "reblur", frame).exists() for frame in unit), stage.world)
    if units:
        network = load_network(stage)
        for unit in stage.progress(units, "stage 3, reblurring", "batch"):
            reblur(stage, network, folder, unit)
    stage.world.barrier()
    stage.say(f"stage 3: {len(frames)} frames reblurred -> {folder}")


def frames_to_blur(regions: list[Region]) -> list[Frame]:
    """Each frame once, with all its boxes."""
    return [Frame(name, found[0].frame, found[0].video.frames[position],
                  tuple(merge_overlapping([region.box for region in found])))
            for (name, position), found in by_frame(regions).items()]


def picture(folder: Path, kind: str, frame: Frame) -> Path:
    """Where a frame's picture of the kind ori, reblur or flow lies."""
    return folder / frame.video / kind / f"{frame.name}.png"


def load_network(stage: Stage) -> GaussianDiffusion:
    """ID-Blau with its weights; the schedule is the one stored with them."""
    config = stage.config.blurring
    state = load_state(config.weights)
    if "betas" not in state:
        raise UserError(f"{config.weights}: holds no ID-Blau (its noise schedule `betas` is missing)")
    try:
        network = GaussianDiffusion(UNet(**config.architecture), state["betas"])
    except (TypeError, ValueError) as error:
        raise UserError(f"blurring.architecture: {error}") from None
    if config.sampler == "ddim" and config.steps > network.num_timesteps // 2:
        raise UserError(f"blurring.steps: expected at most {network.num_timesteps // 2}, found {config.steps}")
    load_state_into(network, state, str(config.weights))
    return network.to(stage.world.device, memory_format=torch.channels_last).eval()


def reblur(stage: Stage, network: GaussianDiffusion, folder: Path, unit: list[Frame]) -> None:
    """Sample all windows of the unit's frames, batches of equal size, and write the three pictures of each frame."""
    config, multiple = stage.config.blurring, network.model.multiple
    images, conditions, windows = {}, {}, defaultdict(list)
    for frame in unit:
        image = read_image(frame.path)
        path = stage.output / "dbcgm" / "condition" / frame.video / f"{frame.name}.npy"
        condition = read_array(path, 3, HINT)
        height, width = image.shape[:2]
        if condition.shape != (3, height, width):
            raise UserError(f"{path}: is {condition.shape}, the frame needs {(3, height, width)}; "
                            "run python DBCGM/main.py --overwrite")
        if any(box[2] > height or box[3] > width for box in frame.boxes):
            raise UserError(f"{stage.output / 'rsdm' / 'sharp_regions.json'}: a box of {frame.video}/{frame.name} "
                            f"lies outside the frame of {width} x {height} pixels")
        images[frame], conditions[frame] = image, condition
        padded = height + (-height) % multiple, width + (-width) % multiple
        boxes = ((0, 0, height, width),) if config.area == "frame" else frame.boxes
        for box in boxes:
            window = (0, 0, *padded) if config.area == "frame" else context_window(box, config.margin, *padded)
            windows[window[2] - window[0], window[3] - window[1], padded].append((frame, box, window))
    results = {frame: image.copy() for frame, image in images.items()}
    for (_, _, padded), same_size in windows.items():
        for batch in groups(same_size, config.batch_size):
            sampled = sample(stage, network, batch, images, conditions, padded)
            for (frame, (r0, c0, r1, c1), (top, left, _, _)), blurred in zip(batch, sampled):
                results[frame][r0:r1, c0:c1] = blurred[r0 - top:r1 - top, c0 - left:c1 - left]
    for frame in unit:
        write_image(picture(folder, "ori", frame), images[frame])
        write_image(picture(folder, "flow", frame), condition_picture(conditions[frame]))
        # Last, because a frame counts as done when this one exists.
        write_image(picture(folder, "reblur", frame), results[frame])


def sample(stage: Stage, network: GaussianDiffusion, batch: list[tuple[Frame, Box, Box]],
           images: dict[Frame, np.ndarray], conditions: dict[Frame, np.ndarray],
           padded: tuple[int, int]) -> np.ndarray:
    """Reblurred windows, uint8 RGB (B, h, w, 3), for windows of one size in frames of one padded size."""
    config, multiple = stage.config.blurring, network.model.multiple
    given = []
    for frame, _, (r0, c0, r1, c1) in batch:
        normalised = normalise_condition(torch.from_numpy(conditions[frame]), config.magnitude_scale)
        whole = torch.cat([to_tensor(images[frame]) - 0.5, normalised])
        given.append(pad_to_multiple(whole, multiple)[:, r0:r1, c0:c1])
    condition = torch.stack(given).to(stage.world.device)
    seeds = [derive_seed(stage.config.runtime.seed, "reblur", frame.video, frame.name) for frame, _, _ in batch]
    draw = window_draws(seeds, [window for _, _, window in batch], *padded)
    noise = draw(0, torch.Size((len(batch), 3, *condition.shape[2:]))).to(stage.world.device)
    with torch.inference_mode(), autocast(stage.world, stage.config.runtime.precision):
        if config.sampler == "ddim":
            sampled = network.ddim_sample(condition, noise, config.steps, config.eta, draw)
        else:
            sampled = network.ddpm_sample(condition, noise, draw)
    return to_image(sampled + 0.5)


if __name__ == "__main__":
    run(main)
