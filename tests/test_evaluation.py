"""The evaluation scripts on tiny trees in the exact shape of each data set: from nothing to the table."""

import csv
import importlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tiny import one_thread  # noqa: F401, a fixture

from common.checkpoints import load_checkpoint
from common.config import Config
from common.config_loader import load_config
from common.errors import UserError
from common.images import read_image, write_image
from common.runtime import locks
from common.videos import find_videos, sorted_frames
from DBCGM.ablation import flow_condition, random_condition
from RSDM.ablation import random_regions
from scripts import datasets, evaluate, prepare_bsd, prepare_rbvd, prepare_realblur
from scripts.evaluation.paper import metrics, running
from scripts.evaluation.paper.cases import make_case
from scripts.evaluation.paper.tables import comma_separated, markdown, plain

ROOT = tiny.ROOT
TABLES = ("bsd", "realblur", "rbvd", "ablation")
ONE = ("--models", "ESTRNN", "--settings", "1ms8ms")

# A program for EVAL_PYTHON that runs what it is given, but the stages in its own process.
IN_PROCESS = """#!{python}
import runpy, sys
sys.path[:0] = {path!r}
import torch
from scripts.evaluation.paper import running
from test_evaluation import call_here

torch.set_num_threads(1)
running.call = lambda command: call_here(command, {log!r})
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def call_here(command: list[str], log: str) -> None:
    """In place of `running.call`: run the stage in this process, because starting one takes seconds, of which
    the tiny case needs a fraction. The call is noted in a file."""
    at = next(index for index, part in enumerate(command) if part.endswith(".py"))
    script = Path(command[at]).relative_to(ROOT)
    with open(log, "a") as file:
        print(script, *command[at + 1 :], file=file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command[at:])
        try:
            importlib.import_module(".".join(script.with_suffix("").parts)).main()
        except UserError as error:
            raise running.StageFailed(str(error)) from None
        finally:
            locks.release()


# Trees in the shape of the downloads


def bsd_download(folder: Path, settings: tuple[str, ...] = ("1ms8ms",)) -> Path:
    """BSD_<setting>/test/<video>/{Blur,Sharp}/RGB/<8 digits>.png"""
    for setting in settings:
        for number, name in enumerate(("000", "001")):
            video = folder / f"BSD_{setting}" / "test" / name
            tiny.write_video(video, number=number)
            for path in [*video.glob("*/RGB/*.png")]:
                path.rename(path.with_name(f"{int(path.stem):08d}.png"))
    return folder


def realblur_download(folder: Path) -> Path:
    """RealBlur-J_.../<scene>/{blur/blur_<N>,gt/gt_<N>}.png, numbers without zeros, one scene's sizes not all
    equal."""
    for number, name in enumerate(("scene001", "scene012")):
        made, scene = folder / "made", folder / "RealBlur-J_ECC_IMCORR_centroid_itensity_ref" / name
        tiny.write_video(made, (66, 78), number)
        for kind, word in (("Blur", "blur"), ("Sharp", "gt")):
            for path in sorted_frames(made / kind / "RGB"):
                image = read_image(path)
                still = int(path.stem)
                cut = {(0, 9): np.s_[:-2], (0, 10): np.s_[1:, :-2]}.get((number, still), np.s_[:])
                write_image(scene / word / f"{word}_{still}.png", image[cut])
        shutil.rmtree(made)
    lines = [
        f"X/{scene.name}/gt/gt_{n}.png X/{scene.name}/blur/blur_{n}.png"
        for scene in sorted(folder.glob("*/*"))
        for n in range(8, 16)
    ]
    (folder / "RealBlur_J_test_list.txt").write_text("\n".join(lines) + "\n")
    return folder


def rbvd_download(folder: Path) -> Path:
    """<video>/{blur,gt}/<frame>.png"""
    for number, name in enumerate(("0001", "0002")):
        tiny.write_video(folder / "made", number=number)
        for kind, word in (("Blur", "blur"), ("Sharp", "gt")):
            (folder / name).mkdir(exist_ok=True)
            (folder / "made" / kind / "RGB").rename(folder / name / word)
        shutil.rmtree(folder / "made")
    return folder


def prepare(module, monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every entry below `folder` (links not followed) with what tells that it was written anew."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_ino)
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


# Preparing the data sets


def test_bsd_is_linked_counted_and_checked(tmp_path, monkeypatch, capsys):
    bsd_download(tmp_path / "download", ("1ms8ms", "3ms24ms"))
    prepare(prepare_bsd, monkeypatch, tmp_path / "download", "--out", tmp_path / "BSD")
    said = capsys.readouterr().out
    assert "BSD 1ms8ms: 2 videos of 8 frames, 72 x 64" in said
    assert "warning: 2 videos, the published set has 20" in said
    assert "warning: frames in a video, the published set has 150: 000 (8), 001 (8)" in said
    assert "warning: frame size, the published set has 640 x 480 pixels: 000/00000008.png (72 x 64)" in said
    assert "missing: BSD 2ms16ms (no BSD_2ms16ms in " in said
    videos = find_videos(tmp_path / "BSD" / "3ms24ms")
    assert [video.name for video in videos] == ["000", "001"]
    assert (tmp_path / "BSD" / "3ms24ms" / "001").is_symlink()
    assert videos[1].sharp[7].samefile(tmp_path / "download/BSD_3ms24ms/test/001/Sharp/RGB/00000015.png")
    before = files(tmp_path)
    prepare(prepare_bsd, monkeypatch, tmp_path / "download", "--out", tmp_path / "BSD")
    prepare(prepare_bsd, monkeypatch, tmp_path / "BSD", "--out", tmp_path / "BSD")
    assert files(tmp_path) == before


def test_the_published_size_and_number_give_no_warning(tmp_path):
    frame = tmp_path / "0.png"
    write_image(frame, np.zeros((480, 640, 3), np.uint8))
    for video in range(20):
        for kind in ("Blur", "Sharp"):
            (tmp_path / "set" / f"{video:03d}" / kind / "RGB").mkdir(parents=True)
            for number in range(150):
                os.link(frame, tmp_path / "set" / f"{video:03d}" / kind / "RGB" / f"{number:08d}.png")
    assert datasets.deviations("bsd_1ms8ms", find_videos(tmp_path / "set")) == []
    (tmp_path / "set" / "007" / "Blur" / "RGB" / "00000149.png").unlink()
    assert datasets.deviations("bsd_1ms8ms", find_videos(tmp_path / "set")) == [
        "frames in a video, the published set has 150: 007 (149)"
    ]


def test_bsd_says_what_is_missing(tmp_path, monkeypatch, capsys):
    bsd_download(tmp_path / "download")
    (tmp_path / "download/BSD_1ms8ms/test/001/Sharp/RGB/00000010.png").unlink()
    shutil.rmtree(tmp_path / "download/BSD_1ms8ms/test/000/Sharp")
    with pytest.raises(UserError, match="not ready: 1ms8ms"):
        prepare(
            prepare_bsd, monkeypatch, tmp_path / "download", "--out", tmp_path / "BSD", "--settings", "1ms8ms"
        )
    said = capsys.readouterr().out
    assert re.search(r"test/001: no ground truth for 00000010\.png", said)
    assert re.search(r"test/000/Sharp/RGB: no PNG frames", said)
    with pytest.raises(UserError, match="holds none of BSD_1ms8ms, BSD_2ms16ms"):
        prepare(prepare_bsd, monkeypatch, tmp_path / "BSD" / "none", "--out", tmp_path / "BSD")
    with pytest.raises(UserError, match="unknown '1ms'"):
        prepare(prepare_bsd, monkeypatch, tmp_path, "--settings", "1ms")


def test_what_is_in_the_way_is_neither_replaced_nor_measured(tmp_path, monkeypatch, capsys):
    bsd_download(tmp_path / "download")
    (tmp_path / "BSD/1ms8ms/000").mkdir(parents=True)
    with pytest.raises(UserError):
        prepare(prepare_bsd, monkeypatch, tmp_path / "download", "--out", tmp_path / "BSD")
    assert "BSD/1ms8ms/000: in the way" in capsys.readouterr().out
    (tmp_path / "BSD/1ms8ms/000").rename(tmp_path / "BSD/1ms8ms/other")
    with pytest.raises(UserError):
        prepare(prepare_bsd, monkeypatch, tmp_path / "download", "--out", tmp_path / "BSD")
    assert "BSD/1ms8ms/other: not part of this preparation" in capsys.readouterr().out


def test_realblur_is_cropped_to_the_scenes_common_size(tmp_path, monkeypatch, capsys):
    source = realblur_download(tmp_path / "download")
    arguments = (source, "--list", source / "RealBlur_J_test_list.txt", "--out", tmp_path / "out")
    prepare(prepare_realblur, monkeypatch, *arguments)
    assert "RealBlur-J: 2 videos of 8 frames, 76 x 64, 78 x 66" in capsys.readouterr().out
    first, second = find_videos(tmp_path / "out")
    # Neighbours by number: 9 before 10.
    assert first.names == second.names == [str(number) for number in range(8, 16)]
    assert all(path.is_symlink() for path in (*second.frames, *second.sharp))
    scene = source / "RealBlur-J_ECC_IMCORR_centroid_itensity_ref" / "scene001"
    for frames, word in ((first.frames, "blur"), (first.sharp, "gt")):
        whole, wide, tall = (read_image(scene / word / f"{word}_{number}.png") for number in (8, 9, 10))
        assert (whole.shape, wide.shape, tall.shape) == ((66, 78, 3), (64, 78, 3), (65, 76, 3))
        assert np.array_equal(read_image(frames[0]), whole[1:65, 1:77])
        assert np.array_equal(read_image(frames[1]), wide[:, 1:77])
        assert np.array_equal(read_image(frames[2]), tall[:64])
    before = files(tmp_path / "out")
    prepare(prepare_realblur, monkeypatch, *arguments)
    assert files(tmp_path / "out") == before


def test_realblur_list_chooses_and_names_what_is_missing(tmp_path, monkeypatch, capsys):
    source = realblur_download(tmp_path / "download")
    listed = source / "RealBlur_J_test_list.txt"
    lines = listed.read_text().split("\n")
    listed.write_text("\n".join(line for line in lines if "scene001" in line and "_15" not in line))
    prepare(prepare_realblur, monkeypatch, source, "--list", listed, "--out", tmp_path / "out")
    assert [(video.name, len(video.frames)) for video in find_videos(tmp_path / "out")] == [("scene001", 7)]
    with listed.open("a") as file:
        file.write("\nX/scene001/gt/gt_99.png X/scene001/blur/blur_99.png")
        file.write("\nX/scene500/gt/gt_1.png X/scene500/blur/blur_1.png")
    with pytest.raises(UserError, match="2 problem"):
        prepare(prepare_realblur, monkeypatch, source, "--list", listed, "--out", tmp_path / "out")
    said = capsys.readouterr().out
    assert "scene001: still 99 of the list is missing" in said and "scene500: in " in said
    listed.write_text("scene001\n")
    with pytest.raises(UserError, match="expected lines with"):
        prepare(prepare_realblur, monkeypatch, source, "--list", listed, "--out", tmp_path / "out")


@pytest.mark.parametrize("outer", [False, True], ids=["video/kind", "kind/video"])
def test_rbvd_in_either_order_of_folders(tmp_path, monkeypatch, capsys, outer):
    source = rbvd_download(tmp_path / "download")
    if outer:
        for folder in [*source.glob("*/*")]:
            target = source / folder.name / folder.parent.name
            target.parent.mkdir(exist_ok=True)
            folder.rename(target)
        for name in ("0001", "0002"):
            (source / name).rmdir()
    prepare(prepare_rbvd, monkeypatch, source, "--out", tmp_path / "out")
    said = capsys.readouterr().out
    assert "RBVD: 2 videos of 8 frames, 72 x 64" in said and "published set has 1440 x 960" in said
    videos = find_videos(tmp_path / "out")
    assert [video.name for video in videos] == ["0001", "0002"]
    assert all(path.is_symlink() for path in videos[0].frames + videos[0].sharp)
    (sorted(source.rglob("blur/**/9.png"))[0]).unlink()
    with pytest.raises(UserError, match="problem"):
        prepare(prepare_rbvd, monkeypatch, source, "--out", tmp_path / "out")
    assert "0001: no blurry frame for 9.png" in capsys.readouterr().out


def test_rbvd_without_known_folder_names(tmp_path, monkeypatch):
    source = rbvd_download(tmp_path / "download")
    for folder in [*source.glob("*/blur")]:
        folder.rename(folder.with_name("long"))
    with pytest.raises(UserError, match="name yours with --blur"):
        prepare(prepare_rbvd, monkeypatch, source, "--out", tmp_path / "out")
    prepare(prepare_rbvd, monkeypatch, source, "--out", tmp_path / "out", "--blur", "long")
    assert len(find_videos(tmp_path / "out")) == 2


# From nothing to the table


class World:
    """A folder with all downloads prepared, weights and a configuration, and what is needed to run the
    scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output, self.log = folder, folder / "eval", folder / "calls.txt"
        bsd = bsd_download(folder / "bsd", ("1ms8ms", "2ms16ms"))
        tiny.write_weights(folder / "weights", sorted_frames(bsd / "BSD_1ms8ms/test/000/Blur/RGB"))
        self.config = tiny.write_config(folder)
        realblur, rbvd = realblur_download(folder / "realblur"), rbvd_download(folder / "rbvd")
        with pytest.MonkeyPatch.context() as patch:
            prepare(prepare_bsd, patch, bsd, "--out", folder / "data" / "BSD")
            prepare(prepare_realblur, patch, realblur, "--out", folder / "data" / "RealBlur_J")
            prepare(prepare_rbvd, patch, rbvd, "--out", folder / "data" / "RBVD")
        self.python = folder / "python"
        self.python.write_text(
            IN_PROCESS.format(python=sys.executable, log=str(self.log), path=[str(ROOT), str(ROOT / "tests")])
        )
        self.python.chmod(0o755)

    def root(self, table: str) -> Path:
        return self.folder / "data" / {"realblur": "RealBlur_J", "rbvd": "RBVD"}.get(table, "BSD")

    def arguments(self, table: str, *more) -> list[str]:
        return [
            "--root",
            str(self.root(table)),
            "--config",
            self.config.name,
            "--output",
            self.output.name,
            "--jobs",
            "1",
            *map(str, more),
        ]

    def script(self, table: str, *more, python: str) -> str:
        """eval_<table>.sh, from another folder than the repository; returns what it said."""
        own = {
            name: value
            for name, value in os.environ.items()
            if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
        }
        command = ["bash", str(ROOT / "scripts" / f"eval_{table}.sh"), *self.arguments(table, *more)]
        result = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**own, "OMP_NUM_THREADS": "1", "EVAL_PYTHON": python},
        )
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout + result.stderr

    def again(self, table: str, *more, output: str = "eval") -> str:
        """The program behind the scripts in this process, with what it says; a UserError is raised."""
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
            patch.chdir(self.folder)
            patch.setattr(running, "call", lambda command: call_here(command, str(self.log)))
            patch.setattr(sys, "argv", ["evaluate", table, *self.arguments(table, *more, "--output", output)])
            try:
                evaluate.main()
            finally:
                locks.release()
        return said.getvalue()

    def calls(self) -> list[str]:
        """What the stages were called with since the last time, and forget it."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def rows(self, table: str, output: str = "eval") -> list[dict]:
        return json.loads((self.folder / output / f"{table}.json").read_text())["rows"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def bsd(world) -> World:
    """After eval_bsd.sh with ESTRNN on one exposure, its stages as processes of their own."""
    world.script("bsd", *ONE, python=sys.executable)
    return world


def picture_values(pictures: list[Path], sharp: list[Path], function: Callable) -> float:
    return float(
        np.mean(
            [
                function(read_image(a).astype(float), read_image(b).astype(float))
                for a, b in zip(pictures, sharp)
            ]
        )
    )


def plain_psnr(first: np.ndarray, second: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.mean((first - second) ** 2))


def column_psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(
        np.mean(
            [
                10 * math.log10(1 / (np.mean((first[:, c] - second[:, c]) ** 2) / 255**2 + 1e-8))
                for c in range(first.shape[1])
            ]
        )
    )


def windowed_ssim(
    first: np.ndarray, second: np.ndarray, peak: float, axes: tuple[int, ...], padded: bool
) -> float:
    """SSIM with an 11-tap Gaussian along `axes`; borders repeated, or complete windows only."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))

    def smooth(volume: np.ndarray) -> np.ndarray:
        for axis in axes:
            if padded:
                volume = np.pad(
                    volume, [(5, 5) if axis == other else (0, 0) for other in range(3)], mode="edge"
                )
            length = volume.shape[axis] - 10
            volume = sum(
                tap * volume.take(range(k, k + length), axis) for k, tap in enumerate(taps / taps.sum())
            )
        return volume

    a, b = smooth(first), smooth(second)
    va, vb, cov = smooth(first**2) - a * a, smooth(second**2) - b * b, smooth(first * second) - a * b
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    return float(np.mean((2 * a * b + c1) * (2 * cov + c2) / ((a * a + b * b + c1) * (va + vb + c2))))


