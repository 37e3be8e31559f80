"""Make training data of the GoPro high-speed set: blurred frames, sharp frames and blur conditions.

Reads    --root GOPRO_Large_all: <root>/<split>/<video>/<frame>.png, 240 sharp frames a second
Writes   OUT/<video>/Blur/RGB/<centre>.png      mean of `--window` frames in 8-bit gamma space, truncated
         OUT/<video>/Sharp/RGB/<centre>.png     the middle frame of the exposure
         OUT/<video>/Condition/<centre>.npy     float32 (3, H, W): unit direction x, y and magnitude in pixels, from
                                                the summed forward and backward flows of the exposure
Usage    python scripts/prepare_gopro.py --root GOPRO_Large_all --split train --out data/gopro/train \
             --weights weights/RAFT/raft-sintel.pth
         torchrun --nproc_per_node=4 scripts/prepare_gopro.py ...    (exposures are divided among the processes)
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import numpy as np
import torch
from tqdm import tqdm

from common.errors import UserError
from common.flow import NAMES, Flow, load_flow
from common.images import read_image, write_array, write_image
from common.runtime import distributed
from common.runtime.entry import run
from common.runtime.provenance import claim_together
from common.stage import weights_record
from common.videos import sorted_frames


def main() -> None:
    """Prepare every exposure that is not there yet."""
    options = parse()
    world = distributed.start(options.device)
    source = options.root / options.split
    if not source.is_dir():
        raise UserError(
            f"{source}: no such folder; expected GOPRO_Large_all/<train|test>/<video>/<frame>.png"
        )
    exposures = [
        (folder.name, exposure)
        for folder in sorted(source.iterdir())
        if folder.is_dir()
        for exposure in exposures_of(sorted_frames(folder), options.window)
    ]
    if not exposures:
        raise UserError(f"{source}: no video with {options.window} PNG frames found")
    claim_together(
        world,
        options.out,
        {
            "split": options.split,
            "window": options.window,
            "flow": options.flow,
            "iterations": options.iterations,
            "weights": weights_record(options.weights),
        },
        None,
    )
    missing = [
        (video, exposure)
        for video, exposure in world.share(exposures)
        if not (options.out / video / "Condition" / f"{centre(exposure).stem}.npy").exists()
    ]
    flow = load_flow(options.flow, options.weights, world.device, options.iterations) if missing else None
    for video, exposure in tqdm(missing, desc="exposures", unit="exposure", disable=not world.main):
        frames = np.stack([read_image(path) for path in exposure])
        folder, name = options.out / video, centre(exposure).stem
        write_image(
            folder / "Blur" / "RGB" / f"{name}.png", frames.astype(np.float32).mean(0).astype(np.uint8)
        )
        write_image(folder / "Sharp" / "RGB" / f"{name}.png", frames[len(frames) // 2])
        # Last: where the condition is, the sample is complete.
        write_array(folder / "Condition" / f"{name}.npy", exposure_condition(frames, flow))
    world.barrier()
    if world.main:
        print(f"{len(exposures)} samples in {options.out}")


def parse() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="GOPRO_Large_all")
    parser.add_argument("--split", choices=("train", "test"), required=True, help="part of the data set")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--window", type=int, default=11, help="frames averaged, odd (published: 7 to 13)")
    parser.add_argument("--flow", choices=NAMES, default="raft_large", help="optical flow")
    parser.add_argument(
        "--weights", type=Path, help="RAFT weights (published: raft-sintel for BME, raft-things for ID-Blau)"
    )
    parser.add_argument("--iterations", type=int, default=20, help="RAFT's number of updates")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    options = parser.parse_args()
    if options.window < 3 or options.window % 2 == 0:
        raise UserError(f"--window {options.window}: an odd number of at least 3 is needed")
    return options


def exposures_of(frames: list[Path], size: int) -> list[list[Path]]:
    """Consecutive runs of `size` frames that do not overlap; an incomplete last one is left out."""
    return [frames[start : start + size] for start in range(0, len(frames) - size + 1, size)]


def centre(exposure: list[Path]) -> Path:
    """The middle frame, whose name the sample gets."""
    return exposure[len(exposure) // 2]


def exposure_condition(frames: np.ndarray, flow: Flow) -> np.ndarray:
    """Condition float32 (3, H, W) of an exposure over sharp frames uint8 (N, H, W, 3).

    As published: the flows between successive frames are added at fixed pixel positions, forwards and,
    negated, backwards; half of the sum is the motion, its length the magnitude. Where nothing moves the
    direction is zero.
    """
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    total = torch.zeros(2, *frames.shape[1:3])
    for first, second in zip(images[:-1], images[1:]):
        forward, backward = flow.between(torch.stack([first, second]), [(0, 1), (1, 0)]).cpu()
        total += (forward - backward) / 2
    magnitude = torch.hypot(total[0], total[1])
    direction = torch.where(magnitude > 0, total / magnitude, 0)
    return torch.cat([direction, magnitude[None]]).numpy()


if __name__ == "__main__":
    run(main)
