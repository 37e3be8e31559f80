"""Training on rendered samples in stages with averaged weights: its parts by hand, and killed and started
again."""

import math
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny import one_thread  # noqa: F401
from torch import nn

from common.checkpoints import load_checkpoint, load_state
from common.config import ScheduleConfig, StageConfig, TrainConfig, as_dict
from common.config_loader import load_config
from common.errors import UserError
from common.images import write_array, write_image
from common.rendering.content import Still
from common.rendering.real import render_real
from common.runtime.distributed import World
from common.training import recipe
from common.training.loop import Plan, Task, fit
from common.training.rendered_domain import RenderedDomain
from common.training.stages import planned
from common.training.state import WARM_UP, Averaged, WeightAverage
from DeblurringModel import losses
from DeblurringModel.pretrain import blurry_and_sharp

ROOT = Path(__file__).resolve().parents[1]
ALONE = World(0, 1, torch.device("cpu"))


def _texture(seed: int, height: int = 140, width: int = 160) -> np.ndarray:
    cells = np.random.default_rng(seed).integers(0, 256, (height // 5, width // 5, 3))
    return np.kron(cells, np.ones((5, 5, 1))).astype(np.uint8)


def _refused(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The average of the weights.


def test_average_by_hand():
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(1.0)
    average, expected = WeightAverage(network, 0.5), 1.0
    for step in range(12):
        with torch.no_grad():
            network.weight.fill_(float(step))
        average.update(step)
        decay = min(0.5, (1 + step) / (WARM_UP + step))
        expected = decay * expected + (1 - decay) * step
        assert average.state["weight"].item() == pytest.approx(expected, rel=1e-6)
    # From step 8 on, 9 / 18, the decay is the one asked for.
    assert (1 + 8) / (WARM_UP + 8) == 0.5


def test_buffers_are_taken_as_they_are():
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, 0.999)
    network(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    average.update(500)
    assert torch.equal(average.state["running_mean"], network.running_mean)
    assert average.state["num_batches_tracked"] == 1
    assert torch.equal(network.weight, torch.ones(2))


def test_averaged_weights_are_there_within_the_block_only():
    network = nn.Linear(2, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    average = WeightAverage(network, 0.9)
    average.state["bias"].fill_(7.0)
    with Averaged(network, average):
        assert (network.bias == 7).all()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    with Averaged(network, None):
        assert torch.equal(before["bias"], network.bias)


# Stages.

SCHEDULE = ScheduleConfig(
    batch_size=4,
    crop_size=96,
    frames=8,
    stages=[StageConfig(0.5), StageConfig(0.3, 128, 12, 2), StageConfig(0.2, None, 20, 1)],
)


def test_stages_switch_at_the_stated_steps():
    stages = planned(SCHEDULE, 10)
    sizes = [(s.crop_size, s.frames, s.batch_size) for s in (stages.at_step(step) for step in range(10))]
    assert sizes == [(96, 8, 4)] * 5 + [(128, 12, 2)] * 3 + [(96, 20, 1)] * 2
    assert [stages.items(step) for step in (0, 4, 5, 7, 8, 9)] == [
        [0, 1, 2, 3],
        [16, 17, 18, 19],
        [20, 21],
        [24, 25],
        [26],
        [27],
    ]
    assert [stages.at_item(item).frames for item in (-3, 0, 19, 20, 25, 26, 27)] == [8, 8, 8, 12, 12, 20, 20]


def test_without_stages_there_is_one():
    stages = planned(replace(SCHEDULE, stages=[]), 7)
    assert stages.items(6) == [24, 25, 26, 27] and len(stages.stages) == 1
    assert stages.at_item(10**6) == stages.at_step(3)


def test_impossible_stages():
    half = replace(SCHEDULE, stages=[StageConfig(0.5), StageConfig(0.4)])
    assert _refused(planned, half, 10) == "schedule.stages: the shares have to sum to 1, found 0.9"
    short = replace(SCHEDULE, stages=[StageConfig(0.01), StageConfig(0.99)])
    assert _refused(planned, short, 10) == "schedule.stages[0]: share 0.01 of 10 steps is none"


def test_stages_in_a_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "schedule: {stages: [{share: 0.5}, {share: 0.5, frames: 12}]}\ndata: {content: [a, /b]}\n"
    )
    config = load_config(TrainConfig, path)
    assert config.schedule.stages == [StageConfig(0.5), StageConfig(0.5, frames=12)]
    assert config.data.content == [tmp_path / "a", Path("/b")]
    plain = as_dict(config)
    assert plain["schedule"]["stages"][1] == {
        "share": 0.5,
        "crop_size": None,
        "frames": 12,
        "batch_size": None,
    }
    assert plain["data"]["content"] == [str(tmp_path / "a"), "/b"]
    for text, message in (
        ("schedule.stages=3", "schedule.stages: expected a list of {key: value}, found 3"),
        ("schedule.stages=[4]", "schedule.stages: expected a list of {key: value}, found [4]"),
        ("schedule.stages=[{shares: 1}]", "unknown key `schedule.stages[0].shares`; did you mean"),
        ("schedule.stages=[{share: 2}]", "schedule.stages[0].share: expected at most 1, found 2"),
        ("data.content=a", "data.content: expected a list of paths, found 'a'"),
        ("data.content=[3]", "data.content: expected a list of paths, found [3]"),
    ):
        assert message in _refused(load_config, TrainConfig, path, [text])


# The loop.


def _batch(items: list[int]) -> tuple[torch.Tensor]:
    return (torch.tensor([[float(item), 1.0] for item in items]),)


def _fit(folder: Path, **changes) -> nn.Linear:
    torch.manual_seed(0)
    network = nn.Linear(2, 1)
    task = Task(_batch, lambda net, batch: (net(batch[0]) - 1).square().mean(), _weight, "weight")
    plan = Plan(6, 2, lambda step: 0.1, workers=0, validate_every=6, save_every=6)
    fit(network, task, replace(plan, **changes), folder, ALONE, {})
    return network


def _weight(network: nn.Linear) -> dict[str, float]:
    return {"weight": float(network.weight.sum())}


def test_the_average_is_validated_and_exported(tmp_path):
    network = _fit(tmp_path / "averaged", average=0.9)
    plain = _fit(tmp_path / "plain")
    # The training itself is the same.
    assert torch.equal(network.weight, plain.weight)
    last, best = (load_checkpoint(tmp_path / "averaged" / name) for name in ("last.pth", "best.pth"))
    assert torch.equal(last["trained_state"]["weight"], network.weight)
    assert not torch.equal(last["model_state"]["weight"], network.weight)
    assert torch.equal(last["model_state"]["weight"], best["model_state"]["weight"])
    assert last["log"][-1]["weight"] == pytest.approx(float(last["model_state"]["weight"].sum()))
    assert torch.equal(
        load_state(tmp_path / "averaged" / "last.pth")["weight"], last["model_state"]["weight"]
    )
    assert "trained_state" not in load_checkpoint(tmp_path / "plain" / "last.pth")


def test_the_optimiser_is_the_one_asked_for(tmp_path):
    """AdamW takes rate x decay of every weight off at each step, beside Adam's own step; without gradients
    nothing else is left."""
    network = nn.Linear(2, 1)
    nn.init.constant_(network.weight, 2.0)
    task = Task(_batch, lambda net, batch: 0 * net(batch[0]).sum())
    plan = Plan(3, 2, lambda step: 0.1, workers=0, optimizer="adamw", weight_decay=0.5)
    fit(network, task, plan, tmp_path / "decayed", ALONE, {})
    assert network.weight.tolist()[0] == pytest.approx([2 * 0.95**3] * 2)
    fit(network, task, replace(plan, optimizer="adam", weight_decay=0.0), tmp_path / "plain", ALONE, {})
    assert network.weight.tolist()[0] == pytest.approx([2 * 0.95**3] * 2)


def test_a_state_without_an_average_is_refused_where_one_is_asked_for(tmp_path):
    _fit(tmp_path, steps=3)
    message = _refused(lambda: _fit(tmp_path, average=0.9))
    assert message.startswith(f"{tmp_path / 'last.pth'}: not a state that this training can go on from")


# Losses.


def test_mean_squared_error_and_psnr_by_hand():
    target = torch.zeros(2, 1, 3, 4, 4)
    prediction = target.clone()
    prediction[0] = 0.1
    prediction[1] = 0.001
    assert losses.mean_squared_error(prediction, target).item() == pytest.approx((0.01 + 1e-6) / 2)
    # 20 dB and 60 dB; the small constant takes a hundredth of the second's error more.
    expected = (-20 + 10 * math.log10(1e-6 + 1e-8)) / 2
    assert losses.negative_psnr(prediction, target).item() == pytest.approx(expected, abs=1e-4)
    assert losses.negative_psnr(target, target).item() == pytest.approx(-80)


def test_loss_by_name():
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.rand(2, 3, 8, 8, generator=generator) for _ in range(2))
    own = losses.mmp_rnn_loss
    named = {
        "own": own,
        "l1": losses.mean_absolute_error,
        "mse": losses.mean_squared_error,
        "charbonnier": losses.colour_charbonnier,
        "psnr": losses.negative_psnr,
    }
    for name, function in named.items():
        assert losses.named(name, 0.0, own) is function
        both = losses.named(name, 0.1, own)(prediction, target)
        fourier = 0.1 * losses.fourier_difference(prediction, target)
        assert both.item() == pytest.approx((function(prediction, target) + fourier).item(), rel=1e-6)
    assert set(named) == set(ScheduleConfig.__dataclass_fields__["loss"].metadata["choices"])


# Rendered samples.


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("content")
    for seed in range(3):
        write_image(folder / f"{seed}.png", _texture(seed))
    return folder


@pytest.fixture(scope="module")
def validation(tmp_path_factory) -> Path:
    """Two clips of five frames, 64 x 48."""
    root = tmp_path_factory.mktemp("validation")
    for seed in range(2):
        clip = render_real([Still(_texture(9 + seed))], 5, 48, 64, np.random.default_rng(seed))
        for frame in range(5):
            write_image(root / f"{seed}" / "Blur" / "RGB" / f"{frame}.png", clip.blurry[frame])
            write_image(root / f"{seed}" / "Sharp" / "RGB" / f"{frame}.png", clip.sharp[frame])
            write_array(root / f"{seed}" / "Condition" / f"{frame}.npy", clip.condition(frame))
    return root


TRAINERS = {
    "bme": (
        "RSDM/bme/train.py",
        {"name": "resnet10_slim", "architecture": {"width": 4}, "batch_statistics": "fixed"},
        {},
    ),
    "id_blau": (
        "BlurringModel/id_blau/train.py",
        {
            "architecture": {
                "base_channels": 4,
                "channel_mults": [1, 1],
                "num_res_blocks": 1,
                "time_dim": 8,
            }
        },
        {"num_timesteps": 20, "sampling_steps": 1, "beta_T": 0.5, "prediction": "image", "direction": "axis"},
    ),
    "estrnn": (
        "DeblurringModel/pretrain.py",
        {"name": "ESTRNN", "architecture": {"n_features": 2, "n_blocks": 1}},
        {},
    ),
    "window_unet": (
        "DeblurringModel/pretrain.py",
        {"name": "Window_UNet", "architecture": {"channels": [4, 4], "blocks": 1, "middle": 1}},
        {},
    ),
}


def _recipe(folder: Path, name: str, content: Path, validation: Path) -> Path:
    _, network, diffusion = TRAINERS[name]
    # With statistics measured on one size, an untrained BME runs wild on another.
    crop = 32 if name == "bme" else 40
    stages = [{"share": 0.5}, {"share": 0.5, "crop_size": crop, "frames": 6, "batch_size": 1}]
    path = folder / "recipe.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "base": str(ROOT / "configs" / "train" / "default.yaml"),
                "output": "out",
                "data": {
                    "render": "real",
                    "content": [str(content)],
                    "validation": str(validation),
                    # Only the deblurring networks read it.
                    "first_frames": 0.5,
                },
                "network": network,
                "diffusion": diffusion,
                "schedule": {
                    "steps": 6,
                    "batch_size": 2,
                    "crop_size": 32,
                    "stages": stages,
                    "loss": "psnr" if name == "estrnn" else "own",
                    "fourier_weight": 0.1,
                    "optimizer": "adamw",
                    "weight_decay": 0.01,
                    "average": 0.9,
                    "validate_every": 3,
                    "save_every": 2,
                    "gradient_clip": 1.0,
                },
                "runtime": {"workers": 2, "device": "cpu"},
            }
        )
    )
    return path