INDEPENDENT = {
    "psnr": plain_psnr,
    "psnr_column_mean": column_psnr,
    "ssim": lambda a, b: windowed_ssim(a, b, 255, (0, 1), False),
    "ssim_three_axis": lambda a, b: windowed_ssim(a / 255 - 0.5, b / 255 - 0.5, 1, (0, 1, 2), True),
}


def test_the_table_of_bsd(bsd):
    rows = bsd.rows("bsd")
    assert [row["result"] for row in rows] == [
        "input",
        "baseline",
        "adapted",
        "adapted_best_gt",
        "meta_transfer",
    ]
    assert [row["published_psnr"] for row in rows] == [None, 25.57, 29.44, 29.44, 25.58]
    assert [row["missing"] for row in rows] == [""] * 5
    videos = find_videos(bsd.root("bsd") / "1ms8ms")
    restored = bsd.output / "bsd_1ms8ms" / "deblurring" / "ESTRNN"
    for row in rows[:4]:
        assert (row["frames"], row["frames_all_frames"]) == (8, 16)
        for inner, suffix in ((slice(2, -2), ""), (slice(None), "_all_frames")):
            pictures = [
                path if row["result"] == "input" else restored / row["result"] / video.name / path.name
                for video in videos
                for path in video.frames[inner]
            ]
            sharp = [path for video in videos for path in video.sharp[inner]]
            for name, function in INDEPENDENT.items():
                assert row[name + suffix] == pytest.approx(
                    picture_values(pictures, sharp, function), rel=1e-6
                ), name
        if row["published_psnr"] is not None:
            assert row["difference"] == pytest.approx(row["psnr"] - row["published_psnr"])
            assert row["difference_column_mean"] == pytest.approx(
                row["psnr_column_mean"] - row["published_psnr"]
            )
    assert rows[2]["psnr"] != rows[3]["psnr"]
    assert all(rows[4][name] is None for name in ("psnr", "difference", "ssim", "frames"))


