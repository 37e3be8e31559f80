"""Training: the loop, its exact resume, the three trainers killed and started again, and what they read."""

import csv
import json
import math
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from BlurringModel.id_blau.dataset import encode_direction, normalise_condition, sharp_condition_blur
from common.checkpoints import load_checkpoint
from common.config import DiffusionConfig
from common.errors import UserError
from common.images import write_array, write_image
from common.rendering.clips import render_clip
from common.rendering.line_blur import turned
from common.rendering.presets import PRESETS
from common.runtime.distributed import World, mixed_precision
from common.runtime.seeding import numpy_generator
from common.training import recipe as recipes
from common.training.augmentation import Augmentation
from common.training.frame_cache import FrameCache
from common.training.loop import Plan, Task, fit
from common.training.schedule import cosine, in_vain
from common.training.source_domain import Crop, SourceDomain
from RSDM.bme.dataset import blur_and_magnitude
from RSDM.bme.train import magnitude_figures
from RSDM.magnitude import rank_correlation

ROOT = Path(__file__).resolve().parents[1]
ALONE = World(0, 1, torch.device("cpu"))


def _refused(call: Callable, *arguments, **keywords) -> str:
    """The message, which has to be one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "step, rate",
    [
        (0, 0.25),
        (1, 0.5),
        (3, 1.0),
        (4, 1.0),
        (29, 0.1 + 0.45 * (1 + 0.5**0.5)),
        (54, 0.55),
        (104, 0.1),
        (200, 0.1),
    ],
)
def test_cosine_after_a_warm_up(step, rate):
    assert cosine(step, 104, 1.0, 0.1, warmup=4) == pytest.approx(rate)


def test_cosine_without_a_warm_up():
    assert [cosine(step, 2, 3.0, 1.0) for step in range(3)] == pytest.approx([3.0, 2.0, 1.0])
    assert cosine(0, 0, 3.0, 1.0) == 3.0
    assert cosine(1, 2, 3.0, 3.0) == 3.0


class Network(nn.Module):
    """Everything whose state a restart could lose: batch statistics, dropout, several parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(6, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Stopped(Exception):
    pass


def _network() -> Network:
    torch.manual_seed(5)
    return Network()


def _batch(items: list[int]) -> tuple[Tensor, Tensor]:
    pictures = [numpy_generator("test", item).standard_normal((2, 3, 8, 8)) for item in items]
    first, second = torch.from_numpy(np.stack(pictures)).float().unbind(1)
    return first, second


def _loss(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """With noise from the global stream, as diffusion training has it."""
    return (network(batch[0]) - batch[1] - 0.1 * torch.randn_like(batch[1])).square().mean()


def _validate(network: nn.Module) -> dict[str, float]:
    # Drawing here must not change the training after it.
    figure = float(network(torch.ones(1, 3, 8, 8)).mean() + 0 * torch.rand(1))
    return {"figure": figure, "level": 2.0}


PLAN = Plan(
    12,
    4,
    lambda step: cosine(step, 12, 1e-2, 1e-3, 2),
    gradient_clip=0.5,
    workers=0,
    validate_every=4,
    save_every=3,
    keep=lambda step: f"after_{step}.pth" if step in (5, 9) else None,
)


def _train(folder: Path, plan: Plan = PLAN, stop_before: int | None = None) -> tuple[Network, list[dict]]:
    """A training; with `stop_before`, preparing that step's batch fails."""

    def batch(items: list[int]) -> tuple[Tensor, Tensor]:
        if stop_before is not None and items[0] >= stop_before * plan.batch_size:
            raise Stopped
        return _batch(items)

    network, task = _network(), Task(batch, _loss, _validate, "figure")
    return network, fit(network, task, plan, folder, ALONE, {"network": "tiny"})


def _same(one: object, two: object) -> bool:
    """Equal to the last bit; clock times aside."""
    if isinstance(one, Tensor):
        return isinstance(two, Tensor) and one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(key == "seconds" or _same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(_same, one, two))
    return type(one) is type(two) and one == two


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Path, Network, list[dict]]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, *_train(folder)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stops", [(2,), (3,), (7,), (8,), (11,), (4, 5, 10)])
def test_interrupted_training_ends_alike(uninterrupted, tmp_path, workers, stops):
    """Before the first checkpoint, right after one, between validation and checkpoint, and several times."""
    folder, network, rows = uninterrupted
    plan = replace(PLAN, workers=workers)
    for stop in stops:
        with pytest.raises(Stopped):
            _train(tmp_path, plan, stop)
        if (tmp_path / "last.pth").exists():
            assert load_checkpoint(tmp_path / "last.pth")["step"] <= stop
    again, rows_again = _train(tmp_path, plan)
    assert _same(dict(network.state_dict()), dict(again.state_dict()))
    assert _same(rows, rows_again)
    for name in ("last.pth", "best.pth", "after_5.pth", "after_9.pth"):
        assert _same(load_checkpoint(folder / name), load_checkpoint(tmp_path / name)), name
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.iterdir()}


