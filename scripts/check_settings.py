"""Whether a configuration can work from the first stage to the last, told before anything is computed.

Reads    the configuration, the names of the data set's frames, every weights file that a stage will load
Usage    python scripts/check_settings.py --config configs/demo.yaml [--processes 2]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import torch

from BlurringModel.reblurring.sampling import load_id_blau
from common.config import Config, require
from common.config_loader import load_config
from common.flow import load_flow
from common.runtime.command_line import add_config_options
from common.runtime.entry import run
from common.videos import find_videos
from DeblurringModel import checks
from DeblurringModel.variants import load_network
from RSDM.estimators import check_weights, load_estimator, load_score


def main() -> None:
    """One line for what cannot work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(
        parser,
        "YAML file, see configs/",
        required=True,
        overwrite="no effect; accepted as an option of the stages",
    )
    parser.add_argument("--processes", type=int, default=1, help="how many will share the work")
    options = parser.parse_args()
    config = load_config(Config, options.config, options.overrides)
    require(config.output, "output", "folder for all results")
    root, data = (
        require(config.dataset.root, "dataset.root", "folder with one folder a video"),
        config.dataset,
    )
    videos = find_videos(root, data.blur, data.sharp, data.videos, data.min_frames)
    check_settings(config, options.processes)
    checks.check_ground_truth(config, videos)


def check_settings(config: Config, processes: int = 1) -> None:
    """UserError for settings, of any stage, that cannot work: weights that are missing or fit no network, and
    numbers that do not go together."""
    checks.check_settings(config, processes)
    check_weights(config.rsdm)
    load_estimator(config.rsdm)
    load_score(config.rsdm)
    if config.dbcgm.condition != "random":
        load_flow(config.dbcgm.flow, config.dbcgm.weights, torch.device("cpu"), config.dbcgm.iterations)
    if config.blurring.model == "id_blau":
        require(
            config.blurring.weights, "blurring.weights", "ID-Blau weights, see README.md (Published weights)"
        )
        load_id_blau(config.blurring)
    load_network(config, config.deblurring.weights, torch.device("cpu"))


if __name__ == "__main__":
    run(main)
