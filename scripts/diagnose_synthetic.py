"""What stages 1 to 3 found in the synthetic benchmark, compared with the rendered truth.

Reads    OUT/data/<domain>, OUT/runs/<domain>/method_<seed> (Table 1) and, where it is there, random_dbcgm_<seed>
         (Table 2), as scripts/eval_synthetic.sh leaves them
Writes   OUT/stages.md
Usage    python scripts/diagnose_synthetic.py [OUT]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import numpy as np

from BlurringModel.id_blau.validation import reblurring_figures
from BlurringModel.reblurring.conditions import Conditions
from BlurringModel.reblurring.sampling import load_id_blau
from common.config import Config
from common.config_loader import load_config
from common.constants import MAGNITUDE_SCALE
from common.errors import UserError
from common.images import open_array, read_array
from common.layout import Layout
from common.regions_file import Region, read_regions
from common.rendering.presets import PRESETS
from common.runtime.entry import run
from common.runtime.files import write_text
from common.runtime.provenance import code_version, library_versions
from common.stage import Stage, autocast, stage_of
from common.training.source_domain import SourceDomain
from DBCGM.exposure import read_fit
from DeblurringModel.pairs import reblurred_pairs
from RSDM.magnitude import rank_correlation
from scripts.evaluation.runner import ROOT, assign
from scripts.evaluation.synthetic.cells import DOMAINS, METHOD, UNSEEN
from scripts.evaluation.synthetic.diagnosis import (
    against_truth,
    at_rest,
    blur_inside,
    direction_errors,
    reblurring,
)
from scripts.evaluation.synthetic.own_blur import own_blur

EXPOSURE = "stage 2, exposure of the clips, share of the frame interval"
REBLURRED = "stage 3, sharp crops against the true blurry ones, reblurred with the true condition"
OWN_BLUR = "stage 3, sharp crops against the true blurry ones, where the blur can be measured, reblurred"
Truth = dict[tuple[str, str], np.ndarray]
"""True conditions (3, H, W) by (video name, frame name)."""
HINT = "run bash scripts/eval_synthetic.sh --tables 1 with this output folder first"


def main() -> None:
    """Compare, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "output",
        type=Path,
        nargs="?",
        default=ROOT / "outputs" / "eval_synthetic",
        help="folder of eval_synthetic.sh (default outputs/eval_synthetic)",
    )
    parser.add_argument(
        "--config", type=Path, default=ROOT / "configs" / "demo.yaml", help="what it was run with"
    )
    options = parser.parse_args()
    domains = [domain for domain in (*DOMAINS, UNSEEN) if (options.output / "data" / domain).is_dir()]
    if not domains:
        raise UserError(f"{options.output}: holds no clips; {HINT}")
    columns = [figures(options.output.resolve(), options.config, domain) for domain in domains]
    text = markdown(domains, columns)
    write_text(options.output / "stages.md", text)
    print(text, end="")


def figures(output: Path, config_path: Path, domain: str) -> dict[str, str]:
    """The findings in a domain, as text by their names."""
    root, runs = output / "data" / domain, output / "runs" / domain
    seed = load_config(Config, config_path).runtime.seed
    folder, random = runs / f"{METHOD.name}_{seed}", runs / f"random_dbcgm_{seed}"
    overrides = [assign("dataset.root", root), assign("output", folder)]
    stage = stage_of(load_config(Config, config_path, overrides), argparse.Namespace(overwrite=False))
    truth = {
        (video.name, name): read_array(root / video.name / "Condition" / f"{name}.npy", 3, HINT)
        for video in stage.videos
        for name in video.names
    }
    return (
        patches(stage, truth, folder, random)
        | magnitudes(stage, truth)
        | conditions(stage, truth, folder, domain)
        | reblurred(stage, root)
        | measured(stage, truth, folder)
    )


def patches(stage: Stage, truth: Truth, folder: Path, random: Path) -> dict[str, str]:
    """How sharp the chosen regions are, and random ones where they were made."""
    regions = _regions(folder, stage)
    as_they_are, targets = against_truth(reblurred_pairs(regions, Layout(folder).blurring), stage.videos)
    drawn = "not run"
    if random.exists():
        drawn = _mean_and_largest(blur_inside(truth, _regions(random, stage)))
    return {
        "true blur of RSDM's regions, mean (largest), px": _mean_and_largest(blur_inside(truth, regions)),
        "true blur of random patches, mean (largest), px": drawn,
        "regions as they are, against the sharp truth, dB": f"{as_they_are:.2f}",
        "regions as targets (blurring.moved.denoise_target), against the same, dB": f"{targets:.2f}",
        "frames that rest, against the sharp truth: what noise leaves, dB": f"{at_rest(truth, stage.videos):.2f}",
    }


