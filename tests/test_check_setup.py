"""scripts/check_setup.py: what works here, and what is missing."""

from pathlib import Path

import pytest
import torch
from torch import nn

from common.config import Config
from common.config_loader import load_config
from common.errors import UserError
from scripts import check_setup
from scripts.preparation import trial
from scripts.preparation.machine import machine_lines, needs
from scripts.preparation.trial import Mode, Part

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
    monkeypatch.setattr(check_setup, "runs", lambda device: [(Mode("fp32"), 1), (Mode("fp32"), 2)])
    monkeypatch.setattr(
        check_setup,
        "pipeline",
        lambda folder, device, mode, processes: (1.0, "" if processes == 1 else "DBCGM: broken"),
    )
    assert check_setup.trials(CPU) == ["fp32", "fp32, 2 processes"]
    said = capsys.readouterr().out
    assert f"FAIL cpu, fp32: one {words}\n" in said
    assert (
        "ok   cpu, fp32: pipeline, 1 s" in said
        and "FAIL cpu, fp32, 2 processes: pipeline, 1 s DBCGM: broken" in said
    )


@pytest.mark.parametrize("failed", [[], ["bf16"]])
def test_the_last_line_says_what_works(monkeypatch, capsys, failed: list[str]) -> None:
    monkeypatch.setattr(check_setup, "trials", lambda device: failed)
    monkeypatch.setattr(check_setup, "modes", lambda device: [Mode("fp32"), Mode("bf16", precision="bf16")])
    monkeypatch.setattr("sys.argv", ["check_setup.py", "--device", "cpu"])
    if failed:
        with pytest.raises(UserError, match="not all that was checked works or is there"):
            check_setup.main()
        assert capsys.readouterr().out.endswith("works on cpu: fp32; does not: bf16\n")
    else:
        check_setup.main()
        assert capsys.readouterr().out.endswith("works on cpu: fp32, bf16\n")


def test_the_pipeline_runs_and_its_error_is_told(tmp_path: Path, monkeypatch) -> None:
    seconds, problem = trial.pipeline(tmp_path / "good", "cpu", Mode("fp32"))
    assert problem == "" and seconds > 0
    assert list((tmp_path / "good" / "fp32_1" / "deblurring" / "ESTRNN" / "adapted" / "walk").glob("*.png"))
    monkeypatch.setattr(trial, "FRAMES", 2)
    assert trial.pipeline(tmp_path / "short", "cpu", Mode("fp32"))[1].startswith("RSDM/main.py: ")