class Stopped(Exception):
    pass


def _train(name: str, path: Path, monkeypatch, *overrides: str) -> None:
    command = [str(ROOT / TRAINERS[name][0]), "--config", str(path)]
    monkeypatch.setattr(sys, "argv", [*command, *(["--set", *overrides] if overrides else [])])
    runpy.run_path(command[0], run_name="trainer")["main"]()


def _same(one: object, two: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(_same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(_same, one, two))
    return one == two


@pytest.mark.parametrize("name", TRAINERS)
def test_interrupted_training_ends_alike(name, content, validation, tmp_path, monkeypatch, capsys):
    """Interrupted in the first stage and in the second, each time between two checkpoints."""
    (tmp_path / "whole").mkdir()
    _train(name, _recipe(tmp_path / "whole", name, content, validation), monkeypatch)
    shown = capsys.readouterr().out
    assert "rendering " in shown and "% of the processor time, over 6 steps)" in shown
    path, draw = _recipe(tmp_path, name, content, validation), recipe.Setup.draw
    for stop in (7, 8):
        # Six samples in the first three steps, then one a step.
        def stopping(setup, item, *arguments, last=stop):
            if item >= last:
                raise Stopped
            return draw(setup, item, *arguments)

        monkeypatch.setattr(recipe.Setup, "draw", stopping)
        with pytest.raises(Stopped):
            _train(name, path, monkeypatch)
    monkeypatch.setattr(recipe.Setup, "draw", draw)
    _train(name, path, monkeypatch)
    assert "going on after step 4" in capsys.readouterr().out
    for file in ("last.pth", "best.pth"):
        expected, found = (
            load_checkpoint(folder / "out" / file) for folder in (tmp_path / "whole", tmp_path)
        )
        assert _same(expected, found), file
    assert load_checkpoint(tmp_path / "out" / "last.pth")["step"] == 6


def _opened(monkeypatch, path: Path, *overrides: str) -> recipe.Setup:
    monkeypatch.setattr(
        sys, "argv", ["train", "--config", str(path), *(["--set", *overrides] if overrides else [])]
    )
    return recipe.open_recipe("a trainer")


def test_a_sample_depends_on_its_number_alone(content, validation, tmp_path, monkeypatch):
    path = _recipe(tmp_path, "estrnn", content, validation)
    one, two = _opened(monkeypatch, path), _opened(monkeypatch, path)
    samples = [one.draw(item) for item in range(9)]
    again = [two.draw(item) for item in reversed(range(9))][::-1]
    for (window, turn, _), (window_two, turn_two, _) in zip(samples, again, strict=True):
        assert turn == turn_two
        for kind in ("Blur/RGB", "Sharp/RGB"):
            assert np.array_equal(one.train.images(kind, window), two.train.images(kind, window_two))
        assert np.array_equal(one.train.condition_crop(window), two.train.condition_crop(window_two))
    shapes = [one.train.images("Blur/RGB", window).shape for window, _, _ in samples]
    assert shapes == [(5, 32, 32, 3)] * 6 + [(6, 40, 40, 3)] * 3
    crops = [one.train.images("Sharp/RGB", window).tobytes() for window, _, _ in samples]
    assert len(set(crops)) == 9


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["data.content=[]"], "data.content is not set: data.render needs photographs or videos"),
        (["data.root=somewhere"], "data.root and data.render are both set"),
        (["data.render=none"], "data.content is what data.render: real renders from"),
        (["data.content=[nowhere]"], "nowhere: no such file or folder"),
        (["schedule.steps=0", "schedule.epochs=2"], "schedule.epochs: rendered data have no end"),
        (["schedule.steps=1"], "schedule.stages[0]: share 0.5 of 1 steps is none"),
    ],
)
def test_refused_recipes(content, validation, tmp_path, monkeypatch, overrides, message):
    path = _recipe(tmp_path, "estrnn", content, validation)
    assert message in _refused(_opened, monkeypatch, path, *overrides)
    assert not (tmp_path / "out").exists()