def test_the_three_forms_agree_and_carry_the_protocol(bsd):
    text = (bsd.output / "bsd.md").read_text()
    for phrase in (
        "data range 255",
        "2 .. n-3",
        "structural_similarity",
        "image columns",
        "rows, columns and colours",
        "For comparison only",
        "as published, not run here",
        "NOT the published set",
        "rsdm.min_size: 256 -> 32",
        "estrnn.tar",
        "torch ",
    ):
        assert phrase in text, phrase
    baseline = next(row for row in bsd.rows("bsd") if row["result"] == "baseline")
    line = next(line for line in text.split("\n") if line.startswith("| ESTRNN, before adaptation"))
    assert [cell.strip() for cell in line.split("|")[2:5]] == [
        f"{baseline['psnr']:.2f}",
        "25.57",
        f"{baseline['psnr'] - 25.57:+.2f}",
    ]
    with open(bsd.output / "bsd.csv", newline="") as file:
        flat = list(csv.DictReader(file))
    assert [row["result"] for row in flat] == [row["result"] for row in bsd.rows("bsd")]
    assert float(flat[1]["ssim_three_axis"]) == baseline["ssim_three_axis"]
    assert flat[0]["published_psnr"] == "" and flat[4]["psnr"] == ""


def test_both_adapted_results_come_from_one_training(bsd):
    folder = bsd.output / "bsd_1ms8ms" / "deblurring" / "ESTRNN"
    weights = {path.name: load_checkpoint(path) for path in (folder / "weights").glob("*.pth")}
    assert set(weights) == {"last.pth", "best.pth"}
    assert weights["best.pth"]["step"] < weights["last.pth"]["step"]
    figures = {row["result"]: row["psnr"] for row in bsd.rows("bsd")}
    # The choice was made by the very figure that the table shows.
    assert figures["adapted_best_gt"] == pytest.approx(
        weights["best.pth"]["figures"]["psnr_ground_truth"], abs=1e-4
    )
    assert figures["adapted"] < figures["adapted_best_gt"]


