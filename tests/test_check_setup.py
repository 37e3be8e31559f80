"""scripts/check_setup.py: what works here, and what is missing."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.config import Config
from common.config_loader import load_config
from common.images import write_image
from scripts import check_setup
from scripts.preparation import trial
from scripts.preparation.machine import machine_lines, needs
from scripts.preparation.trial import Mode, Part, Run

CPU = torch.device("cpu")
CONFIGS = Path(__file__).parents[1] / "configs"


def test_the_machine_is_described(tmp_path: Path) -> None:
    python, cpu, *_, disk = machine_lines(tmp_path / "not" / "yet")
    assert f"torch {torch.__version__.partition('+')[0]}" in python
    assert cpu.startswith("cpu: ") and "GiB of memory" in cpu and "bf16" in cpu
    assert disk.endswith(f"GiB free at {tmp_path}")


def test_what_a_configuration_needs() -> None:
    there = needs(load_config(Config, CONFIGS / "demo.yaml"))
    assert [(need.key, need.there) for need in there] == [
        ("rsdm.weights", True),
        ("deblurring.weights", True),
        ("dataset.root", True),
    ]
    assert "1 videos, 18 frames, 1 with ground truth" in there[-1].line
    absent = {need.key: need for need in needs(load_config(Config, CONFIGS / "bsd_2ms16ms.yaml"))}
    assert set(absent) == {
        "rsdm.weights",
        "deblurring.weights",
        "dbcgm.weights",
        "blurring.weights",
        "dataset.root",
    }
    assert absent["blurring.weights"].line.endswith("is missing; python scripts/fetch_weights.py ID_Blau")
    assert not any(need.there for need in absent.values())


def test_networks_that_compute_alike_pass(monkeypatch) -> None:
    part = Part("one", nn.Conv2d(3, 3, 3), (torch.rand(1, 3, 8, 8),), train=True)
    monkeypatch.setattr(trial, "parts", lambda: iter([part]))
    monkeypatch.setattr(trial, "modes", lambda device: [Mode("fp32"), Mode("compiled", compile=True)])
    assert [(mode.name, found) for _, mode, found in trial.differences(CPU)] == [("fp32", 0.0)]


class Unsteady(nn.Module):
    """Gives another result every time, as a device would that computes wrongly; fails where `error` says so."""

    def __init__(self, error: str = "") -> None:
        super().__init__()
        self.scale, self.error, self.calls = nn.Parameter(torch.ones(1)), error, 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.error and self.calls > 1:
            raise RuntimeError(self.error)
        return image * self.scale * self.calls


@pytest.mark.parametrize(
    "error, words", [("", "differs by 1.0e+00 (at most 0.001)"), ("no kernel\nhere", "no kernel here")]
)
def test_what_differs_or_fails_is_said(monkeypatch, capsys, error: str, words: str) -> None:
    part = Part("one", Unsteady(error), (torch.rand(1, 3, 8, 8),))
    monkeypatch.setattr(trial, "parts", lambda: iter([part]))
    monkeypatch.setattr(trial, "modes", lambda device: [Mode("fp32")])
    runs = [Run("cpu", Mode("fp32")), Run("cpu", Mode("bf16", precision="bf16")), Run("cpu", Mode("fp32"), 2)]
    monkeypatch.setattr(check_setup, "runs", lambda device: runs)

    def pipeline(folder: Path, run: Run) -> tuple[float, float, str]:
        run.output(folder).mkdir()
        return 1.0, 0.5, "" if run.processes == 1 else "DBCGM: broken"

    monkeypatch.setattr(check_setup, "pipeline", pipeline)
    monkeypatch.setattr(check_setup, "grey_levels", lambda folder, run, reference: 2.5)
    assert check_setup.trials(CPU) == ["fp32", "bf16", "fp32, 2 processes"]
    said = capsys.readouterr().out
    assert f"FAIL cpu, fp32: one {words}\n" in said
    assert said.endswith(
        "ok   cpu, fp32: pipeline, 1 s, 0.50 GiB resident\n"
        "FAIL cpu, bf16: pipeline, 1 s, 0.50 GiB resident, differs by 2.50 grey levels (at most 2)\n"
        "FAIL cpu, fp32, 2 processes: pipeline, 1 s, 0.50 GiB resident, DBCGM: broken\n"
    )


def test_on_a_gpu_the_pipeline_is_compared_with_the_cpu(monkeypatch) -> None:
    monkeypatch.setattr(trial, "modes", lambda device: [Mode("fp32"), Mode("TF32", tf32=True)])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = [(run.device, run.name) for run in trial.runs(torch.device("cuda"))]
    assert found == [("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "TF32"), ("cuda", "fp32, 2 processes")]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert len(trial.runs(torch.device("cuda"))) == 3
    assert [run.name for run in trial.runs(CPU)] == ["fp32", "TF32"], "a CPU is one device"


@pytest.mark.parametrize("folder", ["blurring/walk/reblur", "deblurring/ESTRNN/baseline/walk"])
def test_pictures_of_two_pipelines_are_compared(tmp_path: Path, folder: str) -> None:
    one, other = Run("cuda", Mode("fp32")), Run("cpu", Mode("fp32"))
    assert trial.grey_levels(tmp_path, one, other) == float("inf")
    for run, value in ((one, 103), (other, 100)):
        write_image(run.output(tmp_path) / folder / "1.png", np.full((8, 8, 3), value, np.uint8))
    assert trial.grey_levels(tmp_path, one, other) == 3
    # A region that one of them did not choose.
    write_image(other.output(tmp_path) / folder / "2.png", np.zeros((8, 8, 3), np.uint8))
    assert trial.grey_levels(tmp_path, one, other) == 3


@pytest.mark.parametrize("failed", [[], ["bf16"]])
def test_the_last_line_says_what_works(monkeypatch, capsys, failed: list[str]) -> None:
    monkeypatch.setattr(check_setup, "trials", lambda device: failed)
    monkeypatch.setattr(check_setup, "modes", lambda device: [Mode("fp32"), Mode("bf16", precision="bf16")])
    monkeypatch.setattr("sys.argv", ["check_setup.py", "--device", "cpu"])
    if failed:
        with pytest.raises(SystemExit) as end:
            check_setup.main()
        assert end.value.code == 2 and capsys.readouterr().out.endswith(
            "works on cpu: fp32; does not: bf16\n"
        )
    else:
        check_setup.main()
        assert capsys.readouterr().out.endswith("works on cpu: fp32, bf16\n")


@pytest.mark.parametrize(
    "config, words", [("demo", "all there"), ("bsd_2ms16ms", "dbcgm.weights, dataset.root missing")]
)
def test_the_last_line_says_what_a_configuration_lacks(monkeypatch, capsys, config: str, words: str) -> None:
    monkeypatch.setattr(check_setup, "trials", lambda device: [])
    monkeypatch.setattr(check_setup, "modes", lambda device: [Mode("fp32")])
    monkeypatch.setattr("sys.argv", ["check_setup.py", "--config", str(CONFIGS / f"{config}.yaml")])
    with contextlib.nullcontext() if config == "demo" else pytest.raises(SystemExit):
        check_setup.main()
    said = capsys.readouterr()
    last = said.out.splitlines()[-1]
    assert last.startswith(f"works on cpu: fp32; {config}.yaml: ") and last.endswith(words) and not said.err


def test_the_pipeline_runs_and_its_error_is_told(tmp_path: Path, monkeypatch) -> None:
    run = Run("cpu", Mode("fp32"))
    seconds, memory, problem = trial.pipeline(tmp_path / "good", run)
    assert problem == "" and seconds > 0 and 0.1 < memory < 4
    assert trial.grey_levels(tmp_path / "good", run, run) == 0
    monkeypatch.setattr(trial, "FRAMES", 2)
    assert trial.pipeline(tmp_path / "short", run)[2].startswith("RSDM/main.py: ")
