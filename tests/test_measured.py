"""blurring.model measured: kernels of the video's own blur, and regions blurred by them."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from test_aligned import STROKE, texture, view
from test_pipeline import environment
from tiny import one_thread  # noqa: F401, a fixture

from BlurringModel.reblurring import measured
from BlurringModel.reblurring.measured import Measured
from common.images import write_array
from common.layout import Layout
from common.metrics import psnr
from common.rendering import kernels
from common.videos import Video

INNER = np.s_[24:-24, 24:-24]
BENT = np.zeros((11, 11), np.float32)
BENT[5, :6] = BENT[5:, 5] = 1
BENT /= BENT.sum()
"""No line: to the right, then down."""


def test_the_blur_of_a_frame_is_found_and_given_to_another_picture() -> None:
    scene, other = texture(), texture(3)
    known = measured.against(view(scene, kernel=BENT, noise=1), [view(scene, 6.2, -3.4, noise=1, seed=1)])
    assert known.shape == (*kernels.shape(160, 208), kernels.KERNEL, kernels.KERNEL)
    sums = known.sum((2, 3))
    assert ((sums == 0) | (np.abs(sums - 1) < 1e-4)).all() and (sums[1:3, 1:4] > 0).all()
    blurred = measured.blurred(view(other), known, (0, 0, 160, 208))
    # As the bent kernel blurs it, its centre of mass kept in place.
    rows, columns = np.mgrid[-5:6, -5:6]
    x, y = float((BENT * columns).sum()), float((BENT * rows).sum())
    truth = min(
        (view(other, sign * x, sign * y, kernel=BENT) for sign in (-1, 1)),
        key=lambda picture: -psnr(picture[INNER], blurred[INNER]),
    )
    assert psnr(blurred[INNER], truth[INNER]) > psnr(view(other)[INNER], truth[INNER]) + 8


def test_nothing_is_measured_where_nothing_is_explained() -> None:
    frame = view(texture(), kernel=STROKE)
    assert not measured.against(frame, []).any()
    assert not measured.against(frame, [view(texture(8))]).any()
    rng = np.random.default_rng(3)
    noise = [rng.normal(128, 10, (160, 208, 3)).clip(0, 255).astype(np.uint8) for _ in range(3)]
    assert not any(values.any() for _, values in measured.kernels_of_frames(noise.__getitem__, 3, range(3)))
    # The better of two: what the first does not show, the second does.
    hidden = view(texture(), 4.0)
    hidden[:, 104:] = texture(5)[:160, :104]
    half = measured.against(frame, [hidden])
    both = measured.against(frame, [hidden, view(texture(), 4.0)])
    assert half.any() and not half[:, -1].any() and (both.sum((2, 3)) > 0)[1:3, 1:4].all()


def test_a_box_is_blurred_as_in_the_whole_picture() -> None:
    scene = texture()
    known = measured.against(view(scene, kernel=STROKE), [view(scene, 5.0)])
    picture, whole = view(texture(2)), (0, 0, 160, 208)
    every = measured.blurred(picture, known, whole)
    for box in ((60, 70, 100, 140), (0, 0, 48, 48), (96, 144, 160, 208), (50, 50, 51, 51)):
        r0, c0, r1, c1 = box
        part = measured.blurred(picture, known, box)
        assert part.shape == (r1 - r0, c1 - c0, 3)
        rows, columns = measured.blocks_of(box)
        if (known[rows, columns].sum((2, 3)) > 0).all():
            assert np.abs(part.astype(int) - every[r0:r1, c0:c1]).max() <= 1


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Measured, Video]:
    """Six frames of 160 x 208: kernels everywhere in 2 and 4, in the left third in 5, none elsewhere."""
    video = Video("a", tuple(tmp_path / f"{index}.png" for index in range(6)), ())
    found = Measured(Layout(tmp_path))
    for position in range(6):
        values = np.zeros((*kernels.shape(160, 208), kernels.KERNEL, kernels.KERNEL), np.float32)
        if position in (2, 4):
            values[..., 15, 15] = 1
        if position == 5:
            values[:, :2, 15, 15] = 1
        write_array(found.path(video, position), values)
    return found, video


def test_moments_are_drawn_among_those_measured_in_the_box(kept: tuple[Measured, Video]) -> None:
    found, video = kept
    left, right = (0, 0, 96, 48), (0, 150, 96, 200)
    assert [found.at(video, position, left) is not None for position in range(-1, 7)] == [
        *(False, False, False, True, False, True, True, False)
    ]
    assert {found.drawn(video, "0", left, seed) for seed in range(30)} == {2, 4, 5}
    assert {found.drawn(video, "2", right, seed) for seed in range(30)} == {4}
    assert found.drawn(video, "0", left, 3) == found.drawn(video, "0", left, 3)
    none = np.zeros_like(found.at(video, 2, left)())
    for position in (2, 4, 5):
        write_array(found.path(video, position), none)
    # Which blocks are known is read once.
    again = Measured(found.layout)
    assert again.drawn(video, "0", left, 3) is None and not again.has_any(video)


# The stage


@pytest.fixture(scope="module")
def conditions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny case, large enough for a few blocks, after stages 1 and 2 with what every window needs."""
    folder = tmp_path_factory.mktemp("measured") / "case"
    config = tiny.make(
        folder,
        (144, 160),
        rsdm={"border": 3},
        dbcgm={"frames": "all", "motion": True, "adapt_magnitude": False, "magnitude_offset": 0.0},
        blurring={"model": "measured", "gamma": 2.2},
    )
    for stage in ("RSDM", "DBCGM"):
        tiny.run(stage, config)
    return folder