def test_training_goes_on_where_it_stopped(tmp_path, capsys):
    with pytest.raises(Stopped):
        _train(tmp_path, stop_before=8)
    assert load_checkpoint(tmp_path / "last.pth")["step"] == 6
    seen = []

    def batch(items: list[int]) -> tuple[Tensor, Tensor]:
        seen.append(items)
        return _batch(items)

    fit(_network(), Task(batch, _loss, _validate, "figure"), PLAN, tmp_path, ALONE, {})
    assert seen == [list(range(4 * step, 4 * step + 4)) for step in range(6, 12)]
    assert f"going on after step 6 ({tmp_path / 'last.pth'})" in capsys.readouterr().out


def test_finished_training_is_left_alone(uninterrupted):
    folder, network, rows = uninterrupted
    before = (folder / "last.pth").read_bytes()
    again, rows_again = _train(folder, stop_before=0)
    assert _same(dict(network.state_dict()), dict(again.state_dict()))
    assert rows_again == rows
    assert (folder / "last.pth").read_bytes() == before


def test_training_depends_on_what_it_should(uninterrupted, tmp_path):
    """The comparison above can fail: another seed gives other weights."""
    other, _ = _train(tmp_path, replace(PLAN, seed=1))
    assert not _same(dict(uninterrupted[1].state_dict()), dict(other.state_dict()))


def test_what_a_checkpoint_holds(uninterrupted):
    folder, network, rows = uninterrupted
    last = load_checkpoint(folder / "last.pth")
    assert (last["step"], last["network"], last["losses"]) == (12, "tiny", [])
    assert _same(dict(last["model_state"]), dict(network.state_dict()))
    assert last["optimizer_state"]["state"][0]["step"] == 12
    assert last["log"] == rows
    assert load_checkpoint(folder / "after_5.pth")["step"] == 5
    assert len(load_checkpoint(folder / "after_5.pth")["losses"]) == 1
    assert network.training


