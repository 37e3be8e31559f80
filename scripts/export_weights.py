"""Make a small weights file of a training checkpoint: parameters only, in half precision, with the
architecture.

Reads    a best.pth or last.pth of one of the trainers
Writes   the weights file, and prints its SHA-256
Usage    python scripts/export_weights.py outputs/train/bme_demo/best.pth assets/weights/demo/bme.pth
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import torch

from common.checkpoints import load_checkpoint, save_checkpoint, sha256
from common.errors import UserError
from common.runtime.entry import run

SCHEDULE = (
    "betas",
    "alphas",
    "alphas_cumprod",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "reciprocal_sqrt_alphas",
    "remove_noise_coeff",
    "sigma",
)


def main() -> None:
    """Convert one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="best.pth or last.pth")
    parser.add_argument("weights", type=Path, help="file to write")
    options = parser.parse_args()
    stored = load_checkpoint(options.checkpoint)
    if "model_state" not in stored:
        raise UserError(f"{options.checkpoint}: not a checkpoint of one of the trainers (no model_state)")
    # The noise schedule stays in full precision: its smallest values do not exist in half precision.
    state = {
        name: value.half() if torch.is_floating_point(value) and name not in SCHEDULE else value
        for name, value in stored["model_state"].items()
    }
    metadata = {
        name: stored[name]
        for name in (
            "network",
            "rival",
            "architecture",
            "prediction",
            "direction",
            "magnitude_scale",
            "step",
            "figures",
        )
        if name in stored
    }
    save_checkpoint({"model_state": state, **metadata}, options.weights)
    print(
        f"{options.weights}: {options.weights.stat().st_size / 2**20:.2f} MiB, SHA-256 {sha256(options.weights)}"
    )


if __name__ == "__main__":
    run(main)