def test_choosing_by_ground_truth_does_not_change_the_training(bsd, tmp_path):
    """deblurring.select last, best_gt and both: the same last.pth, and best_gt infers from best.pth."""
    for name in ("rsdm", "blurring"):
        shutil.copytree(bsd.output / "bsd_1ms8ms" / name, tmp_path / "last" / name)
    shutil.copytree(tmp_path / "last", tmp_path / "best_gt")
    states = {"both": bsd.output / "bsd_1ms8ms" / "deblurring" / "ESTRNN"}
    for select in ("last", "best_gt"):
        tiny.run(
            "DeblurringModel.deblur_finetune_DDP",
            bsd.config,
            "--set",
            f"output={tmp_path / select}",
            f"dataset.root={bsd.root('bsd') / '1ms8ms'}",
            f"deblurring.select={select}",
        )
        states[select] = tmp_path / select / "deblurring" / "ESTRNN"
    last = {select: load_checkpoint(folder / "weights" / "last.pth") for select, folder in states.items()}
    for key, tensor in last["last"]["model_state"].items():
        assert torch.equal(tensor, last["best_gt"]["model_state"][key]), key
        assert torch.equal(tensor, last["both"]["model_state"][key]), key
    assert not (states["last"] / "weights" / "best.pth").exists()
    tiny.run(
        "DeblurringModel.deblur_inference",
        bsd.config,
        "--set",
        f"output={tmp_path / 'best_gt'}",
        f"dataset.root={bsd.root('bsd') / '1ms8ms'}",
        "deblurring.select=best_gt",
    )
    for path in (states["both"] / "adapted_best_gt").rglob("*.png"):
        same = states["best_gt"] / path.relative_to(states["both"]).as_posix().replace(
            "adapted_best_gt", "adapted"
        )
        assert np.array_equal(read_image(path), read_image(same))