def test_log(uninterrupted):
    folder, _, rows = uninterrupted
    with open(folder / "log.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == ["step", "loss", "learning_rate", "figure", "level"]
    assert [int(row["step"]) for row in written] == [4, 8, 12]
    for row, stored in zip(written, rows, strict=True):
        assert {name: float(value) for name, value in row.items()} == stored
        assert stored["learning_rate"] == PLAN.learning_rate(int(stored["step"]) - 1)


def test_logged_loss_is_the_mean_since_the_last_row(tmp_path):
    losses = []

    def loss(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        value = _loss(network, batch)
        # Without gradients it is the look back at the start's loss.
        if torch.is_grad_enabled():
            losses.append(float(value.detach()))
        return value

    rows = fit(_network(), Task(_batch, loss), replace(PLAN, steps=10), tmp_path, ALONE, {})
    assert [row["step"] for row in rows] == [4, 8, 10]
    assert [row["loss"] for row in rows] == pytest.approx(
        [np.mean(losses[start:stop]) for start, stop in ((0, 4), (4, 8), (8, 10))]
    )
    assert not (tmp_path / "best.pth").exists()


NAN = math.nan


@pytest.mark.parametrize(
    "higher, figures, patience, ends",
    [
        (True, [3, 5, 4, 5, 2], 3, True),
        (True, [3, 5, 4, 5, 2], 4, False),
        (False, [3, 5, 4, 5, 2], 1, False),
        (False, [3, 5, 4, 5], 3, True),
        (True, [NAN, 2, NAN], 1, True),
        (True, [NAN, 2], 1, False),
        (True, [5, 4, 3], 0, False),
        (True, [], 1, False),
    ],
)
def test_patience(higher, figures, patience, ends):
    log = [{"step": 0}, *({"step": index, "figure": value} for index, value in enumerate(figures))]
    assert in_vain(log, "figure", higher, patience) is ends


def test_a_training_in_vain_ends_and_stays_ended(tmp_path):
    """The first of its values is the best: with a patience of two the third validation is the last."""
    coming = iter([3.0, 1.0, 2.0])
    validate, plan = lambda network: {"figure": next(coming)}, replace(PLAN, validate_every=2, patience=2)
    task = Task(_batch, _loss, validate, "figure", shared=True)
    log = fit(_network(), task, plan, tmp_path, ALONE, {})
    assert [row["step"] for row in log] == [2, 4, 6] and plan.steps > 6
    stored = load_checkpoint(tmp_path / "last.pth")
    assert (stored["step"], stored["best"], stored["ended"]) == (6, 3.0, True)
    # Started again: no further step and no further validation, which would find `coming` empty.
    assert fit(_network(), task, plan, tmp_path, ALONE, {}) == log
    assert load_checkpoint(tmp_path / "last.pth")["step"] == 6


@pytest.mark.parametrize(
    "higher, figures, steps",
    [
        (True, [3, 5, 4, 5, 2], [1, 2, 2, 2, 2]),
        (False, [3, 5, 4, 2, 2], [1, 1, 1, 4, 4]),
        (True, [NAN, 2, NAN, 3], [1, 2, 2, 4]),
        (False, [NAN, 2, NAN, 1], [1, 2, 2, 4]),
        (False, [2, NAN, 3], [1, 1, 1]),
        (True, [2, NAN, 1], [1, 1, 1]),
    ],
)
def test_best_checkpoint(tmp_path, higher, figures, steps):
    """The first of equals; NaN, from a training that fell apart, never takes the place of a number."""
    kept, states, coming = [], [], iter(figures)

    def validate(network: nn.Module) -> dict[str, float]:
        assert not network.training and torch.is_inference_mode_enabled()
        if states:
            kept.append(load_checkpoint(tmp_path / "best.pth")["step"])
        states.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"other": 0.0, "figure": float(next(coming))}

    plan = replace(PLAN, steps=len(figures), validate_every=1, keep=lambda step: None)
    fit(_network(), Task(_batch, _loss, validate, "figure", higher), plan, tmp_path, ALONE, {"facts": 1})
    best = load_checkpoint(tmp_path / "best.pth")
    assert [*kept, best["step"]] == steps
    assert _same(dict(best["model_state"]), states[steps[-1] - 1])
    assert best["figures"] == {"other": 0.0, "figure": figures[steps[-1] - 1]}
    assert best["facts"] == 1


@pytest.mark.parametrize("clip", [0.0, 0.25, 1e6])
def test_gradient_clip(tmp_path, clip):
    """Adam's first moment after one step is a tenth of the gradient it was given."""
    network, data = nn.Linear(4, 1), torch.tensor([[3.0, 0.0, 4.0, 0.0]])
    task = Task(lambda items: (data,), lambda net, batch: 10 * net(batch[0]).sum())
    fit(network, task, Plan(1, 1, lambda step: 1e-3, clip, workers=0), tmp_path, ALONE, {})
    moments = load_checkpoint(tmp_path / "last.pth")["optimizer_state"]["state"]
    norm = math.sqrt(sum(float(state["exp_avg"].square().sum()) for state in moments.values())) / 0.1
    full = 10 * math.sqrt(26)
    assert norm == pytest.approx(clip if 0 < clip < full else full, rel=1e-4)


def test_frozen_parameters_stay(tmp_path):
    network = _network()
    network.layers[0].requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit(network, Task(_batch, _loss), replace(PLAN, steps=2), tmp_path, ALONE, {})
    after = network.state_dict()
    assert torch.equal(before["layers.0.weight"], after["layers.0.weight"])
    assert not torch.equal(before["layers.4.weight"], after["layers.4.weight"])


def test_3d_convolutions_stay_in_full_precision_on_the_cpu():
    flat, deep = nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3)
    cpu = torch.device("cpu")
    for network, precision, kind in (
        (flat, "bf16", torch.bfloat16),
        (deep, "bf16", torch.float32),
        (flat, "fp32", torch.float32),
    ):
        with mixed_precision(network, cpu, precision):
            assert network(torch.zeros(1, 3, *(5,) * (network.weight.ndim - 2))).dtype == kind


