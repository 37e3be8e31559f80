"""The synthetic benchmark from nothing to its tables, with tiny networks and clips."""

import csv
import json

import numpy as np
import pytest
import tiny
import torch
from test_evaluation import call_here
from tiny import one_thread  # noqa: F401, a fixture

from common.checkpoints import save_checkpoint
from common.config import Config, as_dict
from common.config_loader import load_config, preset_overrides
from common.errors import UserError
from common.images import read_image
from common.metrics import psnr
from common.runtime import locks
from common.runtime.provenance import differences
from common.videos import find_videos
from DeblurringModel.fine_tuning import epochs_and_steps
from scripts import diagnose_synthetic, eval_synthetic
from scripts.evaluation.runner import ROOT
from scripts.evaluation.synthetic import moments, runs
from scripts.evaluation.synthetic.cells import TABLE_2, TABLE_3, TABLES
from scripts.rivals.networks import ReblurringNetwork


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """A folder with tiny weights and a configuration; clips are rendered small."""
    folder = tmp_path_factory.mktemp("synthetic")
    config = tiny.make(
        folder,
        rsdm={"border": 3, "min_size": 48},
        dbcgm={"frames": "all", "motion": True, "adapt_magnitude": False},
        blurring={
            "window": "moved",
            "steps": 2,
            "renoise": True,
            "moved": {"blend_still": True, "denoise_target": True},
        },
        deblurring={"epochs": 1, "batch_size": 1, "rehearsal": 1},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "SIZE", (80, 64))
        patch.setattr(runs, "CLIPS", 1)
        patch.setattr(runs, "FRAMES", 8)
        yield folder, config


def run(folder, config, monkeypatch, *arguments) -> list[str]:
    """Run the benchmark in this process; returns the stages that it called."""
    log = folder / "calls.txt"
    log.unlink(missing_ok=True)

    def call(command):
        call_here(
            [*command, "--jobs", "1"] if "make_synthetic_dataset.py" in command[1] else command, str(log)
        )

    monkeypatch.setattr(runs, "call", call)
    monkeypatch.setattr(
        "sys.argv",
        ["eval_synthetic.py", "--config", str(config), "--output", str(folder / "bench"), *arguments],
    )
    try:
        eval_synthetic.main()
    finally:
        locks.release()
    return log.read_text().splitlines() if log.exists() else []


def test_table_1_from_nothing_and_again(setup, monkeypatch, capsys):
    folder, config = setup
    calls = run(folder, config, monkeypatch, "--tables", "1", "--domains", "action", "--seeds", "1")
    for script, times in (
        ("RSDM", 1),
        ("DBCGM", 1),
        ("BlurringModel", 1),
        ("DeblurringModel/deblur_finetune", 2),
    ):
        assert sum(line.startswith(script) for line in calls) == times
    text = capsys.readouterr().out
    assert text.count("| ceiling: true pairs") == 3 and "epoch chosen by ground truth" in text
    rows = list(csv.DictReader((folder / "bench" / "synthetic.csv").read_text().splitlines()))
    assert {row["result"] for row in rows} == {"input", "baseline", "method", "true_pairs"}
    assert json.loads((folder / "bench" / "synthetic.json").read_text())[0]["domain"] == "action"
    (video,) = find_videos(folder / "bench" / "data" / "action")
    expected = np.mean(
        [psnr(read_image(blurry), read_image(sharp)) for blurry, sharp in zip(video.frames, video.sharp)]
    )
    assert float(next(row["psnr"] for row in rows if row["result"] == "input")) == pytest.approx(expected)
    again = run(folder, config, monkeypatch, "--tables", "1", "--domains", "action", "--seeds", "1")
    assert [line.split()[0] for line in again] == ["scripts/make_synthetic_dataset.py"]
    assert capsys.readouterr().out.split("## ")[1] == text.split("## ")[1]


def test_diagnosis_of_table_1(setup, monkeypatch, capsys):
    folder, config = setup
    run(folder, config, monkeypatch, "--tables", "1", "--domains", "action", "--seeds", "1")
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["diagnose_synthetic.py", str(folder / "bench"), "--config", str(config)])
    diagnose_synthetic.main()
    text = capsys.readouterr().out
    assert text == (folder / "bench" / "stages.md").read_text()
    assert "| true blur of random patches, mean (largest), px | not run |" in text
    blur = np.mean(
        [np.load(path)[2].mean() for path in (folder / "bench" / "data" / "action").glob("*/Condition/*.npy")]
    )
    assert f"| true blur, mean over all frames, px | {blur:.2f} |" in text
    assert "nan" not in text.split("stage 1")[1]