def test_refused_settings_of_the_optimiser_and_the_crop(content, validation, tmp_path, monkeypatch):
    path = _recipe(tmp_path, "estrnn", content, validation)
    message = _refused(_train, "estrnn", path, monkeypatch, "schedule.optimizer=adam")
    assert message == "schedule.weight_decay: 0.01 needs schedule.optimizer adamw, found adam"
    stages = "schedule.stages=[{share: 1, crop_size: 42}]"
    message = _refused(_train, "estrnn", path, monkeypatch, stages, f"output={tmp_path / 'other'}")
    assert message == "schedule.crop_size: expected a multiple of 4, at least 4, found 42"
    domain = RenderedDomain([content])
    assert "an even size, found 33" in _refused(domain.draw, np.random.default_rng(0), 33)


def test_one_step_is_refused_where_the_noise_is_predicted(content, validation, tmp_path, monkeypatch):
    path = _recipe(tmp_path, "id_blau", content, validation)
    message = _refused(_train, "id_blau", path, monkeypatch, "diffusion.prediction=noise")
    assert message.startswith("diffusion.sampling_steps: 1 step is for a network that predicts the image")


def test_no_path_is_longer_than_the_longest(content):
    def longest(limit):
        domain = RenderedDomain([content], "camera", limit)
        lengths = []
        for seed in range(12):
            crop = domain.draw(np.random.default_rng(seed), 32, 4)
            lengths += [domain.condition_crop(crop, frame)[2].max() for frame in range(4)]
        return max(lengths)

    # An object's own path adds to the camera's.
    assert longest(6.0) < 13 < longest(40.0)