def test_stage_four_by_itself_shows_both(bsd, tmp_path, capsys):
    shutil.copytree(bsd.output / "bsd_1ms8ms", tmp_path / "out")
    tiny.run(
        "DeblurringModel",
        bsd.config,
        "--set",
        f"output={tmp_path / 'out'}",
        "deblurring.select=both",
        f"dataset.root={bsd.root('bsd') / '1ms8ms'}",
    )
    said = capsys.readouterr().out
    assert (
        "| adapted (last epoch, label-free) |" in said
        and "| adapted (epoch chosen by ground truth) |" in said
    )
    figures = {row["result"]: row["psnr_all_frames"] for row in bsd.rows("bsd")}
    written = json.loads((tmp_path / "out" / "deblurring" / "ESTRNN" / "metrics.json").read_text())
    for result in ("input", "baseline", "adapted", "adapted_best_gt"):
        assert written[result]["psnr"] == pytest.approx(figures[result], rel=1e-9)


def test_a_second_run_of_bsd_does_no_work(bsd):
    bsd.calls()
    before = files(bsd.output)
    said = bsd.again("bsd", *ONE)
    assert files(bsd.output) == before
    assert "metrics" not in said and "| ESTRNN, before adaptation |" in said
    assert len(bsd.calls()) == 6


@pytest.mark.parametrize("table, name", [("realblur", "realblur_j"), ("rbvd", "rbvd")])
def test_realblur_and_rbvd(world, table, name):
    world.script(table, "--models", "ESTRNN", python=str(world.python))
    rows = world.rows(table)
    expected = {"realblur": (25.87, 27.64, 27.64, 26.12), "rbvd": (24.47, 26.83, 26.83, 24.83)}[table]
    assert [row["published_psnr"] for row in rows] == [None, *expected]
    assert [row["frames"] for row in rows] == [8, 8, 8, 8, None]
    videos = find_videos(world.root(table))
    sharp = [path for video in videos for path in video.sharp[2:-2]]
    adapted = [
        world.output / name / "deblurring" / "ESTRNN" / "adapted" / video.name / path.name
        for video in videos
        for path in video.frames[2:-2]
    ]
    assert rows[2]["psnr"] == pytest.approx(picture_values(adapted, sharp, plain_psnr), rel=1e-9)
    before = files(world.output)
    assert "metrics" not in world.again(table, "--models", "ESTRNN")
    assert files(world.output) == before


@pytest.fixture(scope="module")
def ablation(bsd) -> tuple[World, list[str]]:
    """After eval_ablation.sh, and the calls it made."""
    bsd.calls()
    bsd.script("ablation", python=str(bsd.python))
    return bsd, bsd.calls()


def test_the_table_of_the_ablation(ablation):
    world, _ = ablation
    rows = world.rows("ablation")
    assert [(row["result"], row["published_psnr"]) for row in rows[:2]] == [
        ("input", None),
        ("baseline", 25.57),
    ]
    cells = {(row["patches"], row["condition"]): row for row in rows if row["result"] == "adapted"}
    assert {cell: row["published_psnr"] for cell, row in cells.items()} == {
        ("random", "random"): 23.88,
        ("random", "optical_flow"): 25.51,
        ("random", "dbcgm"): 29.01,
        ("sharp", "random"): 24.32,
        ("sharp", "optical_flow"): 26.19,
        ("sharp", "dbcgm"): 29.44,
    }
    assert [row["missing"] for row in rows] == [""] * 14
    assert len({row["psnr"] for row in cells.values()}) == 6
    # The full method and the baseline are eval_bsd's own.
    full = {row["result"]: row["psnr"] for row in world.rows("bsd")}
    assert cells["sharp", "dbcgm"]["psnr"] == full["adapted"] and rows[1]["psnr"] == full["baseline"]
    text = (world.output / "ablation.md").read_text()
    assert "| random patches, optical-flow condition, adapted, epoch chosen by ground truth |" in text


def test_the_ablation_shares_stage_one_and_repeats_nothing(ablation):
    world, calls = ablation
    count = {script: sum(call.startswith(script) for call in calls) for script in ("RSDM", "DBCGM", "Blur")}
    assert count == {"RSDM": 2, "DBCGM": 6, "Blur": 6}
    folder = world.output / "ablation"
    assert (folder / "random_random" / "rsdm").resolve() == (folder / "random_dbcgm" / "rsdm").resolve()
    assert (folder / "sharp_random" / "rsdm").resolve() == (world.output / "bsd_1ms8ms" / "rsdm").resolve()
    before = files(world.output)
    world.again("ablation")
    assert files(world.output) == before


def test_some_cells_of_the_ablation(ablation):
    world, _ = ablation
    whole = {(row["patches"], row["condition"], row["result"]): row for row in world.rows("ablation")}
    before = files(shutil.copytree(world.output, world.folder / "cells", symlinks=True))
    world.again("ablation", "--cells", "random:random,sharp:optical_flow", output="cells")
    changed = {name for name, state in files(world.folder / "cells").items() if before.get(name) != state}
    assert changed == {"ablation.md", "ablation.csv", "ablation.json"}
    rows = world.rows("ablation", "cells")
    assert [row["patches"] for row in rows] == ["", "", "random", "random", "sharp", "sharp"]
    assert all(row == whole[row["patches"], row["condition"], row["result"]] for row in rows)


def test_the_ablations_patches(ablation):
    world, _ = ablation
    sharp = json.loads((world.output / "bsd_1ms8ms" / "rsdm" / "sharp_regions.json").read_text())
    content = json.loads(
        (world.output / "ablation" / "random_dbcgm" / "rsdm" / "sharp_regions.json").read_text()
    )
    assert not (world.output / "ablation" / "random_dbcgm" / "rsdm" / "mask").exists()
    for name, facts in content["videos"].items():
        boxes = [region for region in content["sharp_regions"] if region["video"] == name]
        assert facts["threshold"] is None
        assert len(boxes) == facts["found"] == facts["target"] == sharp["videos"][name]["target"] == 2
        for region in boxes:
            r0, c0, r1, c1 = region["bbox"]
            assert (r1 - r0, c1 - c0) == (32, 32) and 0 <= r0 <= 64 - 32 and 0 <= c0 <= 72 - 32
            assert 10 <= int(region["frame"]) <= 13


