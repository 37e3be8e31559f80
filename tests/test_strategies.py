"""Changes of a blur condition against the stored vectors."""

import math
import random

import pytest
import torch
from vectors import expected, image, manifest

from BlurringModel.id_blau.strategies import set_condition

CASE = next(case for case in manifest("id_blau")["cases"] if case["name"] == "strategy")
OUTPUT = expected("id_blau")["strategy/output"]


def maps(scale: float) -> torch.Tensor:
    angle = 2 * math.pi * image("strategy/angle", 1, 1, 4, 4)
    return torch.cat([angle.cos(), angle.sin(), scale * image("strategy/magnitude", 1, 1, 4, 4)], dim=1)


@pytest.mark.parametrize(
    "index", range(len(CASE["strategies"])), ids=["+".join(strategy) for strategy in CASE["strategies"]]
)
def test_stored_changes(index):
    # The last strategy was recorded with fixed choices.
    last = index == len(CASE["strategies"]) - 1
    for column, scale in enumerate(CASE["scales"]):
        for row, seed in enumerate(CASE["seeds"]):
            fixed = dict(choice_num=seed, change_base=3) if last else {}
            changed = set_condition(maps(scale), CASE["strategies"][index], rng=random.Random(seed), **fixed)
            torch.testing.assert_close(changed[0].numpy(), OUTPUT[index, column, row], rtol=1e-6, atol=1e-6)


def test_default_randomness_is_pythons():
    random.seed(4)
    expected_change = set_condition(maps(0.4), ["M20", "O"])
    assert torch.equal(set_condition(maps(0.4), ["M20", "O"], rng=random.Random(4)), expected_change)


def test_input_is_left_alone():
    original = maps(0.4)
    for strategy in ([], ["M20"], ["O"], ["ALLM", "ALLO"]):
        for seed in range(8):
            changed = set_condition(original, strategy, rng=random.Random(seed))
            changed.zero_()
    assert torch.equal(original, maps(0.4))


def test_empty_strategy_changes_nothing():
    assert torch.equal(set_condition(maps(0.4), []), maps(0.4))


@pytest.mark.parametrize("token", ["30O", "60O", "RO"])
def test_rotations_are_by_any_angle_as_published(token):
    changes = [set_condition(maps(0.4), [token], rng=random.Random(seed)) for seed in range(30)]
    before = torch.atan2(maps(0.4)[0, 1, 0, 0], maps(0.4)[0, 0, 0, 0])
    angles = [round(math.degrees(torch.atan2(c[0, 1, 0, 0], c[0, 0, 0, 0]) - before)) for c in changes]
    assert any(angle % 30 for angle in angles)


def test_one_change_for_the_whole_batch():
    batch = torch.cat([maps(0.4), maps(0.4)])
    changed = set_condition(batch, ["M60", "O"], rng=random.Random(3))
    assert changed.shape == batch.shape and torch.equal(changed[0], changed[1])


@pytest.mark.parametrize("name", ["M20", "M30", "M40", "M60", "M80", "M10", "ALLM"])
@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0])
def test_results_stay_conditions(name, scale):
    for seed in range(10):
        changed = set_condition(maps(scale), [name, "ALLO"], rng=random.Random(seed))
        torch.testing.assert_close(changed[:, :2].norm(dim=1), torch.ones(1, 4, 4))
        assert 0 <= changed[:, 2].min() and changed[:, 2].max() <= 1


@pytest.mark.parametrize("token", ["M50", "o", "TURN", ""])
def test_unknown_token(token):
    with pytest.raises(ValueError, match=f"unknown strategy token '{token}', expected one of M20"):
        set_condition(maps(0.4), ["M10", token])
