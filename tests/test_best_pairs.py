"""deblurring.select best_pairs: the state that is best on held-out pairs, the unadapted one included."""

import csv
from pathlib import Path

import pytest
import tiny
from tiny import one_thread  # noqa: F401, a fixture

from common.checkpoints import load_checkpoint
from common.errors import UserError
from DeblurringModel.pairs import Pair, hold_out

PAIRS = [
    Pair((Path(f"{index}.png"),) * 5, Path(f"{index}.png"), (0, 0, 8, 8), f"a/{index}") for index in range(11)
]


def test_a_fifth_is_held_out():
    kept, held_out = hold_out(PAIRS, 3)
    assert len(held_out) == 2 and sorted(kept + held_out, key=PAIRS.index) == PAIRS
    assert hold_out(PAIRS, 3) == (kept, held_out)
    assert any(hold_out(PAIRS, seed) != (kept, held_out) for seed in range(4, 8))
    assert [len(part) for part in hold_out(PAIRS[:2], 3)] == [1, 1]
    with pytest.raises(UserError, match="needs at least 2, found 1"):
        hold_out(PAIRS[:1], 3)


def test_all_windows_of_a_patch_are_on_one_side():
    copies = [pair for pair in PAIRS for _ in range(4)]
    kept, held_out = hold_out(copies, 3)
    assert len(held_out) == 8 and not {pair.name for pair in kept} & {pair.name for pair in held_out}
    with pytest.raises(UserError, match="needs at least 2, found 1"):
        hold_out(copies[:4], 3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Stages 1 to 3 of the tiny case."""
    folder = tmp_path_factory.mktemp("best_pairs")
    config = tiny.make(folder, deblurring={"select": "best_pairs"})
    for stage in ("RSDM", "DBCGM", "BlurringModel"):
        tiny.run(stage, config)
    return config


def log(config: Path) -> list[dict]:
    return list(csv.DictReader((weights(config) / "log.csv").read_text().splitlines()))


def weights(config: Path) -> Path:
    return config.parent / "out" / "deblurring" / "ESTRNN" / "weights"


def test_every_epoch_and_the_start_are_judged(pairs, capsys):
    tiny.run("DeblurringModel", pairs, "--overwrite")
    rows = log(pairs)
    values = [float(row["psnr_held_out"]) for row in rows]
    assert [int(row["step"]) for row in rows][0] == 0 and len(rows) == 3
    best = load_checkpoint(weights(pairs) / "best.pth")
    assert best["figures"]["psnr_held_out"] == pytest.approx(max(values))
    assert "adapted (best on held-out pairs, label-free)" in capsys.readouterr().out


def test_never_worse_means_the_unadapted_network(pairs, capsys):
    """Nothing is learned at a rate of zero: the start stays the best, is used, and said to be."""
    tiny.run(
        "DeblurringModel",
        pairs,
        "--overwrite",
        "--set",
        "deblurring.learning_rate=0.0",
        "deblurring.min_learning_rate=0.0",
    )
    assert load_checkpoint(weights(pairs) / "best.pth")["step"] == 0
    assert "no state was better on the 1 held-out pairs than the unadapted network" in capsys.readouterr().out
    folder = weights(pairs).parent
    adapted = sorted((folder / "adapted").glob("*/*.png"))
    assert adapted and all(
        path.read_bytes() == (folder / "baseline" / path.parent.name / path.name).read_bytes()
        for path in adapted
    )


def test_patience_ends_a_fine_tuning_that_gains_nothing(pairs, capsys):
    options = (
        "--set",
        "deblurring.learning_rate=0.0",
        "deblurring.min_learning_rate=0.0",
        "deblurring.epochs=5",
        "deblurring.patience=2",
    )
    tiny.run("DeblurringModel", pairs, "--overwrite", *options)
    said = capsys.readouterr().out
    assert "steps, no better state in the last 2 validations (5 epochs" in said
    assert len(log(pairs)) == 3
    before = (weights(pairs) / "last.pth").stat().st_mtime_ns
    tiny.run("DeblurringModel", pairs, *options)
    assert (weights(pairs) / "last.pth").stat().st_mtime_ns == before
    assert "no better state" not in capsys.readouterr().out
