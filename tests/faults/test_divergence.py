"""A training that runs away stops in one line and leaves the last good state; one that works is left
alone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor, nn

from common.checkpoints import load_checkpoint
from common.errors import UserError
from common.runtime import locks
from common.runtime.distributed import World
from common.training.divergence import FAR, NEGLIGIBLE
from common.training.loop import Plan, Task, fit

ALONE = World(0, 1, torch.device("cpu"))
PLAN = Plan(
    80,
    2,
    lambda step: 1e-3,
    workers=0,
    validate_every=20,
    save_every=20,
    label="a training",
    section="deblurring",
)


class Line(nn.Module):
    """One weight, one normalisation: a line through pictures of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.fixture(autouse=True)
def unlocked() -> Iterator[None]:
    yield
    locks.release()


def batch(items: list[int]) -> tuple[Tensor]:
    return (torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4).repeat(len(items), 1, 1, 1) * (1 + items[0] % 3),)


def plain(network: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
    return (network(given[0]) - 0.5).square().mean()


class At:
    """`plain`, but from its call number `step` on (those with gradients) spoiled."""

    def __init__(self, step: int, spoil) -> None:
        self.step, self.spoil, self.calls = step, spoil, 0

    def __call__(self, network: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
        loss = plain(network, given)
        if torch.is_grad_enabled():
            self.calls += 1
            if self.calls > self.step:
                return self.spoil(loss)
        return loss


def stopped(folder: Path, loss, plan: Plan = PLAN) -> str:
    torch.manual_seed(1)
    with pytest.raises(UserError) as caught:
        fit(Line(), Task(batch, loss, lambda network: {"figure": 1.0}, "figure"), plan, folder, ALONE, {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_at_once(tmp_path: Path, value: float) -> None:
    message = stopped(tmp_path, At(70, lambda loss: loss * value))
    for words in (
        "a training: diverged at step 71, the loss is",
        f"{tmp_path / 'last.pth'} keeps the last good state",
        "Lower deblurring.learning_rate (here 0.001)",
        "deblurring.gradient_clip",
        "runtime.precision fp32",
        "--overwrite",
    ):
        assert words in message
    stored = load_checkpoint(tmp_path / "last.pth")
    assert stored["step"] == 60 and all(
        torch.isfinite(value).all() for value in stored["model_state"].values()
    )


def test_before_the_first_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert "nothing had been saved yet" in stopped(tmp_path, At(7, lambda loss: loss * float("nan")))
    assert not any(tmp_path.iterdir())


def test_weights_spoiled_by_a_step_with_a_good_loss_are_not_saved(tmp_path: Path) -> None:
    """The gradient of a root at zero is infinite, its value is not."""

    def spoil(loss: Tensor) -> Tensor:
        return loss + (loss - loss.detach()).sqrt()

    # Call 40 is the step that is saved, with a finite loss and weights of NaN.
    message = stopped(tmp_path, At(39, spoil))
    assert "diverged at step 40, weights are NaN or infinite" in message
    assert load_checkpoint(tmp_path / "last.pth")["step"] == 20
    assert all(
        torch.isfinite(value).all()
        for value in load_checkpoint(tmp_path / "best.pth")["model_state"].values()
    )


def test_a_loss_far_above_the_starts_stops_before_it_is_saved(tmp_path: Path) -> None:
    message = stopped(tmp_path, plain, replace(PLAN, learning_rate=lambda step: 1e-3 if step < 45 else 1e4))
    assert "diverged at step 50" in message or "diverged at step 60" in message
    assert "that of the weights it started from" in message
    assert load_checkpoint(tmp_path / "last.pth")["step"] == 40


def test_a_lower_rate_goes_through(tmp_path: Path) -> None:
    torch.manual_seed(1)
    rows = fit(
        Line(), Task(batch, plain), replace(PLAN, learning_rate=lambda step: 3e-3), tmp_path, ALONE, {}
    )
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_ratios_of_next_to_nothing_are_no_divergence(tmp_path: Path) -> None:
    """Pairs without blur: the loss starts near zero, and a thousandfold of that is still nothing."""

    def loss(network: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
        changed = sum(parameter.detach().square().sum() for parameter in network.parameters())
        return plain(network, given) * 0 + 1e-6 * changed

    assert fit(Line(), Task(batch, loss), PLAN, tmp_path, ALONE, {})[-1]["loss"] < FAR * NEGLIGIBLE


def test_looking_back_changes_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch statistics, random numbers and weights are those of a training that is not watched."""
    states = []
    for every in (1, 10**9):
        monkeypatch.setattr("common.training.loop.CHECK_EVERY", every)
        torch.manual_seed(1)
        network = Line()
        fit(
            network,
            Task(batch, lambda net, given: plain(net, given) + 0 * torch.rand(1).sum()),
            replace(PLAN, steps=30),
            tmp_path / str(every),
            ALONE,
            {},
        )
        states.append(network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_fine_tuning_names_its_own_settings_and_starts_again_as_the_house_has_it(tmp_path: Path) -> None:
    config = tiny.make(tmp_path / "case", deblurring={"learning_rate": 10.0, "epochs": 30})
    for stage in tiny.STAGES[:3]:
        tiny.run(stage, config)
    main = "DeblurringModel.deblur_finetune_DDP"
    with pytest.raises(
        UserError, match="stage 4, fine-tuning: diverged at step .* Lower deblurring.learning_rate"
    ):
        tiny.run(main, config)
    with pytest.raises(UserError, match="stopped after|no adapted weights"):
        tiny.run("DeblurringModel.deblur_inference", config)
    lower = ("--set", "deblurring.learning_rate=1e-4", "deblurring.epochs=2", "--overwrite")
    tiny.run(main, config, *lower)
    assert (tmp_path / "case/out/deblurring/ESTRNN/weights/last.pth").exists()
