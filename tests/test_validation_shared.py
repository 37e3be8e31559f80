"""The validations of a fine-tuning are shared over the processes, and find the same figures as one process."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from tiny import finished, one_thread  # noqa: F401 (fixtures)

from common.config import Config
from common.config_loader import load_config
from common.runtime.distributed import World
from common.videos import find_videos
from DeblurringModel import deblur_finetune_DDP as fine_tuning
from DeblurringModel.variants import load_network, model_spec


def figures(case: Path, processes: int, select: str) -> list[str]:
    """The validation's column of the log, of a fine-tuning in which no weight moves."""
    command = [sys.executable]
    if processes > 1:
        command += [str(tiny.ROOT / "scripts" / "launch.py"), str(processes)]
    command += [str(tiny.ROOT / "DeblurringModel" / "deblur_finetune_DDP.py"), "--overwrite"]
    command += ["--config", str(case / "config.yaml"), "--set", f"deblurring.select={select}"]
    command += ["deblurring.learning_rate=0", "deblurring.min_learning_rate=0"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    weights = case / "out" / "deblurring" / "ESTRNN" / "weights"
    assert (weights / "best.pth").exists()
    with open(weights / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    column = "psnr_held_out" if select == "best_pairs" else "psnr_ground_truth"
    return [row[column] for row in rows]


@pytest.mark.parametrize("select", ["both", "best_pairs"])
def test_two_processes_find_the_figures_of_one(finished: Path, tmp_path: Path, select: str) -> None:  # noqa: F811
    shutil.copytree(finished, tmp_path / "case")
    one, two = (figures(tmp_path / "case", processes, select) for processes in (1, 2))
    assert len(one) >= 2 and all(one) and one == two


def test_every_process_restores_its_part(
    finished: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(Config, finished / "config.yaml", ["deblurring.select=best_gt"])
    parts: list[list] = []
    monkeypatch.setattr(World, "gather", lambda self, value: parts.append(value) or [value])
    videos, spec = find_videos(finished / "data"), model_spec(config)
    for rank in range(2):
        world = World(rank, 2, torch.device("cpu"))
        network = load_network(config, config.deblurring.weights, world.device).eval()
        with torch.inference_mode():
            fine_tuning.ground_truth_psnr(network, spec, videos, config, world, print)
    keys = [[key for key, _ in part] for part in parts]
    every = [(number, position) for number in range(2) for position in range(2, tiny.FRAMES - 2)]
    assert sorted(keys[0] + keys[1]) == every and all(len(part) == len(every) // 2 for part in keys)