def test_every_process_takes_its_part_of_a_batch():
    items = list(range(8, 16))
    parts = [World(rank, 4, torch.device("cpu")).share(items) for rank in range(4)]
    assert sorted(sum(parts, [])) == items
    assert parts[1] == [9, 13]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two rendered videos of six frames, 96 x 64."""
    root = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("one", "two")):
        rng = np.random.default_rng(number)
        picture = np.kron(rng.integers(0, 256, (10, 14, 3)), np.ones((12, 12, 1))).astype(np.uint8)
        clip = render_clip([picture], PRESETS["source"], 6, 64, 96, rng)
        for index, (blurry, sharp, condition) in enumerate(clip):
            write_image(root / name / "Blur" / "RGB" / f"{index}.png", blurry)
            write_image(root / name / "Sharp" / "RGB" / f"{index}.png", sharp)
            write_array(root / name / "Condition" / f"{index}.npy", condition)
    return root


TRAINERS = {
    "bme": (
        "RSDM/bme/train.py",
        {"network": {"name": "resnet10_slim", "architecture": {"width": 4}, "batch_statistics": "fixed"}},
    ),
    "id_blau": (
        "BlurringModel/id_blau/train.py",
        {
            "network": {
                "architecture": {
                    "base_channels": 4,
                    "channel_mults": [1, 1],
                    "num_res_blocks": 1,
                    "time_dim": 8,
                    "dropout": 0.1,
                }
            },
            "diffusion": {
                "num_timesteps": 20,
                "sampling_steps": 2,
                "beta_T": 0.5,
                "reverse_direction": True,
                "strategy": ["ALLM", "ALLO"],
            },
        },
    ),
    "estrnn": (
        "DeblurringModel/pretrain.py",
        {"network": {"name": "ESTRNN", "architecture": {"n_features": 2, "n_blocks": 1}}},
    ),
}


def _recipe(folder: Path, data: Path, name: str) -> Path:
    recipe = {
        "base": str(ROOT / "configs" / "train" / "default.yaml"),
        "output": "out",
        "data": {"root": str(data), "validation": str(data)},
        "schedule": {
            "steps": 5,
            "batch_size": 2,
            "crop_size": 32,
            "validate_every": 3,
            "save_every": 2,
            "gradient_clip": 1.0,
        },
        "runtime": {"workers": 2, "device": "cpu"},
        **TRAINERS[name][1],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


KILLED = """
import os, runpy, signal, sys
put = os.replace
def replace(source, target):
    # The second checkpoint is written but has not taken the place of the first.
    if os.path.basename(target) == "last.pth" and os.path.exists(target):
        os.kill(os.getpid(), signal.SIGKILL)
    put(source, target)