def test_diagnosis_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["diagnose_synthetic.py", str(tmp_path)])
    with pytest.raises(UserError, match="holds no clips; run bash scripts/eval_synthetic.sh"):
        diagnose_synthetic.main()


def test_every_cell_can_be_configured(setup, monkeypatch):
    folder, config = setup
    monkeypatch.setattr(
        "sys.argv", ["eval_synthetic.py", "--config", str(config), "--output", str(folder / "bench")]
    )
    bench = eval_synthetic.Benchmark(eval_synthetic.parse())
    identities = {
        cell.name: bench._identity("action", cell, 1) for table in TABLES.values() for cell in table
    }
    assert len(set(identities.values())) == len(identities)
    assert sum(cell.name == "method" for cell in (*TABLE_2, *TABLE_3)) == 2


def test_rows_of_table_3_read_the_presets():
    """The rows before the first that goes beyond, each with what it names and no more."""
    demo, rows = ROOT / "configs" / "demo.yaml", {cell.name: cell for cell in TABLE_3}
    presets = {name: rows[name].preset for name in rows}
    assert presets["released"] == presets["window_all"] == "released" and presets["five_frame"] == "paper"
    assert not any(presets[name] for name in list(rows)[list(rows).index("moved") :])
    for name, cell in rows.items():
        config = load_config(Config, demo, cell.overrides())
        if cell.preset:
            method = preset_overrides(ROOT / "configs" / "method" / f"{cell.preset}.yaml")
            assert config == load_config(Config, demo, [*method, *cell.settings])
            assert config.blurring.window != "moved" and config.deblurring.rehearsal == 0
    released, paper = (
        load_config(Config, demo, rows[name].overrides()) for name in ("released", "five_frame")
    )
    assert differences(as_dict(released), as_dict(paper)) == [
        "rsdm.border: 3 -> 4",
        "dbcgm.trajectory: 'central' -> 'five_frame'",
        "dbcgm.magnitude_offset: 10.0 -> 0.0",
    ]


