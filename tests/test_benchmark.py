"""The benchmark on tiny networks: every form runs, and the tables follow from the figures."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import one_thread  # noqa: F401

from common.config import Config
from common.config_loader import load_config
from common.images import to_tensor
from common.runtime.seeding import derive_seed
from RSDM.ablation import random_regions
from RSDM.magnitude import estimate
from scripts import benchmark
from scripts.benchmarking import clip, content, tables, timing, units
from scripts.benchmarking.workload import QUICK, STANDARD

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "what, precision",
    [*((what, "fp32") for what in units.FORMS), ("window:ours", "bf16"), ("network:ESTRNN", "fp32")],
)
def test_every_form_is_measured(what, precision):
    row = timing.figures(what, QUICK, "cpu", precision)
    assert row["seconds"] > 0 and row["runs"] >= 1
    assert (row["flops"] > 0) == (what != "search:both")


def test_operations_are_counted_per_unit():
    flops = {
        what: timing.figures(what, QUICK, "cpu", "fp32")["flops"]
        for what in ("bme:released", "bme:ours", "step:released", "step:ours")
    }
    assert flops["bme:ours"] == flops["bme:released"]
    # The last of the few steps runs the network once more, to see that the training is healthy.
    assert flops["step:released"] <= flops["step:ours"] < 1.15 * flops["step:released"]


def test_both_forms_of_a_frame_give_one_result():
    network, frames = content.bme(QUICK), content.frames(QUICK, 3)
    with torch.inference_mode():
        alone = torch.cat([network(to_tensor(frame[None, ..., ::-1])) for frame in frames])[:, 0].numpy()
        together = estimate(network, frames, torch.device("cpu"))
    assert abs(alone - together).max() < 1e-5 * abs(alone).max()


def test_compiled_forms_compile_and_their_table_names_each(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compiled.append(type(network).__name__))
    rows = {what.partition(":")[0]: timing.figures(what, QUICK, "cpu", "fp32") for what in units.COMPILED}
    # The fine-tuning is begun anew, and asks for its network to be compiled, in the first run and in each
    # timed one.
    assert compiled == ["BlurMagnitudeEstimator", "UNet", *["ESTRNN"] * (1 + QUICK.runs)]
    figures = {
        "compile": {
            unit: {precision: {"ours": row, "compiled": row} for precision in ("fp32", "bf16")}
            for unit, row in rows.items()
        }
    }
    lines = tables.compile(figures, QUICK).splitlines()
    assert len(lines) == 2 + len(rows) and all(line.count("|") == 7 for line in lines)


def test_stage_totals_are_counts_times_units():
    forms = [f"{unit}:{form}" for unit in tables.UNITS for form in ("released", "ours", "bf16")]
    figures = {"units": {form: {"seconds": 1.0} for form in forms} | {"search:both": {"seconds": 0.5}}}
    figures["units"] |= {"clip:ours": {"seconds": 0.25}, "clip:bf16": {"seconds": 0.125}}
    totals = {row["stage"]: row for row in tables.stage_totals(figures, STANDARD)}
    assert totals["stage 1"]["released"] == 150 * 12 + 0.5 and totals["stage 1"]["ours"] == 150 + 0.5
    assert totals["stage 2"]["released"] == 2 * 150 + 150 and totals["stage 2"]["ours"] == 60
    assert totals["stage 3"]["released"] == totals["stage 3"]["bf16"] == 30 * 20
    assert totals["stage 4, fine-tuning"]["ours"] == 10 * 4 * 8 / 2
    assert totals["stage 4, inference"]["ours"] == 146
    assert totals["stage 3"]["fewer"] == totals["stage 3"]["fewer_bf16"] == 30 * 10
    assert totals["stage 4, inference"]["fewer"] == 146 / 4
    assert totals["stage 4, inference"]["fewer_bf16"] == 146 / 8
    assert all(totals[f"stage {name}"]["fewer"] == totals[f"stage {name}"]["ours"] for name in (1, 2))


@pytest.mark.parametrize("part, said", [("units", True), ("networks", False)])
def test_the_output_says_what_released_means(monkeypatch, capsys, part, said):
    for name in ("machine", "units", "networks"):
        monkeypatch.setattr(tables, name, lambda *_: "| | released, s | here, s |")
    benchmark.report({}, QUICK, [part])
    assert ("BME is 1.13 times faster here" in capsys.readouterr().out) == said


def test_memory_of_a_stage_is_its_own_not_that_of_who_measures_it(tmp_path, monkeypatch):
    (tmp_path / "stage.py").write_text(f"held = bytearray({timing.GIB // 4})\n")
    monkeypatch.setattr(timing, "ROOT", tmp_path)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    mine = bytearray(b"\1") * timing.GIB
    assert 0.25 < timing.stage("stage.py", tmp_path / "config.yaml", 1, 1)["gib"] < 0.35
    del mine


@pytest.mark.parametrize("workload", [QUICK, STANDARD])
def test_the_clip_has_work_for_two_processes(tmp_path, workload):
    small = replace(workload, bme=QUICK.bme, unet=QUICK.unet, estrnn=QUICK.estrnn)
    config = load_config(Config, clip.write_case(tmp_path, small, 1, workload.clip), [])
    eligible = workload.clip - 2 * config.rsdm.border
    regions = random_regions(
        eligible,
        (workload.height, workload.width),
        int(workload.clip * config.rsdm.ratio),
        config.rsdm.min_size,
        derive_seed(config.runtime.seed, "regions", "video0"),
    )
    assert [len(boxes) for boxes in regions if boxes] == [1, 1]


def test_a_machine_without_the_device_asked_for_is_told_so():
    if torch.cuda.is_available():
        pytest.skip("has CUDA")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--device", "cuda"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.startswith("error: --device")