def test_the_ablations_conditions(ablation):
    world, _ = ablation
    folder = world.output / "ablation"
    drawn = [
        np.load(path) for path in sorted((folder / "random_random" / "dbcgm" / "condition").rglob("*.npy"))
    ]
    for condition in drawn:
        assert condition.dtype == np.float32 and condition.shape == (3, 64, 72)
        assert np.all(condition == condition[:, :1, :1])
        assert np.hypot(*condition[:2, 0, 0]) == pytest.approx(1, abs=1e-6) and 0 <= condition[2, 0, 0] <= 205
    assert len({condition[2, 0, 0] for condition in drawn}) == len(drawn) > 1
    # Same frames, same flow: the directions agree with DBCGM's, the magnitudes are the flow's length.
    flowing = sorted((folder / "sharp_optical_flow" / "dbcgm" / "condition").rglob("*.npy"))
    for path in flowing:
        condition = np.load(path)
        full = np.load(world.output / "bsd_1ms8ms" / path.relative_to(folder / "sharp_optical_flow"))
        assert np.array_equal(condition[:2], full[:2])
        assert not np.allclose(condition[2], full[2])
    # The scene moves two pixels down, and two or four to the right, from frame to frame.
    lengths = [float(np.median(np.load(path)[2])) for path in flowing]
    assert 1.5 < min(lengths) and max(lengths) < 6


@pytest.mark.parametrize("override", ["deblurring.select=last", "ESTRNN:output=x", "rsdm.patches=random"])
def test_a_choice_that_is_settled_elsewhere_is_refused(tmp_path, override):
    with pytest.raises(UserError, match="is settled by this script"):
        make_case("rbvd", "ESTRNN", "sharp", "dbcgm", tmp_path, None, None, [override])


# Gaps


def test_a_missing_cell_says_so(bsd):
    """A network without weights, an exposure without data: named in the table, with nothing in their
    place."""
    before = files(shutil.copytree(bsd.output / "bsd_1ms8ms", bsd.folder / "gaps" / "bsd_1ms8ms"))
    said = bsd.again(
        "bsd", "--models", "ESTRNN,DSTNet", "--set", "DSTNet:deblurring.weights=nowhere.pth", output="gaps"
    )
    assert "left out: bsd_1ms8ms, DSTNet: deblurring.weights: " in said
    assert files(bsd.folder / "gaps" / "bsd_1ms8ms") == before
    rows = bsd.rows("bsd", "gaps")
    missing = [row for row in rows if row["missing"]]
    # 1ms8ms: three results of DSTNet; 2ms16ms is there but for DSTNet; 3ms24ms: the input and three of each.
    assert len(missing) == 3 + 3 + 7
    for row in missing:
        assert all(row[name] is None for name in ("psnr", "ssim", "psnr_column_mean", "difference", "frames"))
    assert {row["name"] for row in rows if row["psnr"] is not None} == {"bsd_1ms8ms", "bsd_2ms16ms"}
    text = (bsd.folder / "gaps" / "bsd.md").read_text()
    assert "| DSTNet, before adaptation | missing | 25.42 | – | missing |" in text
    assert re.search(
        r"^- BSD 1ms8ms: DSTNet, before adaptation; .* — deblurring\.weights: .*/nowhere\.pth does not "
        r"exist$",
        text,
        re.MULTILINE,
    )
    assert "3ms24ms: dataset.root does not exist" in text


def test_nothing_to_run(world):
    with pytest.raises(
        UserError, match="nothing can be run: .*3ms24ms: dataset.root does not.*eval_bsd.sh --help"
    ):
        world.again("bsd", "--settings", "3ms24ms", output="nothing")
    assert not (world.folder / "nothing").exists()


def test_results_of_other_settings_are_neither_mixed_nor_shown(bsd):
    """Stage 1 refuses its folder, so the adapted figures of before are not those of these settings."""
    shutil.copytree(bsd.output / "bsd_1ms8ms", bsd.folder / "other" / "bsd_1ms8ms")
    with pytest.raises(
        UserError, match="the table is incomplete: .*made with other settings: rsdm.ratio: 0.25 -> 0.5"
    ):
        bsd.again("bsd", *ONE, "--set", "rsdm.ratio=0.5", output="other")
    rows = {row["result"]: row for row in bsd.rows("bsd", "other")}
    assert rows["baseline"]["psnr"] is not None
    for result in ("adapted", "adapted_best_gt"):
        assert rows[result]["psnr"] is None and "rsdm.ratio: 0.25 -> 0.5" in rows[result]["missing"]


def test_a_stage_that_fails_tells_its_last_line(capsys):
    script = "import sys; sys.stderr.write('12%\\rerror: no such thing\\n'); sys.exit(2)"
    with pytest.raises(running.StageFailed, match=r"ended with code 2: no such thing$"):
        running.call([sys.executable, "-c", script, "RSDM/main.py"])
    with pytest.raises(running.StageFailed, match=r"^RSDM/main.py ended"):
        running.call([sys.executable, "-c", script, str(running.LAUNCHER), "2", "RSDM/main.py"])
    with pytest.raises(KeyboardInterrupt):
        running.call([sys.executable, "-c", "import sys; sys.exit(130)", "RSDM/main.py"])


def test_several_processes_are_started_by_torchrun(world, monkeypatch):
    commands = []
    monkeypatch.setattr(running, "call", commands.append)
    case = make_case("rbvd", "ESTRNN", "sharp", "dbcgm", world.output, world.root("rbvd"), world.config, [])
    runner = running.Runner(4)
    runner.baseline(case)
    runner.adapt(case)
    assert len(commands) == 6
    for command in commands:
        assert command[:3] == [sys.executable, str(ROOT / "scripts" / "launch.py"), "4"]
        assert Path(command[3]).is_file()


# Measuring