@pytest.mark.parametrize("pairs", [8, 40, 400])
def test_quick_trains_for_few_steps(tmp_path, monkeypatch, pairs):
    monkeypatch.setattr("sys.argv", ["eval_synthetic.py", "--quick", "--output", str(tmp_path)])
    bench = eval_synthetic.Benchmark(eval_synthetic.parse())
    for cell in TABLES[1]:
        epochs, per_epoch = epochs_and_steps(bench.config("action", cell, 1)[0].deblurring, pairs)
        assert epochs * per_epoch < eval_synthetic.QUICK_STEPS + per_epoch


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--tables", "6"], "--tables: unknown 6; choose among 1, 2, 3, 4, 5"),
        (["--domains", "far"], "--domains: unknown 'far'; choose among phone, action, night, vehicle"),
        (["--seeds", "-1"], "--seeds: expected at least 1, found -1"),
    ],
)
def test_wrong_arguments(setup, monkeypatch, arguments, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        run(*setup, monkeypatch, *arguments)


def test_table_4_counts_the_choices(setup, monkeypatch, capsys):
    folder, config = setup
    run(folder, config, monkeypatch, "--tables", "4", "--domains", "action", "--seeds", "1")
    text = capsys.readouterr().out
    assert "Of 1 clips: held-out pairs chose the last state for" in text
    rows = json.loads((folder / "bench" / "results" / "action.json").read_text())
    alone, pairs = rows["action scope_video adapted 2023"], rows["action scope_video_best_pairs adapted 2023"]
    assert set(alone["frames"]) == set(alone["steps"]) and all(step > 0 for step in alone["steps"].values())
    before = rows["action baseline baseline 0"]["frames"]
    gain = [np.mean(frames) - np.mean(before[clip]) for clip, frames in alone["frames"].items()]
    assert f"| last state | {np.mean(gain):+.2f} | {np.mean(gain):+.2f} | {min(gain):+.2f} |" in text
    assert all(0 <= step for step in pairs["steps"].values())


def test_table_5_lays_what_is_borrowed_over_each_network(setup, monkeypatch, capsys):
    folder, config = setup
    # Little is borrowed for such small clips: the reblurred pairs alone are learned from as well.
    cells = ("--cells", "method,pairs_both")
    calls = run(folder, config, monkeypatch, "--tables", "5", "--domains", "action", *cells)
    assert sum("--variant aligned" in line for line in calls) == 1
    assert sum(line.startswith("DeblurringModel/deblur_finetune") for line in calls) <= 2
    text = capsys.readouterr().out
    bench = folder / "bench"
    links = [
        bench / "runs" / "action" / f"{cell}_2023/deblurring/ESTRNN/aligned"
        for cell in ("method", "pairs_both")
    ]
    assert len({link.resolve() for link in links}) == 1 and all(link.is_symlink() for link in links)
    (video,) = find_videos(bench / "data" / "action")
    rows = json.loads((bench / "results" / "action.json").read_text())
    alone, fused, adapted = (
        rows[f"action method {variant} 2023"]["frames"][video.name]
        for variant in ("aligned", "fused", "adapted")
    )
    pictures = [links[0] / video.name / "picture" / f"{name}.png" for name in video.names]
    assert alone == [psnr(read_image(one), read_image(two)) for one, two in zip(pictures, video.sharp)]
    blur = [np.load(path)[2].mean() for path in sorted((video.sharp[0].parents[2] / "Condition").iterdir())]
    third = np.argsort(blur)[-2:]
    gains = np.array(fused) - adapted
    label = "adapted, reblurred pairs (the paper)"
    assert (
        f"| fused: borrowed, and {label} | {np.mean(fused):.2f} | {np.mean(np.array(fused)[third]):.2f} | {label} | "
        f"{gains.mean():+.2f} | {gains[third].mean():+.2f} | {gains.mean():+.2f} | {gains.min():+.2f} |"
    ) in text.splitlines()


def test_a_rival_is_a_row_where_its_weights_are(setup, monkeypatch, capsys):
    folder, config = setup
    torch.manual_seed(0)
    module = ReblurringNetwork()
    torch.nn.init.normal_(module.tail.weight, std=0.01)
    rivals = folder / "rivals"
    content = {"model_state": module.state_dict(), "rival": "reblurring_loss", "network": "ESTRNN"}
    save_checkpoint(content, rivals / "reblurring_loss.pth")
    cells = ("--cells", "meta_transfer,reblurring_loss", "--rivals", str(rivals))
    calls = run(folder, config, monkeypatch, "--tables", "3", "--domains", "action", *cells)
    assert sum("scripts/rivals" in line for line in calls) == 1
    text, bench = capsys.readouterr().out, folder / "bench"
    label = "rival: meta-transfer (Liu et al., 2022), from the same network as all other rows"
    assert [line for line in text.splitlines() if line.startswith(f"| {label} |")] == [
        f"| {label} | missing |",
        f"| {label} | missing | missing | missing |",
        f"| {label} | missing |",
    ]
    (video,) = find_videos(bench / "data" / "action")
    made = bench / "runs" / "action" / "reblurring_loss_2023" / "deblurring" / "ESTRNN" / "adapted"
    expected = [
        psnr(read_image(video.restored(made, position)), read_image(sharp))
        for position, sharp in enumerate(video.sharp)
    ]
    row = json.loads((bench / "results" / "action.json").read_text())["action reblurring_loss adapted 2023"]
    assert row["frames"][video.name] == expected and row["steps"] == {}
    assert f"| rival: reblurring loss (Nah et al., 2022) | {np.mean(expected):.2f} |" in text
    # Other weights are another result.
    before = row["identity"]
    save_checkpoint({**content, "step": 1}, rivals / "reblurring_loss.pth")
    bench = eval_synthetic.Benchmark(eval_synthetic.parse())
    assert bench._identity("action", TABLE_3[-1], 2023) != before


def test_gains_by_hand():
    blur = {"a": [5.0, 1.0, 9.0, 2.0, 3.0, 4.0], "b": [0.0, 8.0, 0.0]}
    over = {"a": [30.0] * 6, "b": [20.0, 20.0, np.inf]}
    result = {"a": [31.0, 29.0, 34.0, 30.0, 30.0, 30.0], "b": [20.0, 26.0, np.inf]}
    found = moments.gain(result, over, blur)
    assert (found.blurriest, found.frame) == pytest.approx(((2.5 + 6) / 2, -1.0))
    assert (found.mean, found.clip) == pytest.approx(((4 / 6 + 2) / 2, 4 / 6))
    assert moments.mean_psnr({"a": result["a"]}, blur) == pytest.approx((184 / 6, 32.5))