def reblurred(folder: Path) -> dict[str, bytes]:
    pictures = sorted(path for path in folder.rglob("*.png") if path.parts[-2] in ("reblur", *"01234"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in pictures}


@pytest.mark.parametrize("window", ["center", "all", "moved"])
def test_regions_are_blurred_by_the_videos_kernels(
    conditions: Path,
    tmp_path: Path,
    window: str,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(conditions, tmp_path / "case")
    config, out = tmp_path / "case" / "config.yaml", tmp_path / "case" / "out" / "blurring"
    chosen = ("--set", f"blurring.window={window}")
    tiny.run("BlurringModel", config, *chosen)
    known = {path: np.load(path) for path in out.rglob("*.npy")}
    assert len(known) == len(tiny.VIDEOS) * tiny.FRAMES and any(values.any() for values in known.values())
    own = out.rename(tmp_path / "own")
    assert "can be measured" not in capsys.readouterr().out
    # Where nothing is measured it is the line blur, and that is said.
    monkeypatch.setattr(measured, "TRIED", 0)
    tiny.run("BlurringModel", config, *chosen)
    none = out.rename(tmp_path / "none")
    said = capsys.readouterr().out
    for video in tiny.VIDEOS:
        assert f"{video}: no frame's blur can be measured, so it is blurred along lines" in said
    tiny.run("BlurringModel", config, *chosen, "blurring.model=line")
    assert reblurred(none) == reblurred(out) != {}
    assert reblurred(own).keys() == reblurred(out).keys() and reblurred(own) != reblurred(out)


def test_two_processes_and_a_restart_give_the_same(conditions: Path, tmp_path: Path) -> None:
    shutil.copytree(conditions, tmp_path / "case")
    config, out = tmp_path / "case" / "config.yaml", tmp_path / "case" / "out" / "blurring"
    moved = ("--set", "blurring.window=moved")
    tiny.run("BlurringModel", config, *moved)
    whole = {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*.*")
        if path.suffix in (".png", ".npy")
    }
    # A run that was killed while it measured, and one while it blurred.
    for path in [*out.glob("*/kernels/*1*.npy"), *list(out.glob("*/reblur/*.png"))[:1]]:
        path.unlink()
    tiny.run("BlurringModel", config, *moved)
    for again in range(2):
        assert all((out / name).read_bytes() == data for name, data in whole.items())
        if again:
            break
        shutil.rmtree(out)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        script = tiny.ROOT / "BlurringModel" / "main.py"
        result = subprocess.run(
            [*command, str(script), "--config", str(config), *moved],
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr[-4000:]