def magnitudes(stage: Stage, truth: Truth) -> dict[str, str]:
    """How long stage 1 estimates the frames' blur."""
    found, true = frames_blur(stage, truth)
    return {
        "true blur, mean over all frames, px": f"{true.mean():.2f}",
        "stage 1, frames' mean blur: bias, px": f"{(found - true).mean():+.2f}",
        "stage 1, frames' mean blur: mean absolute error, px": f"{np.abs(found - true).mean():.2f}",
        "stage 1, frames' mean blur: rank correlation": f"{rank_correlation(found, true):.3f}",
    }


def conditions(stage: Stage, truth: Truth, folder: Path, domain: str) -> dict[str, str]:
    """How right stage 2's directions are, and the exposures it found."""
    made = Conditions(Layout(folder))
    paths = {
        (video.name, name): made.path("condition", video, position)
        for video in stage.videos
        for position, name in enumerate(video.names)
    }
    errors = np.concatenate(
        [
            direction_errors(truth[frame], read_array(path, 3, HINT))
            for frame, path in paths.items()
            if path.exists()
        ]
    )
    return {
        "stage 2, direction: median error, degrees": f"{np.median(errors):.1f}",
        "stage 2, direction: wrong by 15 degrees or more, % of pixels": f"{100 * (errors >= 15).mean():.1f}",
        f"{EXPOSURE}, true": "{:.2f} to {:.2f}".format(*PRESETS[domain].sensor.exposure),
        f"{EXPOSURE}, as stage 2 found it": exposures(stage, folder),
    }


def reblurred(stage: Stage, root: Path) -> dict[str, str]:
    """How near ID-Blau and a line blur come to the true blur."""
    config = stage.config.blurring
    with autocast(stage.world, stage.config.runtime.precision):
        again = reblurring_figures(reblurring(load_id_blau(config), SourceDomain(root), config))
    return {
        f"{REBLURRED} by ID-Blau, dB": f"{again['psnr_reblurred']:.2f}",
        f"{REBLURRED} by ID-Blau, the condition turned by 90 degrees, dB": f"{again['psnr_turned']:.2f}",
        f"{REBLURRED} along straight lines, dB": f"{again['psnr_line']:.2f}",
        "stage 3, sharp crops through ID-Blau with no blur asked for, against themselves, dB": (
            f"{again['psnr_still']:.2f}"
        ),
        "the sharp crops themselves, against the same, dB": f"{again['psnr_sharp']:.2f}",
    }


def measured(stage: Stage, truth: Truth, folder: Path) -> dict[str, str]:
    """How near the videos' own measured kernels come to the true blur, and lines as stage 2 finds them."""
    found = own_blur(stage.videos, Conditions(Layout(folder)), truth)
    return {
        f"{OWN_BLUR} by the video's measured kernels, dB": f"{found['measured']:.2f}",
        f"{OWN_BLUR} along lines as stage 2 found them, dB": f"{found['line']:.2f}",
        "those sharp crops themselves, against the same, dB (crops)": f"{found['sharp']:.2f} ({found['frames']})",
    }


def exposures(stage: Stage, folder: Path) -> str:
    """What stage 2 found of each clip, where dbcgm.magnitude is shutter."""
    paths = [Layout(folder).shutter(video.name) for video in stage.videos]
    return ", ".join(f"{read_fit(path).tau:.2f}" for path in paths if path.exists()) or "not fitted"


def frames_blur(stage: Stage, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Mean blur of each frame in pixels, as stage 1 found it and as it is."""
    rows = [
        (
            float(open_array(stage.layout.magnitude(video.name, frame.stem), 2, HINT).mean())
            * MAGNITUDE_SCALE,
            float(truth[video.name, frame.stem][2].mean()),
        )
        for video in stage.videos
        for frame in video.frames
    ]
    return tuple(np.array(rows).T)


def _mean_and_largest(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ({values.max():.2f})"


def _regions(folder: Path, stage: Stage) -> list[Region]:
    path = Layout(folder).sharp_regions
    if not path.exists():
        raise UserError(f"{path}: missing; {HINT}")
    return read_regions(path, stage.videos)


def markdown(domains: list[str], columns: list[dict[str, str]]) -> str:
    """The table with what it was made with."""
    libraries = ", ".join(f"{name} {number}" for name, number in library_versions().items())
    lines = [
        "# What the stages find in the synthetic benchmark",
        "",
        "The renderer writes each pixel's true blur, in pixels and with its direction. Directions are "
        "judged where that "
        "is a pixel or more.",
        "",
        f"- command: `{' '.join(['python scripts/diagnose_synthetic.py', *sys.argv[1:]])}`",
        f"- code {code_version()}, {libraries}",
        "",
        f"| | {' | '.join(domains)} |",
        f"|---|{'---:|' * len(domains)}",
    ]
    lines += [f"| {what} | {' | '.join(column[what] for column in columns)} |" for what in columns[0]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(main)
