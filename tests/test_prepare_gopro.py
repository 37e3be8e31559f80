"""GoPro preparation on a tiny set in the layout of GOPRO_Large_all."""

import sys

import numpy as np
import pytest

from common.errors import UserError
from common.images import read_image, write_image
from scripts import prepare_gopro


def _frames(count: int, step: int) -> np.ndarray:
    """A smooth random texture that moves `step` pixels to the right each frame, uint8 (count, 64, 96, 3)."""
    texture = np.random.default_rng(3).integers(0, 256, (10, 20, 3)).astype(np.float32)
    wide = np.kron(texture, np.ones((8, 8, 1), np.float32))
    for axis in (0, 1):
        wide = sum(np.roll(wide, shift, axis) for shift in range(-4, 5)) / 9
    return np.stack([wide[:64, 40 - step * t : 136 - step * t] for t in range(count)]).astype(np.uint8)


@pytest.fixture
def gopro(tmp_path):
    for index, frame in enumerate(_frames(11, 2)):
        write_image(tmp_path / "all" / "train" / "GOPR1" / f"{index + 1:06d}.png", frame)
    return tmp_path


def _run(monkeypatch, root, *more):
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "prepare",
            "--root",
            str(root / "all"),
            "--split",
            "train",
            "--out",
            str(root / "out"),
            "--flow",
            "dis",
            *more,
        ],
    )
    prepare_gopro.main()


def test_windows_mean_and_condition(gopro, monkeypatch):
    _run(monkeypatch, gopro, "--window", "5")
    video = gopro / "out" / "GOPR1"
    assert sorted(path.stem for path in (video / "Blur" / "RGB").iterdir()) == ["000003", "000008"]
    frames = _frames(11, 2)
    blur = read_image(video / "Blur" / "RGB" / "000003.png")
    assert np.array_equal(blur, (frames[:5].astype(np.float32).sum(0) / 5).astype(np.uint8))
    assert np.array_equal(read_image(video / "Sharp" / "RGB" / "000008.png"), frames[7])
    x, y, magnitude = np.load(video / "Condition" / "000003.npy")[:, 16:-16, 24:-24]
    # Four steps of two pixels to the right.
    assert np.median(magnitude) == pytest.approx(8, abs=0.5)
    assert np.median(x) > 0.99 and abs(np.median(y)) < 0.1


def test_second_run_does_nothing_and_other_settings_are_refused(gopro, monkeypatch):
    _run(monkeypatch, gopro, "--window", "5")
    before = {path: path.stat().st_mtime_ns for path in (gopro / "out" / "GOPR1").rglob("*.*")}
    monkeypatch.setattr(prepare_gopro, "load_flow", lambda *_: pytest.fail("nothing was left to do"))
    _run(monkeypatch, gopro, "--window", "5")
    assert before == {path: path.stat().st_mtime_ns for path in (gopro / "out" / "GOPR1").rglob("*.*")}
    with pytest.raises(UserError, match="window: 5 -> 7"):
        _run(monkeypatch, gopro, "--window", "7")


def test_errors(gopro, monkeypatch):
    with pytest.raises(UserError, match="odd number"):
        _run(monkeypatch, gopro, "--window", "4")
    with pytest.raises(UserError, match="no video with 13"):
        _run(monkeypatch, gopro, "--window", "13")
    with pytest.raises(UserError, match="GOPRO_Large_all"):
        _run(monkeypatch, gopro / "elsewhere", "--window", "5")
