"""The rivals that the benchmark compares with: losses and patches by hand, tiny trainings, tiny adaptations."""

import copy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
import yaml
from test_training import ALONE, Stopped, _same, data  # noqa: F401, a fixture
from tiny import one_thread  # noqa: F401, a fixture
from torch import Tensor, nn

from common.checkpoints import load_checkpoint, save_checkpoint
from common.config import Config
from common.config_loader import load_config
from common.errors import UserError
from common.images import read_image
from common.runtime import locks
from common.training.recipe import Setup
from DeblurringModel import models
from DeblurringModel.ESTRNN.identity import start_as_identity
from scripts.rivals import (
    inner_loop,
    losses,
    meta_learn,
    meta_transfer,
    reblurring_loss,
    train_meta_transfer,
    train_reblurring_loss,
    windows,
)
from scripts.rivals.inner_loop import Deblurring, Inner, Networks, adapt, first_order
from scripts.rivals.networks import CLIP, Critic, ReblurringNetwork

ROOT = tiny.ROOT
UNET = {"channels": [4, 4], "blocks": 1, "middle": 1}


def picture(value: float) -> Tensor:
    return torch.full((1, 3, 4, 4), value)


# Losses


def test_reblurring_distance_by_hand():
    """A flat difference of 0.3 has no Laplacian; a single pixel of 1 has -4 there and 1 at its four neighbours."""
    e = losses.EPSILON
    flat = float(losses.reblurring_distance(picture(0.5), picture(0.2)))
    assert flat == pytest.approx((0.09 + e**2) ** 0.5 + 0.05 * e, rel=1e-5)
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 1.0
    found = losses.laplacian(point)[0, 0]
    assert found[2].tolist() == [0, 1, -4, 1, 0] and found[:, 2].tolist() == [0, 1, -4, 1, 0]
    assert float(found.abs().sum()) == 8
    one, four, none = ((value**2 + e**2) ** 0.5 for value in (1, 4, 0))
    expected = (one + 24 * none) / 25 + 0.05 * (four + 4 * one + 20 * none) / 25
    assert float(losses.reblurring_distance(point, torch.zeros_like(point))) == pytest.approx(
        expected, rel=1e-5
    )


def test_cycle_by_hand():
    assert float(losses.cycle(picture(0.7), picture(0.3))) == pytest.approx((0.16 + 1e-6) ** 0.5, rel=1e-5)


def test_critic_and_adversary_pull_opposite_ways():
    real, fake = torch.tensor([2.0, 4.0]), torch.tensor([1.0, 0.0], requires_grad=True)
    assert float(losses.critic_loss(real, fake.detach())) == -2.5
    loss = losses.adversarial(real, fake)
    loss.backward()
    assert float(loss.detach()) == 2.5 and fake.grad.tolist() == [-0.5, -0.5]


def test_critic_learns_within_its_bounds():
    """Real pictures come to score higher than fakes, with weights of at most CLIP, and nothing else is trained."""
    torch.manual_seed(0)
    critic, real, fake = Critic(4), torch.rand(2, 3, 16, 16), torch.full((2, 3, 16, 16), 0.4)
    assert max(float(value.abs().max()) for value in critic.parameters()) <= CLIP
    before = float(losses.critic_loss(critic(real), critic(fake)))
    for _ in range(60):
        critic.learn(real, fake)
    assert float(losses.critic_loss(critic(real), critic(fake))) < before
    largest = max(float(value.abs().max()) for value in critic.parameters())
    assert largest == pytest.approx(CLIP)
    assert not any(value.requires_grad for value in critic.parameters())
    assert all(float(square.max()) > 0 for square in critic.buffers() if square.ndim == 4)


# Networks