os.replace = replace
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _run(name: str, recipe: Path, killed: bool = False) -> subprocess.CompletedProcess:
    script = [str(ROOT / TRAINERS[name][0]), "--config", str(recipe)]
    return subprocess.run(
        [sys.executable, *(["-c", KILLED] if killed else []), *script],
        timeout=600,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _whole_run(name: str, folder: Path, data: Path) -> Path:
    done = _run(name, _recipe(folder, data, name))
    assert done.returncode == 0, done.stderr
    assert f"weights: {folder / 'out' / 'best.pth'}, all states: {folder / 'out' / 'last.pth'}" in done.stdout
    assert "going on" not in done.stdout
    return folder / "out"


def _killed_run(name: str, folder: Path, data: Path) -> Path:
    """SIGKILL while step 4 is stored: there is the checkpoint of step 2, and the rest is done again."""
    recipe = _recipe(folder, data, name)
    victim = _run(name, recipe, killed=True)
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    last = folder / "out" / "last.pth"
    assert load_checkpoint(last)["step"] == 2
    shutil.copy(last, folder / "at_death.pth")
    resumed = _run(name, recipe)
    assert resumed.returncode == 0, resumed.stderr
    assert f"going on after step 2 ({last})" in resumed.stdout
    return folder / "out"


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> dict[tuple[str, str], Future]:
    """All trainers, undisturbed and killed, two at a time; a run's own failure shows in its own test."""
    with ThreadPoolExecutor(2) as pool:
        return {
            (name, kind): pool.submit(call, name, tmp_path_factory.mktemp(f"{name}_{kind}"), data)
            for name in TRAINERS
            for kind, call in (("whole", _whole_run), ("killed", _killed_run))
        }


@pytest.mark.parametrize("name", TRAINERS)
def test_killed_trainer_ends_alike(name, runs):
    whole, killed = (runs[name, kind].result() for kind in ("whole", "killed"))
    expected, found = load_checkpoint(whole / "last.pth"), load_checkpoint(killed / "last.pth")
    assert _same(expected, found)
    assert _same(load_checkpoint(whole / "best.pth"), load_checkpoint(killed / "best.pth"))
    assert (whole / "sample.png").read_bytes() == (killed / "sample.png").read_bytes()
    names = {"last.pth", "best.pth", "log.csv", "sample.png", "settings.json", "config.yaml", "run.json"}
    assert {path.name for path in whole.iterdir()} == {path.name for path in killed.iterdir()} == names
    assert expected["step"] == 5 and [row["step"] for row in expected["log"]] == [3, 5]
    assert all(math.isfinite(value) for row in expected["log"] for value in row.values())
    # There was something left to lose: the weights at the kill are others.
    assert not _same(load_checkpoint(killed.parent / "at_death.pth")["model_state"], found["model_state"])


def _exit(monkeypatch, capsys, name: str, recipe: Path, *overrides: str) -> str:
    """The one line that a trainer's refusal prints; its exit code has to be 2."""
    command = [str(ROOT / TRAINERS[name][0]), "--config", str(recipe)]
    monkeypatch.setattr(sys, "argv", [*command, *(["--set", *overrides] if overrides else [])])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(command[0], run_name="__main__")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert caught.value.code == 2, lines
    # A training that had begun leaves its bar above the error.
    assert lines[-1].startswith("error: ")
    assert all("step/s" in line for line in lines[:-1])
    return lines[-1]


@pytest.mark.parametrize(
    "name, override, message",
    [
        ("bme", "network.name=resnet34", "backbone: expected one of resnet50, resnet18, resnet10_slim"),
        ("bme", "network.architecture.depth=3", "network (name, architecture, initialise): "),
        ("bme", "network.architecture.width=3", "width: expected a positive even number, received 3"),
        (
            "bme",
            "schedule.crop_size=36",
            "schedule.crop_size: expected a multiple of 8, at least 24, found 36",
        ),
        (
            "bme",
            "schedule.crop_size=16",
            "schedule.crop_size: expected a multiple of 8, at least 24, found 16",
        ),
        ("bme", "schedule.crop_size=72", "frames of 96 x 64 pixels are smaller than schedule.crop_size 72"),
        ("bme", "schedule.steps=0", "schedule.steps and schedule.epochs are both 0"),
        ("bme", "network.weights=none.pth", "none.pth: "),
        ("bme", "data.root=none", "none: no such data folder; scripts/make_synthetic_dataset.py"),
        ("bme", "data.validation=", "data.validation is not set"),
        ("bme", "output=", "output is not set"),
        (
            "id_blau",
            "network.architecture.base_channels=3",
            "base_channels must be even and at least 2, got 3",
        ),
        ("id_blau", "network.architecture.channel_mults=2", "network (name, architecture, initialise): "),
        ("id_blau", "schedule.crop_size=33", "crop_size: expected a multiple of 2, at least 2, found 33"),
        (
            "id_blau",
            "schedule.crop_size=66",
            "frames of 96 x 64 pixels are smaller than schedule.crop_size 66",
        ),
        ("id_blau", "diffusion.strategy=[M70]", "diffusion.strategy: expected some of M20, "),
        ("id_blau", "diffusion.sampling_steps=11", "expected at most half of num_timesteps (10), found 11"),
        ("estrnn", "network.name=ESTNN", "expected ESTRNN, MMP_RNN, DSTNet, Shift_Net"),
        ("estrnn", "network.architecture.blocks=3", "ESTRNN does not take these keywords"),
        ("estrnn", "network.architecture.n_blocks=0", "n_blocks"),
        ("estrnn", "network.initialise=identity", "n_features: expected at least 12 for an identity start"),
        (
            "estrnn",
            "schedule.crop_size=34",
            "schedule.crop_size: expected a multiple of 4, at least 4, found 34",
        ),
        ("estrnn", "schedule.frames=7", "no video has 7 frames; lower schedule.frames"),
    ],
)
def test_wrong_recipe(data, tmp_path, monkeypatch, capsys, name, override, message):
    monkeypatch.chdir(tmp_path)
    assert message in _exit(monkeypatch, capsys, name, _recipe(tmp_path, data, name), override)
    assert not (tmp_path / "out" / "last.pth").exists()


def test_identity_start_is_for_estrnn(data, tmp_path, monkeypatch, capsys):
    recipe = _recipe(tmp_path, data, "estrnn")
    content = yaml.safe_load(recipe.read_text())
    architecture = {"num_feat": 4, "num_block": 1}
    content["network"] = {"name": "DSTNet", "architecture": architecture, "initialise": "identity"}
    recipe.write_text(yaml.safe_dump(content))
    assert "identity is a start for ESTRNN only" in _exit(monkeypatch, capsys, "estrnn", recipe)


def _opened(
    monkeypatch, path: Path, *overrides: str, processes: int = 1, overwrite: bool = False
) -> recipes.Setup:
    """`open_recipe` in the first of so many processes."""
    command = ["train.py", "--config", str(path), *(["--set", *overrides] if overrides else [])]
    monkeypatch.setattr(sys, "argv", command + ["--overwrite"] * overwrite)
    world = World(0, processes, torch.device("cpu"))
    monkeypatch.setattr(recipes.distributed, "start", lambda *_: world)
    monkeypatch.setattr(World, "barrier", lambda world: None)
    monkeypatch.setattr(World, "gather", lambda world, value: [value] * world.size)
    return recipes.open_recipe("a trainer")


@pytest.mark.parametrize(
    "batch_size, processes, fits", [(8, 3, False), (2, 4, False), (8, 4, True), (3, 3, True)]
)
def test_batch_has_to_be_divisible(data, tmp_path, monkeypatch, batch_size, processes, fits):
    recipe, override = _recipe(tmp_path, data, "bme"), f"schedule.batch_size={batch_size}"
    if fits:
        assert _opened(monkeypatch, recipe, override, processes=processes).world.size == processes
        return
    message = _refused(_opened, monkeypatch, recipe, override, processes=processes)
    assert message == f"schedule.batch_size: {batch_size} cannot be divided among {processes} processes"
    assert not (tmp_path / "out").exists()


def test_other_settings_are_refused(data, tmp_path, monkeypatch):
    recipe = _recipe(tmp_path, data, "bme")
    folder = _opened(monkeypatch, recipe).folder
    (folder / "last.pth").write_bytes(b"an earlier training")
    assert _opened(monkeypatch, recipe, "runtime.workers=0", "runtime.cache_gib=1").folder == folder
    message = _refused(_opened, monkeypatch, recipe, "schedule.crop_size=64", "runtime.seed=1")
    assert message.startswith(f"{folder}: made with other settings: ")
    assert "schedule.crop_size: 32 -> 64" in message and "runtime.seed: 2023 -> 1" in message
    assert (folder / "last.pth").exists()
    _opened(monkeypatch, recipe, "schedule.crop_size=64", overwrite=True)
    assert not (folder / "last.pth").exists()
    assert json.loads((folder / "settings.json").read_text())["schedule"]["crop_size"] == 64


def test_sample_depends_on_its_number_alone(data, tmp_path, monkeypatch):
    setup = _opened(monkeypatch, _recipe(tmp_path, data, "bme"))
    other = _opened(monkeypatch, _recipe(tmp_path, data, "bme"), processes=2)
    forwards = [setup.draw(item, 5) for item in range(40)]
    backwards = [other.draw(item, 5) for item in reversed(range(40))]
    for (window, turn, rng), (window_two, turn_two, rng_two) in zip(forwards, backwards[::-1], strict=True):
        assert (window, turn, rng.integers(2**32)) == (window_two, turn_two, rng_two.integers(2**32))
    assert len({(window.video, window.top, window.left) for window, _, _ in forwards}) > 30
    assert {len(window.frames) for window, _, _ in forwards} == {5}
    assert len({turn for _, turn, _ in forwards}) > 10


@pytest.mark.parametrize("augment, turns", [("none", 1), ("flip", 4), ("flip_rotate", 16)])
def test_augmentation_of_a_recipe(data, tmp_path, monkeypatch, augment, turns):
    setup = _opened(monkeypatch, _recipe(tmp_path, data, "bme"), f"data.augment={augment}")
    assert len({setup.draw(item, 1)[1] for item in range(150)}) == turns
    other = _opened(monkeypatch, _recipe(tmp_path, data, "id_blau"), f"output={tmp_path / 'other'}")
    assert setup.draw(0, 1)[0] == other.draw(0, 1)[0]


def test_windows_are_drawn_evenly(data):
    domain = SourceDomain(data)
    assert len(domain) == 12 and domain.videos == {name: list("012345") for name in ("one", "two")}
    windows = [domain.draw(np.random.default_rng(seed), 60, 5) for seed in range(600)]
    counts = Counter((window.video, window.frames) for window in windows)
    assert set(counts) == {(video, tuple(names)) for video in ("one", "two") for names in ("01234", "12345")}
    assert min(counts.values()) > 110
    assert {window.top for window in windows} == set(range(5))
    assert {window.left for window in windows} == set(range(37))


def test_crops_show_one_place(data):
    domain = SourceDomain(data, FrameCache(0))
    window = Crop("two", ("2", "3"), 10, 20, 32)
    blurry, sharp = domain.images("Blur/RGB", window), domain.images("Sharp/RGB", window)
    assert blurry.shape == sharp.shape == (2, 32, 32, 3)
    assert np.array_equal(blurry[1], domain.frame("Blur/RGB", "two", "3")[10:42, 20:52])
    assert np.array_equal(sharp[0], domain.frame("Sharp/RGB", "two", "2")[10:42, 20:52])
    condition = np.load(data / "two/Condition/3.npy")[:, 10:42, 20:52]
    assert np.array_equal(domain.condition_crop(window, 1), condition)


def test_refused_training_data(tmp_path):
    assert "none: no such data folder; scripts/make_synthetic" in _refused(SourceDomain, tmp_path / "none")
    assert "no <video>/Blur/RGB/<frame>.png inside" in _refused(SourceDomain, tmp_path)
    write_image(tmp_path / "v" / "Blur" / "RGB" / "0.png", np.zeros((8, 8, 3), np.uint8))
    domain = SourceDomain(tmp_path)
    rng = np.random.default_rng(0)
    assert "no video has 2 frames; lower schedule.frames" in _refused(domain.draw, rng, 8, 2)
    assert "frames of 8 x 8 pixels are smaller than schedule.crop_size 9" in _refused(domain.draw, rng, 9)
    assert domain.draw(rng, 8) == Crop("v", ("0",), 0, 0, 8)
    path = tmp_path / "v" / "Condition" / "0.npy"
    path.parent.mkdir()
    for content in (None, b"", b"damaged"):
        if content is not None:
            path.write_bytes(content)
        message = _refused(domain.condition, "v", "0")
        assert message.startswith(f"{path}: missing or not a readable .npy array")
    message = _refused(recipes.validation_frames, domain, 3, margin=2)
    assert "no video has 5 frames for the validation" in message


def test_validation_frames_are_spread_evenly(data):
    domain = SourceDomain(data)
    every = [(video, position) for video in ("one", "two") for position in range(6)]
    inner = [("one", 2), ("one", 3), ("two", 2), ("two", 3)]
    assert recipes.validation_frames(domain, 100) == every
    assert recipes.validation_frames(domain, 2) == [every[0], every[-1]]
    assert recipes.validation_frames(domain, 12, margin=2) == inner
    chosen = recipes.validation_frames(domain, 5)
    assert len(set(chosen)) == 5 and chosen == sorted(chosen)


def _whole(
    video: str, frame: str, turn: Augmentation = Augmentation()
) -> tuple[Crop, Augmentation, np.random.Generator]:
    return Crop(video, (frame,), 0, 8, 64), turn, np.random.default_rng(0)


def test_samples_of_the_magnitude_estimator(data):
    """BGR in [0, 1], and the length of the path in units of 205 pixels at the same place."""
    domain, turn = SourceDomain(data), Augmentation(True, False, 1)
    images, magnitudes = blur_and_magnitude([_whole("one", "1"), _whole("two", "4", turn)], domain)
    assert images.shape == (2, 3, 64, 64) and magnitudes.shape == (2, 1, 64, 64)
    assert images.dtype == magnitudes.dtype == torch.float32
    frame, condition = domain.frame("Blur/RGB", "one", "1")[:, 8:72], domain.condition("one", "1")[2, :, 8:72]
    np.testing.assert_array_equal(images[0].numpy() * 255, frame[..., ::-1].transpose(2, 0, 1))
    np.testing.assert_allclose(magnitudes[0, 0].numpy() * 205, condition, rtol=1e-6)
    frame, condition = domain.frame("Blur/RGB", "two", "4")[:, 8:72], domain.condition("two", "4")[2, :, 8:72]
    np.testing.assert_array_equal(images[1, 2].numpy() * 255, np.rot90(frame[:, ::-1, 0]))
    np.testing.assert_allclose(magnitudes[1, 0].numpy() * 205, np.rot90(condition[:, ::-1]), rtol=1e-6)


def test_samples_of_id_blau(data):
    """Blurred picture; sharp picture and condition, turned together or as published."""
    domain, turn = SourceDomain(data), Augmentation(False, True, 3)
    condition = np.load(data / "one/Condition/1.npy")[:, :, 8:72]
    units = np.array([1, 1, 205])[:, None, None]
    for align in (True, False):
        blurred, given = sharp_condition_blur(
            [_whole("one", "1"), _whole("one", "1", turn)], domain, DiffusionConfig(align_condition=align)
        )
        assert blurred.shape == (2, 3, 64, 64) and given.shape == (2, 6, 64, 64)
        for tensor, kind in ((blurred, "Blur/RGB"), (given[:, :3], "Sharp/RGB")):
            picture = domain.frame(kind, "one", "1")[:, 8:72]
            for item, view in zip(tensor, (picture, turn.image(picture)), strict=True):
                np.testing.assert_allclose(item.numpy(), view.transpose(2, 0, 1) / 255 - 0.5, atol=1e-6)
        np.testing.assert_allclose(given[0, 3:].numpy() * units, condition, rtol=1e-6)
        turned = turn.condition(condition) if align else turn.condition_as_published(condition)
        np.testing.assert_allclose(given[1, 3:].numpy() * units, turned, rtol=1e-6)


def test_blur_has_no_arrow_of_time(data):
    """reverse_direction turns the vectors of about half of the samples round, and changes nothing else."""
    domain = SourceDomain(data)
    samples = [
        (Crop("one", ("1",), 0, 0, 8), Augmentation(), np.random.default_rng(seed)) for seed in range(60)
    ]
    given = [
        sharp_condition_blur(list(samples), domain, DiffusionConfig(reverse_direction=flag))[1]
        for flag in (False, True)
    ]
    changed = [not torch.equal(*pair) for pair in zip(*given)]
    assert 15 < sum(changed) < 45
    for plain, reversed_ in zip(given[0][changed], given[1][changed]):
        assert torch.equal(reversed_[3:5], -plain[3:5])
        assert torch.equal(reversed_[[0, 1, 2, 5]], plain[[0, 1, 2, 5]])


def test_strategies_change_about_half_of_the_conditions(data):
    domain = SourceDomain(data)
    samples = [
        (Crop("one", ("1",), 0, 0, 8), Augmentation(), np.random.default_rng(seed)) for seed in range(60)
    ]
    plain, changed = (
        sharp_condition_blur(list(samples), domain, DiffusionConfig(strategy=strategy))[1]
        for strategy in ([], ["M40", "O"])
    )
    assert 15 < sum(not torch.equal(*pair) for pair in zip(plain, changed)) < 45
    assert torch.equal(plain[:, :3], changed[:, :3])


def test_normalised_condition():
    condition = torch.tensor([[0.6, -0.8, 102.5], [-1.0, 0.0, 410.0]]).reshape(2, 3, 1, 1)
    assert (
        normalise_condition(condition, 205.0).flatten(1).tolist()
        == condition.new_tensor([[0.6, -0.8, 0.5], [-1, 0, 1]]).tolist()
    )
    assert normalise_condition(condition[0], 410.0)[2].item() == 0.25


def test_magnitude_figures():
    """Two frames: errors 1 and 3; the best constant, 2, has errors 0 and 2."""
    truths = [np.full((2, 1), 2.0), np.array([[2.0, 2.0, 6.0, 6.0]])]
    estimates = [np.full((2, 1), 3.0), np.array([[5.0, 5.0, 3.0, 9.0]])]
    assert magnitude_figures(truths, estimates) == pytest.approx(
        {"error_px": (1 + 3) / 2, "constant_error_px": (0 + 2) / 2, "frame_rank_correlation": 1.0}
    )


def test_magnitude_figures_of_a_perfect_and_a_constant_estimate():
    truths = [np.full((4, 4), value) for value in (1.0, 2.0, 4.0, 9.0, 3.0)]
    perfect = magnitude_figures(truths, truths)
    assert perfect == pytest.approx(
        {"error_px": 0.0, "constant_error_px": (2 + 1 + 1 + 6 + 0) / 5, "frame_rank_correlation": 1.0}
    )
    constant = magnitude_figures(truths, [np.full((4, 4), 3.0)] * 5)
    assert constant["error_px"] == constant["constant_error_px"]
    assert constant["frame_rank_correlation"] == 0.0
    opposite = magnitude_figures(truths, [10 - truth for truth in truths])
    assert opposite["frame_rank_correlation"] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    "first, second, value",
    [
        ([1, 2, 3], [10, 20, 15], 0.5),
        ([1, 2, 3, 4], [1, 8, 27, 64], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([86, 97, 99, 100, 101, 103, 106, 110, 112, 113], [2, 20, 28, 27, 50, 29, 7, 17, 6, 12], -29 / 165),
        ([1, 1, 1], [1, 2, 3], 0.0),
        ([1, 2, 3], [5, 5, 5], 0.0),
        ([4], [2], 0.0),
    ],
)
def test_rank_correlation(first, second, value):
    """The fourth is the worked example of Spearman's coefficient in textbooks, rho = -29 / 165."""
    assert rank_correlation(np.array(first, float), np.array(second, float)) == pytest.approx(value)


def test_axis_gives_a_direction_and_its_opposite_alike():
    angles = torch.tensor([0.0, 0.4, 1.9, 3.0])
    vectors = torch.stack([angles.cos(), angles.sin(), torch.full_like(angles, 0.5)])[:, None]
    axis = encode_direction(vectors, "axis")
    expected = torch.stack([(2 * angles).cos(), (2 * angles).sin(), torch.full_like(angles, 0.5)])[:, None]
    assert torch.allclose(axis, expected, atol=1e-6)
    opposite = vectors * torch.tensor([-1.0, -1.0, 1.0])[:, None, None]
    assert torch.equal(encode_direction(opposite, "axis"), axis)
    # A quarter turn is the opposite axis.
    assert torch.allclose(encode_direction(turned(vectors), "axis")[:2], -axis[:2], atol=1e-6)
    nowhere = torch.zeros(3, 1, 4)
    assert torch.equal(encode_direction(nowhere, "axis"), nowhere)
    assert torch.equal(encode_direction(vectors, "vector"), vectors)