def test_a_share_of_the_samples_is_made_as_gopros_are(content):
    def samples(share):
        domain = RenderedDomain([content], "camera", 6.0, share)
        clips = [domain.draw(np.random.default_rng(seed), 32, 1).clip for seed in range(40)]
        return [clip.blurry.tobytes() for clip in clips]

    none, some, every = samples(0.0), samples(0.3), samples(1.0)
    # One draw more moves the stream, so that only the clips of the same kind are alike.
    assert not set(none) & set(every) and 4 <= len(set(some) & set(every)) <= 20


def test_a_share_of_the_clips_begins_as_a_video_does(content, validation, tmp_path, monkeypatch):
    path = _recipe(tmp_path, "estrnn", content, validation)
    items = list(range(12))
    drawn = {}
    for share in (0.0, 0.5, 1.0):
        setup = _opened(
            monkeypatch,
            path,
            "schedule.stages=[]",
            f"data.first_frames={share}",
            "schedule.frames=7",
            "--overwrite",
        )
        drawn[share] = blurry_and_sharp(items, setup, 2)
    blurry, sharp = drawn[0.0]
    mirrored = blurry[:, [4, 3, 2, 3, 4, 5, 6]]
    assert torch.equal(drawn[1.0][0], mirrored) and torch.equal(drawn[1.0][1], sharp)
    begins = [torch.equal(one, two) for one, two in zip(drawn[0.5][0], mirrored)]
    assert 2 <= sum(begins) <= 10
    assert all(start or torch.equal(one, two) for start, one, two in zip(begins, drawn[0.5][0], blurry))