@pytest.fixture
def measured(tmp_path) -> tuple[list, Path, Callable]:
    """Two videos and restored pictures equal to the ground truth, and a function that measures them."""
    for number, name in enumerate("ab"):
        tiny.write_video(tmp_path / "data" / name, (24, 32), number, frames=6)
    videos, restored = find_videos(tmp_path / "data"), tmp_path / "restored"
    for video in videos:
        for frame, sharp in zip(video.frames, video.sharp):
            write_image(restored / video.name / frame.name, read_image(sharp))
    (restored / "settings.json").write_text("{}")
    return videos, restored, lambda: metrics.evaluate_frames(videos, restored, tmp_path / "kept", 2, "test")


def test_identical_pictures(measured):
    figures = measured[2]()
    assert (figures.table_frames, figures.every_frames) == (4, 12)
    assert figures.table["psnr"] == figures.every["psnr"] == math.inf
    assert figures.table["ssim"] == pytest.approx(1) and figures.table["ssim_three_axis"] == pytest.approx(1)
    assert figures.table["psnr_column_mean"] == pytest.approx(80)


def test_infinity_in_the_three_forms(measured):
    row = evaluate.Row("rbvd", "RBVD", "ESTRNN", "", "", "baseline", "ESTRNN", measured[2](), "", 24.47)
    assert plain([row])[0]["psnr"] == "inf"
    assert json.loads(json.dumps(plain([row]), allow_nan=False))[0]["difference"] == "inf"
    assert ",inf," in comma_separated([row])
    assert "| ESTRNN | inf | 24.47 | +inf |" in markdown("x", [row], {})


def test_pictures_that_differ_in_one_pixel(measured):
    """Every frame differs from its ground truth in one value, by its position + 1."""
    videos, restored, run = measured
    for video in videos:
        for position, frame in enumerate(video.frames):
            picture = read_image(restored / video.name / frame.name)
            picture[7, 9, 1] = picture[7, 9, 1] + (position + 1) * (1 if picture[7, 9, 1] < 200 else -1)
            write_image(restored / video.name / frame.name, picture)
    figures = run()

    def psnr(step: int) -> float:
        return 10 * math.log10(255**2 * 24 * 32 * 3 / step**2)

    assert figures.table["psnr"] == pytest.approx((psnr(3) + psnr(4)) / 2, rel=1e-9)
    assert figures.every["psnr"] == pytest.approx(sum(psnr(step) for step in range(1, 7)) / 6, rel=1e-9)
    columns = [(31 * 80 + 10 * math.log10(1 / (step**2 / 255**2 / 24 / 3 + 1e-8))) / 32 for step in (3, 4)]
    assert figures.table["psnr_column_mean"] == pytest.approx(sum(columns) / 2, rel=1e-6)
    assert 0.99 < figures.table["ssim"] < 1


def test_figures_are_measured_once_and_anew_when_something_changed(measured, monkeypatch):
    videos, restored, run = measured
    run()
    looked = []
    monkeypatch.setattr(
        metrics,
        "_frame",
        lambda video, pictures, position: looked.append(video.name) or dict.fromkeys(metrics.METRICS, 1.0),
    )
    assert run().table["psnr"] == math.inf and looked == []
    (restored / "a" / videos[0].frames[0].name).touch()
    run()
    assert looked == ["a"] * 6
    looked.clear()
    videos[1].sharp[5].touch()
    run()
    assert looked == ["b"] * 6
    looked.clear()
    (restored / "settings.json").write_text('{"weights": "other"}')
    run()
    assert sorted(looked) == ["a"] * 6 + ["b"] * 6


def test_an_incomplete_result_is_not_measured(measured):
    videos, restored, run = measured
    (restored / "b" / videos[1].frames[1].name).unlink()
    with pytest.raises(UserError, match=r"not restored \(1 of 6 frames of b missing\)"):
        run()


# The published figures


def test_published_figures():
    """The paper's figures, typed in a second time."""
    names = ["bsd_1ms8ms", "bsd_2ms16ms", "bsd_3ms24ms", "realblur_j", "rbvd"]
    networks = {
        "ESTRNN": "25.57 29.44 24.64 28.36 26.01 28.32 25.87 27.64 24.47 26.83",
        "MMP_RNN": "21.63 29.17 21.26 26.95 22.74 26.77 24.65 27.69 22.81 25.81",
        "DSTNet": "25.42 28.69 23.50 27.11 24.68 26.69 26.57 27.74 23.15 25.66",
        "Shift_Net": "25.00 28.75 23.75 26.31 24.98 26.92 26.01 27.71 23.98 25.35",
    }
    content = datasets.published()
    assert content["networks"] == list(networks) and list(content["sets"]) == names
    for network, line in networks.items():
        values = list(map(float, line.split()))
        for index, name in enumerate(names):
            facts = content["sets"][name]
            assert (facts["baseline"][network], facts["adapted"][network]) == tuple(
                values[2 * index : 2 * index + 2]
            )
    assert [content["sets"][name]["meta_transfer"] for name in names] == [25.58, 24.53, 25.15, 26.12, 24.83]
    assert content["ablation"]["adapted"] == {
        "random": {"random": 23.88, "optical_flow": 25.51, "dbcgm": 29.01},
        "sharp": {"random": 24.32, "optical_flow": 26.19, "dbcgm": 29.44},
    }
    assert "2407.09059" in content["source"]
    assert [content["sets"][name]["size"] for name in names] == [[640, 480]] * 3 + [None, [1440, 960]]


# Which configuration is run


def test_the_published_configuration_is_used_unchanged(tmp_path):
    case = make_case("bsd_2ms16ms", "ESTRNN", "sharp", "dbcgm", tmp_path, None, None, [])
    shipped = load_config(Config, ROOT / "configs" / "bsd_2ms16ms.yaml")
    assert case.changed() == []
    for section in ("rsdm", "dbcgm", "blurring", "runtime"):
        assert getattr(case.config, section) == getattr(shipped, section)
    assert case.config.deblurring.weights == shipped.deblurring.weights
    assert case.output == tmp_path / "bsd_2ms16ms"
    assert (case.config.deblurring.select, case.config.deblurring.borders) == ("both", "mirror")