@pytest.mark.parametrize("frames", [1, 5])
def test_reblurring_network_begins_as_the_middle_frame(frames):
    network, window = ReblurringNetwork(features=4), torch.rand(2, frames, 3, 16, 24)
    assert torch.equal(network(window), window[:, frames // 2])
    nn.init.normal_(network.tail.weight)
    changed = network(window)
    assert changed.shape == (2, 3, 16, 24) and not torch.allclose(changed, window[:, frames // 2])


def test_reblurring_network_sees_the_neighbours_and_is_as_described():
    torch.manual_seed(0)
    network, window = ReblurringNetwork(), torch.rand(1, 5, 3, 16, 16)
    nn.init.normal_(network.tail.weight)
    other = window.clone()
    other[:, 0] = 0
    assert not torch.equal(network(window), network(other))
    assert tuple(network.head.weight.shape) == (16, 3, 5, 5)
    assert [len(blocks) for blocks in network.down] == [3, 3]
    for wrong in (torch.rand(1, 4, 3, 16, 16), torch.rand(1, 5, 3, 18, 16)):
        with pytest.raises(ValueError):
            network(wrong)


# Patches


def test_change_by_hand():
    """Stripes of 0 and 10 change by 10 to the side, and not at all up and down."""
    stripes = np.zeros((4, 6, 3), np.uint8)
    stripes[:, ::2] = 10
    assert windows.change(stripes) == 5.0 and windows.change(np.zeros_like(stripes)) == 0.0


def test_the_sharpest_frame_of_each_place_is_chosen():
    """The left half is sharpest in frame 5, the right half in frame 3; frames 0 and 8 are sharper, but at the ends."""
    rng, clip = np.random.default_rng(0), np.full((9, 16, 64, 3), 100, np.uint8)
    detail = rng.integers(0, 50, (16, 64, 3)).astype(np.uint8)
    clip[[0, 8]] += 2 * detail
    clip[5, :, :32] += detail[:, :32]
    clip[3, :, 32:] += detail[:, 32:]
    clip[4] += detail // 3
    found = windows.sharpest(clip.__getitem__, 9, (16, 64), 8, np.random.default_rng(1), 40)
    assert len(found) == 40 and len({place[1:] for place in found}) > 20
    for position, _, left in found:
        if left + 8 <= 32 or left >= 32:
            assert position == (5 if left + 8 <= 32 else 3)
    assert windows.cut(clip.__getitem__, found[:2], 8).shape == (2, 5, 8, 8, 3)
    position, top, left = found[0]
    whole = windows.cut(clip.__getitem__, found[:1], 8)[0]
    assert np.array_equal(whole, clip[position - 2 : position + 3, top : top + 8, left : left + 8])


def test_patch_side():
    assert windows.patch_side(288, 384, 96, 8) == 256
    assert windows.patch_side(200, 384, 96, 8) == 96
    for height, smaller, multiple, message in (
        (64, 96, 8, "crop_size: 96 is larger than the frames"),
        (200, 90, 2, "a multiple of 2 and of 4"),
        (300, 96, 24, "patches of 256 pixels, but the networks need a multiple of 24"),
    ):
        with pytest.raises(UserError, match=message):
            windows.patch_side(height, 400, smaller, multiple)


def test_the_middle_frame_is_replaced_and_restored():
    clip = torch.rand(2, 5, 3, 16, 16)
    changed = windows.with_middle(clip, torch.zeros(2, 3, 16, 16))
    assert not changed[:, 2].any() and torch.equal(changed[:, [0, 1, 3, 4]], clip[:, [0, 1, 3, 4]])
    for name, architecture in (
        ("Window_UNet", UNET),
        ("DSTNet", {"num_feat": 4, "num_block": 1}),
    ):
        network, spec = models.build(name, **architecture), models.spec(name)
        if name == "DSTNet":
            nn.init.zeros_(network.recons.weight)
            nn.init.zeros_(network.recons.bias)
        restored = windows.restored_middle(network, spec, clip, "bgr")
        assert torch.allclose(restored, clip[:, 2], atol=1e-6), name


# Meta-learning


def test_first_order_gradient_goes_to_the_unadapted_weights():
    """w = 5 is adapted to 4; the loss (w - 1)^2 is 9 there, and its slope 6, where it would be 8 at w itself."""
    unadapted = torch.tensor(5.0, requires_grad=True)
    adapted = (unadapted.detach() - 1).requires_grad_()
    surrogate = first_order((adapted - 1) ** 2, [adapted], [unadapted])
    surrogate.backward()
    assert float(surrogate.detach()) == 9 and float(unadapted.grad) == 6
    assert adapted.grad is None
    torch.optim.SGD([unadapted], lr=0.5).step()
    assert float(unadapted.detach()) == 2


def networks() -> tuple[Networks, Deblurring]:
    torch.manual_seed(3)
    spec = models.spec("Window_UNet")
    return Networks(models.build("Window_UNet", **UNET)), Deblurring(spec, spec.adaptation_loss)


def test_inner_loop_trains_all_three_and_repeats_itself():
    given, use = networks()
    clip, results = torch.rand(2, 5, 3, 16, 16), []
    for _ in range(2):
        found = copy.deepcopy(given)
        adapt(found, clip, use, Inner(steps=3, rate=1e-3))
        results.append(found.state_dict())
    assert _same(dict(results[0]), dict(results[1]))
    before = given.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], results[0][name])}
    assert changed == {"deblurring", "reblurring", "critic"}


def test_second_half_leaves_the_reblurring_network_alone(monkeypatch):
    """Without the first half's losses the deblurring network alone moves, and gets nearer to its targets."""
    monkeypatch.setattr(inner_loop, "ADVERSARIAL", 0.0)
    monkeypatch.setattr(inner_loop, "CYCLE", 0.0)
    given, use = networks()
    nn.init.normal_(given.reblurring.tail.weight, std=0.1)
    clip, found = torch.rand(1, 5, 3, 16, 16), copy.deepcopy(given)
    adapt(found, clip, use, Inner(steps=20, rate=1e-2))
    assert _same(dict(given.reblurring.state_dict()), dict(found.reblurring.state_dict()))
    shown = windows.with_middle(clip, given.reblurring(clip).detach())
    with torch.no_grad():
        errors = [
            float(use.loss(use.restored(each.deblurring, shown), clip[:, 2])) for each in (given, found)
        ]
    assert errors[1] < 0.9 * errors[0]


def test_outer_step_moves_the_unadapted_weights_by_its_own_rate():
    """The inner loop goes far; the gradient of what it reached arrives at the weights it started from."""
    given, use = networks()
    before = copy.deepcopy(given.state_dict())
    batch = torch.rand(1, 2, 5, 3, 16, 16), torch.rand(1, 2, 5, 3, 16, 16), torch.rand(1, 2, 5, 3, 16, 16)
    inner = Inner(steps=2, rate=1e-2)
    loss = meta_learn.loss(given, batch, use, inner)
    loss.backward()
    assert _same(dict(before), dict(given.state_dict()))
    adapted = copy.deepcopy(given)
    adapt(adapted, batch[0][0], use, inner)
    expected = meta_learn.supervised(adapted, batch[1][0], batch[2][0], use)
    assert float(loss.detach()) == float(expected.detach())
    gradients = torch.autograd.grad(expected, adapted.trained())
    for weight, gradient in zip(given.trained(), gradients, strict=True):
        assert torch.allclose(weight.grad, gradient, atol=1e-7)
    assert any(float(gradient.abs().max()) > 0 for gradient in gradients)


# Trainers


def recipe(folder: Path, data: Path, weights: Path | None, **schedule) -> Path:
    content = {
        "base": str(ROOT / "configs" / "train" / "default.yaml"),
        "output": "out",
        "data": {"root": str(data), "validation": str(data)},
        "network": {
            "name": "ESTRNN",
            "architecture": tiny.ESTRNN_SMALL,
            "weights": weights and str(weights),
        },
        "schedule": {
            "steps": 3,
            "batch_size": 1,
            "crop_size": 32,
            "learning_rate": 1e-4,
            "validate_every": 3,
            "save_every": 2,
            **schedule,
        },
        "runtime": {"workers": 0, "device": "cpu"},
    }
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(2)
    network = models.build("ESTRNN", **tiny.ESTRNN_SMALL)
    start_as_identity(network)
    save_checkpoint({"model_state": network.state_dict()}, folder / "estrnn.pth")
    return folder / "estrnn.pth"


@pytest.fixture(scope="module")
def trained(data, weights, tmp_path_factory) -> dict[str, Path]:
    """The files of all three trainings, by the name of their script."""
    folder = tmp_path_factory.mktemp("trained")
    first = recipe(folder / "first", data, weights)
    tiny.run("scripts.rivals.train_meta_transfer", first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta_learn, "INNER", Inner(patches=2, steps=2))
        second = recipe(
            folder / "second",
            data,
            folder / "first" / "out" / "last.pth",
            steps=2,
            learning_rate=2.5e-6,
            min_learning_rate=2.5e-6,
        )
        tiny.run("scripts.rivals.meta_learn", second)
    third = recipe(folder / "third", data, weights, learning_rate=1e-3)
    tiny.run("scripts.rivals.train_reblurring_loss", third)
    return {
        "train_meta_transfer": folder / "first" / "out" / "last.pth",
        "meta_learn": folder / "second" / "out" / "last.pth",
        "train_reblurring_loss": folder / "third" / "out" / "last.pth",
    }


def test_what_the_trainings_write(trained, weights):
    first, second, third = (load_checkpoint(path) for path in trained.values())
    start = load_checkpoint(weights)["model_state"]
    for content in (first, second):
        parts = {name.partition(".")[0] for name in content["model_state"]}
        assert parts == {"deblurring", "reblurring", "critic"}
    assert (first["rival"], first["network"], third["rival"]) == (
        "meta_transfer",
        "ESTRNN",
        "reblurring_loss",
    )
    assert first["log"][-1]["step"] == 3 and first["log"][-1]["psnr_reblurred"] > 20
    assert third["log"][-1]["loss_validated"] > 0
    moved = {
        name: float((first["model_state"][f"deblurring.{name}"] - value).abs().max())
        for name, value in start.items()
    }
    assert 0 < max(moved.values()) < 1e-3
    far = {
        name: float((value - first["model_state"][name]).abs().max())
        for name, value in second["model_state"].items()
    }
    # Two outer steps of Adam, each of at most its rate; the inner loop's are larger, and the critic's are its own.
    assert 0 < max(far.values()) <= 2 * 2.5e-6 * 1.02
    assert not any(value for name, value in far.items() if name.startswith("critic."))


def test_pretraining_step_by_hand(weights):
    """The loss is half the sum of its three parts, and the critic learns only where there are gradients."""
    given, use = networks()
    batch = torch.rand(1, 6, 3, 16, 16), torch.rand(1, 6, 3, 16, 16)
    before = copy.deepcopy(given.critic.state_dict())
    with torch.no_grad():
        alone = train_meta_transfer.loss(given, batch, use)
    assert _same(dict(before), dict(given.critic.state_dict()))
    blurry, sharp = (torch.cat([clip[:, :5], clip[:, 1:]]) for clip in batch)
    # Both networks begin as the middle frame.
    expected = losses.reblurring_distance(sharp[:, 2], blurry[:, 2]) + use.loss(sharp[:, 2], sharp[:, 2])
    expected = expected + given.critic(blurry[:, 3]).mean() - given.critic(sharp[:, 2]).mean()
    assert float(alone) == pytest.approx(float(expected) / 2, rel=1e-5)
    train_meta_transfer.loss(given, batch, use).backward()
    assert not _same(dict(before), dict(given.critic.state_dict()))
    assert all(weight.grad is None for weight in given.critic.parameters())
    assert float(given.reblurring.tail.weight.grad.abs().max()) > 0


def test_stopped_pretraining_ends_alike(data, weights, trained, tmp_path, monkeypatch):
    """The critic and its optimiser are in the checkpoint: the last weights are those of the run that was not
    stopped."""
    path = recipe(tmp_path / "again", data, weights, save_every=1)
    draw = train_meta_transfer.blurry_and_sharp

    def stops(items: list[int], setup: Setup) -> tuple[Tensor, Tensor]:
        if items == [2]:
            raise Stopped
        return draw(items, setup)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(train_meta_transfer, "blurry_and_sharp", stops)
        tiny.run("scripts.rivals.train_meta_transfer", path)
    last = tmp_path / "again" / "out" / "last.pth"
    assert load_checkpoint(last)["step"] == 2
    tiny.run("scripts.rivals.train_meta_transfer", path)
    states = [load_checkpoint(place) for place in (last, trained["train_meta_transfer"])]
    for name in ("model_state", "optimizer_state", "log"):
        assert _same(states[0][name], states[1][name]), name


def test_reblurring_module_by_hand():
    """A module that adds 0.1: restored 0.5 becomes 0.6, 0.3 from the blurry 0.9; sharp pictures change by 0.1."""

    class Adds(nn.Module):
        def forward(self, window: Tensor) -> Tensor:
            return window[:, window.shape[1] // 2] + 0.1

    found = train_reblurring_loss.halves(Adds(), picture(0.5), picture(0.9), picture(0.2))
    assert float(found) == pytest.approx(0.4, abs=1e-6)
    assert float(reblurring_loss.changed(Adds(), picture(0.3))) == pytest.approx(0.1, abs=1e-6)


# Test time


@pytest.fixture
def case(tmp_path, weights) -> Path:
    """A configuration of one short tiny video."""
    tiny.write_video(tmp_path / "data" / "a", frames=6)
    tiny.write_video(tmp_path / "data" / "b", number=1, frames=6)
    return tiny.write_config(tmp_path, deblurring={"weights": str(weights), "crop_size": 32})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def adapted_to(case: Path, script: str, weights: Path, *more: str, output: str = "out") -> dict[str, bytes]:
    where = f"output={case.parent / output}"
    tiny.run(f"scripts.rivals.{script}", case, "--weights", str(weights), *more, "--set", where)
    return files(case.parent / output / "deblurring" / "ESTRNN" / "adapted")


RIVALS = {"meta_transfer": "meta_learn", "reblurring_loss": "train_reblurring_loss"}
"""The script that trains what each needs."""
FEW = ("--rate", "1e-3", "--steps", "2")


@pytest.mark.parametrize("rival", RIVALS)
def test_adaptation_writes_all_frames_and_ends_alike_after_a_restart(case, trained, rival):
    weights = trained[RIVALS[rival]]
    whole = adapted_to(case, rival, weights, *FEW)
    assert set(whole) == {f"{video}/{8 + index}.png" for video in "ab" for index in range(6)}
    assert read_image(case.parent / "out/deblurring/ESTRNN/adapted/a/8.png").shape == (*tiny.SIZE, 3)
    again = adapted_to(case, rival, weights, *FEW, output="again")
    assert whole == again
    # Killed after some frames of the second video: those that are missing are made, and alike.
    folder = case.parent / "again" / "deblurring" / "ESTRNN" / "adapted"
    for name in ("b/10.png", "b/13.png"):
        (folder / name).unlink()
    kept = (folder / "a" / "8.png").stat().st_mtime_ns
    assert adapted_to(case, rival, weights, *FEW, output="again") == whole
    assert (folder / "a" / "8.png").stat().st_mtime_ns == kept
    # The comparisons can fail: without a step, another result.
    unadapted = adapted_to(case, rival, weights, "--steps", "0", output="unadapted")
    assert list(unadapted) == list(whole) and unadapted != whole
    with pytest.raises(UserError, match="made with other settings: inner.steps: 2 -> 0"):
        adapted_to(case, rival, weights, "--rate", "1e-3", "--steps", "0")


def test_every_video_starts_anew(case, trained):
    """Alone, a video gives what it gives beside another one."""
    both = adapted_to(case, "meta_transfer", trained["meta_learn"], *FEW)
    only = ("--set", "dataset.videos=[b]")
    alone = adapted_to(case, "meta_transfer", trained["meta_learn"], *FEW, *only, output="alone")
    assert alone == {name: content for name, content in both.items() if name.startswith("b/")}


def test_own_start_is_the_network_that_was_trained_along(case, trained):
    stored, config = load_checkpoint(trained["meta_learn"])["model_state"], load_config(Config, case)
    found = {}
    for own in (False, True):
        options = SimpleNamespace(own_start=own, weights=trained["meta_learn"])
        stage = SimpleNamespace(options=options, config=config, world=ALONE)
        found[own] = meta_transfer.loaded(stage).state_dict()
    assert all(torch.equal(found[True][name], value) for name, value in stored.items())
    differing = [name for name, value in stored.items() if not torch.equal(found[False][name], value)]
    assert {name.partition(".")[0] for name in differing} == {"deblurring"}


@pytest.mark.parametrize(
    "rival, file, message",
    [
        (
            "meta_transfer",
            "train_reblurring_loss",
            "expected weights of meta_transfer trained with ESTRNN, found rival",
        ),
        (
            "reblurring_loss",
            "meta_learn",
            "expected weights of reblurring_loss trained with ESTRNN, found rival",
        ),
        ("meta_transfer", "estrnn", "found rival None"),
        ("reblurring_loss", "missing", "weights file does not exist"),
    ],
)
def test_wrong_weights_are_refused_in_one_line(case, trained, weights, rival, file, message):
    path = {**trained, "estrnn": weights, "missing": Path("missing.pth")}[file]
    with pytest.raises(UserError, match=message) as caught:
        adapted_to(case, rival, path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not (case.parent / "out").exists()


def test_the_command_ends_with_one_line(case, trained, tmp_path):
    """A file that names the right rival, and holds other weights."""
    wrong = tmp_path / "wrong.pth"
    save_checkpoint(
        {"model_state": {"a": torch.zeros(1)}, "rival": "meta_transfer", "network": "ESTRNN"}, wrong
    )
    command = [sys.executable, str(ROOT / "scripts/rivals/meta_transfer.py"), "--config", str(case)]
    done = subprocess.run([*command, "--weights", str(wrong)], capture_output=True, text=True)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(lines) == 1
    assert lines[0].startswith(f"error: {wrong}: does not fit Networks: missing ")


def test_a_video_shorter_than_a_window_is_said(tmp_path, weights, trained, capsys):
    tiny.write_video(tmp_path / "data" / "a", frames=3)
    config = tiny.write_config(
        tmp_path, dataset={"min_frames": 1}, deblurring={"weights": str(weights), "crop_size": 32}
    )
    for rival, file in RIVALS.items():
        made = adapted_to(config, rival, trained[file], output=rival)
        assert len(made) == 3
        assert "a: fewer than 5 frames, restored with the unadapted network" in capsys.readouterr().out
        locks.release()
