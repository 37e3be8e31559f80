"""How well and how fast each sampler blurs with one ID-Blau: distance to the true blur, fine texture kept, time.

Reads    an ID-Blau's weights; a data set with <video>/{Blur/RGB,Sharp/RGB}/<frame>.png, Condition/<frame>.npy
Prints   a table, a row for each sampler and number of evaluations
Usage    python scripts/compare_samplers.py weights/ID_Blau/ID_Blau.pth --data data/source_val
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import cv2
import numpy as np
from tqdm import tqdm

from BlurringModel.id_blau.validation import reblurring_figures
from BlurringModel.reblurring.sampling import evaluations, load_id_blau
from common.checkpoints import sha256
from common.config import BlurringConfig
from common.errors import UserError
from common.runtime.entry import run
from common.training.source_domain import SourceDomain
from scripts.evaluation.id_blau_file import add_unsaid, sampling_of, unsaid_of
from scripts.evaluation.synthetic.diagnosis import reblurring

STARTED = 0.5
FINE = 1.0
"""Standard deviation in pixels of the blur whose remainder counts as fine texture."""


def main() -> None:
    """Sample the same crops in every way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="an ID-Blau")
    parser.add_argument("--data", type=Path, required=True, help="data set with true blur and its conditions")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[2, 4, 8, 10, 20], help="steps of each sampler"
    )
    add_unsaid(parser)
    options = parser.parse_args()
    domain = SourceDomain(options.data)
    lines = [
        f"ID-Blau {sha256(options.weights)[:12]} on {options.data.name}: PSNR in dB against the true blur, and of the "
        "sharp crops where no blur is asked for",
        "| sampler | steps | evaluations | true condition | turned by 90 degrees | no blur | fine texture kept | s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for config in tqdm(list(ways(options)), unit="sampler", dynamic_ncols=True):
        lines.append(row(config, domain))
    print("\n".join(lines))


def ways(options: argparse.Namespace) -> Iterator[BlurringConfig]:
    """The configurations compared; a single step only for a network that predicts the image."""
    for sampler in ("ddim", "dpm++2m"):
        for begin in (1.0, STARTED):
            for steps in options.steps:
                config = sampling_of(
                    options.weights, unsaid_of(options), sampler=sampler, steps=steps, start=begin
                )
                if steps > 1 or config.prediction == "image":
                    yield config


def row(config: BlurringConfig, domain: SourceDomain) -> str:
    """One line of the table."""
    network = load_id_blau(config)
    began = time.process_time()
    crops = reblurring(network, domain, config)
    seconds = time.process_time() - began
    figures = reblurring_figures(crops)
    begin = "" if config.start == 1 else f", from {config.start:g}"
    return (
        f"| {config.sampler}{begin} | {config.steps} | {evaluations(config, network)} "
        f"| {figures['psnr_reblurred']:.2f} | {figures['psnr_turned']:.2f} | {figures['psnr_still']:.2f} "
        f"| {texture_kept(crops.network_still, crops.sharp):.0%} | {seconds:.0f} |"
    )


def texture_kept(still: np.ndarray, sharp: np.ndarray) -> float:
    """Share of the sharp crops' fine texture that is left where no blur was asked for: the component of the
    result along it. still, sharp: uint8 (B, s, s, 3)."""
    mine, true = (np.stack([_fine(crop) for crop in crops]) for crops in (still, sharp))
    energy = float((true * true).sum())
    if not energy:
        raise UserError("the data set's sharp crops hold no texture; use another one")
    return float((mine * true).sum()) / energy


def _fine(crop: np.ndarray) -> np.ndarray:
    light = crop.astype(np.float32)
    return light - cv2.GaussianBlur(light, (0, 0), FINE)


if __name__ == "__main__":
    run(main)