def test_overrides_for_one_network(tmp_path):
    user = ["DSTNet:deblurring.epochs=3", "rsdm.ratio=0.3", "DSTNet:deblurring.weights=x: y.pth"]
    other = make_case("rbvd", "DSTNet", "sharp", "dbcgm", tmp_path, tmp_path / "a: b", None, user[:2])
    own = make_case("rbvd", "ESTRNN", "sharp", "dbcgm", tmp_path, None, None, user[:2])
    assert (other.config.deblurring.epochs, own.config.deblurring.epochs) == (3, 10)
    assert other.config.dataset.root == tmp_path / "a: b"
    assert own.changed() == ["rsdm.ratio: 0.2 -> 0.3"]
    assert other.changed() == ["rsdm.ratio: 0.2 -> 0.3", "deblurring.epochs: 10 -> 3"]
    # The configuration's weights are ESTRNN's.
    assert other.config.deblurring.weights is None or "DSTNet" in str(other.config.deblurring.weights)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["bsd", "--models", "ESTRNN,EDVR"], "unknown 'EDVR'; choose among ESTRNN, MMP_RNN"),
        (["bsd", "--settings", "1ms"], "unknown '1ms'"),
        (["rbvd", "--settings", "1ms8ms"], "--settings: not for the table"),
        (["ablation", "--models", "DSTNet"], "--models: not for"),
        (["ablation", "--cells", "sharp:raft"], "unknown 'sharp:raft'"),
        (["bsd", "--gpus", "0"], "--gpus: expected at least 1"),
    ],
)
def test_wrong_arguments(monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    with pytest.raises(UserError, match=re.escape(message)):
        evaluate.main()


# The ablation's switches by themselves


def test_random_regions():
    boxes = random_regions(40, (48, 100), 500, 32, 7)
    assert boxes == random_regions(40, (48, 100), 500, 32, 7) != random_regions(40, (48, 100), 500, 32, 8)
    flat = np.array([box for frame in boxes for box in frame])
    assert len(boxes) == 40 and len(flat) == 500 and min(map(len, boxes)) > 0
    assert np.all(flat[:, 2:] - flat[:, :2] == 32)
    assert (flat[:, 0].min(), flat[:, 2].max(), flat[:, 1].min(), flat[:, 3].max()) == (0, 48, 0, 100)
    assert (
        random_regions(3, (31, 100), 5, 32, 7) == [[], [], []] and random_regions(0, (48, 48), 5, 32, 7) == []
    )


def test_flow_condition_has_the_flows_direction_and_length():
    motion = torch.tensor([3.0, -4.0]).reshape(2, 1, 1).expand(2, 4, 5).clone()
    motion[:, 1, 2] = 0
    condition = flow_condition(motion)
    assert condition.dtype == np.float32
    assert condition[:, 0, 0] == pytest.approx([0.6, -0.8, 5.0]) and np.all(condition[:, 1, 2] == 0)


def test_random_condition_covers_the_stated_range():
    drawn = np.array(
        [random_condition(2, 3, 50.0, np.random.default_rng(seed))[:, 0, 0] for seed in range(400)]
    )
    assert np.allclose(np.hypot(drawn[:, 0], drawn[:, 1]), 1)
    assert abs(drawn[:, :2].mean(axis=0)).max() < 0.1
    magnitudes = drawn[:, 2]
    assert 0 <= magnitudes.min() < 1 and 49 < magnitudes.max() <= 50 and abs(magnitudes.mean() - 25) < 2


# What a newcomer is told


@pytest.mark.parametrize("table", TABLES)
def test_help_needs_no_environment_and_tells_all(table, tmp_path):
    script = shutil.copytree(
        ROOT / "scripts", tmp_path / "checkout" / "scripts", ignore=shutil.ignore_patterns("*.py")
    )
    result = subprocess.run(
        ["bash", str(script / f"eval_{table}.sh"), "--models", "ESTRNN", "--help"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHON": "/nonexistent"},
    )
    assert result.returncode == 0 and result.stderr == ""
    said = result.stdout
    assert not (tmp_path / "checkout" / ".venv").exists()
    told = [
        "Usage: bash scripts/eval_",
        "--root",
        "--gpus",
        "--output",
        "--set",
        "check_weights.py",
        "best_net.pth",
        "raft-things.pth",
        "ID_Blau.pth",
        "best_ESTRNN_baseline.pth",
        "princeton-vl/RAFT",
        "Disk",
        "GPU",
        "goes on where it stopped",
        "2 .. n-3",
        "released code's own two measures",
    ]
    told += {
        "bsd": ["zzh-tech/ESTRNN", "640 x 480", "20 videos of 150 frames", "prepare_bsd.py"],
        "realblur": ["rimchang/RealBlur", "RealBlur_J_test_list.txt", "prepare_realblur.py", "blur_<N>.png"],
        "rbvd": ["XJTU-CVLAB-LOWLEVEL/RNN-MBP", "1440 x 960", "prepare_rbvd.py"],
        "ablation": ["0 .. 205 pixels", "eval_bsd.sh --help", "optical-flow condition"],
    }[table]
    for phrase in told:
        assert phrase in said, phrase
    assert "set -euo" not in said and max(map(len, said.split("\n"))) <= 120


def test_help_names_every_option_of_the_program():
    sources = [ROOT / "scripts" / "evaluate.py", ROOT / "common" / "runtime" / "command_line.py"]
    options = [
        option
        for path in sources
        for option in re.findall(r'add_argument\(\s*"(--[a-z]+)"', path.read_text())
        if option != "--overwrite"
    ]
    helps = (ROOT / "scripts" / "evaluation" / "paper" / "help.txt").read_text() + "".join(
        (ROOT / "scripts" / f"eval_{table}.sh").read_text() for table in TABLES
    )
    assert len(options) == 9 and [option for option in options if option not in helps] == []
