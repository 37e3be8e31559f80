"""The four stages on a tiny case: every file they promise, one and two processes, kills and restarts."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tiny import one_thread  # noqa: F401 (a fixture)

from common.checkpoints import load_checkpoint, load_state
from common.errors import UserError

PROVENANCE = {"settings.json", "config.yaml", "run.json"}
NAMES = [str(8 + index) for index in range(tiny.FRAMES)]
DEBLURRED = Path("deblurring") / "ESTRNN"
KINDS = ("input", "baseline", "adapted", "aligned", "fused")


def environment() -> dict[str, str]:
    own = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    }
    return {
        **own,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def pipeline(folder: Path, *arguments: str) -> str:
    """run_pipeline.sh with the case's configuration, not from the repository's folder; returns its output."""
    command = [
        "bash",
        str(tiny.ROOT / "scripts" / "run_pipeline.sh"),
        f"{folder.name}/config.yaml",
        *arguments,
    ]
    result = subprocess.run(command, cwd=folder.parent, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A case after all four stages, one process each, and what they printed. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("pipeline") / "case"
    tiny.make(folder, deblurring={"fusion": "aligned"})
    return folder, pipeline(folder)


@pytest.fixture
def case(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """The configuration of a copy of the finished case."""
    shutil.copytree(finished[0], tmp_path / "case")
    return tmp_path / "case" / "config.yaml"


@pytest.fixture
def fresh(case: Path) -> Path:
    """The configuration of a copy without results."""
    shutil.rmtree(case.parent / "out")
    return case


def files(folder: Path) -> dict[str, Path]:
    """Every file below `folder` by its path in there, hidden ones too, but not what names the command."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in PROVENANCE - {"settings.json"}
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files(folder).items()}


def times(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def blurry(folder: Path, video: str, name: str) -> np.ndarray:
    return picture(folder / "data" / video / "Blur" / "RGB" / f"{name}.png")


def regions(output: Path) -> list[dict]:
    return json.loads((output / "rsdm" / "sharp_regions.json").read_text())["sharp_regions"]


def per_video(folder: str, names: list[str], suffix: str = ".png") -> set[str]:
    return {f"{folder}/{video}/{name}{suffix}" for video in tiny.VIDEOS for name in names}


# What is on disk


def test_no_file_is_missing_and_none_is_left_over(finished: tuple[Path, str]) -> None:
    output = finished[0] / "out"
    chosen = {(region["video"], region["frame"]) for region in regions(output)}
    assert {video for video, _ in chosen} == set(tiny.VIDEOS)
    expected = (
        per_video("rsdm/magnitude", NAMES, ".npy")
        | per_video("rsdm/mask", NAMES)
        | {"rsdm/sharp_regions.json"}
    )
    for video, frame in chosen:
        expected |= {f"dbcgm/condition/{video}/{frame}.npy", f"dbcgm/preview/{video}/{frame}.png"}
        expected |= {f"blurring/{video}/{kind}/{frame}.png" for kind in ("ori", "reblur", "flow")}
    for result in ("baseline", "adapted", "fused"):
        expected |= per_video(f"deblurring/ESTRNN/{result}", NAMES)
    for kind in ("picture", "weight", "source"):
        expected |= {
            f"deblurring/ESTRNN/aligned/{video}/{kind}/{name}.png" for video in tiny.VIDEOS for name in NAMES
        }
    expected |= {
        f"deblurring/ESTRNN/{name}" for name in ("weights/last.pth", "weights/log.csv", "metrics.json")
    }
    expected |= {"times.json", "report.html", "inputs.json"}
    for folder in (
        "rsdm",
        "dbcgm",
        "blurring",
        *(f"deblurring/ESTRNN/{name}" for name in ("weights", "baseline", "adapted", "aligned", "fused")),
    ):
        expected |= {f"{folder}/{name}" for name in PROVENANCE}
    assert set(times(output)) == expected


def test_magnitudes_masks_and_regions(finished: tuple[Path, str]) -> None:
    output = finished[0] / "out" / "rsdm"
    content = json.loads((output / "sharp_regions.json").read_text())
    assert set(content) == {"sharp_regions", "videos"} and set(content["videos"]) == set(tiny.VIDEOS)
    for video, facts in content["videos"].items():
        assert set(facts) == {"threshold", "target", "found"}
        for name in NAMES:
            magnitude = np.load(output / "magnitude" / video / f"{name}.npy")
            mask = Image.open(output / "mask" / video / f"{name}.png")
            assert magnitude.dtype == np.float32 and magnitude.shape == tiny.SIZE
            assert mask.mode == "L"
            assert np.array_equal(np.asarray(mask), np.where(magnitude < facts["threshold"], 255, 0))
    height, width = tiny.SIZE
    for region in content["sharp_regions"]:
        r0, c0, r1, c1 = region["bbox"]
        assert 0 <= r0 and r0 + 32 <= r1 <= height and 0 <= c0 and c0 + 32 <= c1 <= width
        # Readable for the authors' code, which finds data set, video and frame in the path.
        assert region["path"].split("/") == ["data", "test", region["video"], "ori", f"{region['frame']}.png"]
        assert NAMES.index(region["frame"]) in range(2, tiny.FRAMES - 2)


def test_conditions_are_unit_vectors_and_pixels(finished: tuple[Path, str]) -> None:
    output = finished[0] / "out"
    for region in regions(output):
        condition = np.load(output / "dbcgm" / "condition" / region["video"] / f"{region['frame']}.npy")
        assert condition.dtype == np.float32 and condition.shape == (3, *tiny.SIZE)
        length = np.hypot(condition[0], condition[1])
        assert np.all((np.abs(length - 1) < 1e-5) | (length == 0)) and np.mean(length == 0) < 0.01
        assert condition[2].min() >= 1.0  # the offset of the configuration
        preview = picture(output / "dbcgm" / "preview" / region["video"] / f"{region['frame']}.png")
        assert preview.dtype == np.uint8 and preview.shape == (*tiny.SIZE, 3)


def test_the_scene_moves_where_the_conditions_point(finished: tuple[Path, str]) -> None:
    """The picture moves left and up by (-1, -1) a step in the first video, (-2, -1) in the second."""
    output = finished[0] / "out"
    for region in regions(output):
        condition = np.load(output / "dbcgm" / "condition" / region["video"] / f"{region['frame']}.npy")
        expected = np.array([-1.0, -1.0]) if region["video"] == "a" else np.array([-2.0, -1.0])
        mean = condition[:2, 16:-16, 16:-16].mean(axis=(1, 2))
        assert mean @ expected / np.linalg.norm(mean) / np.linalg.norm(expected) > 0.95


def test_reblurred_pixels_lie_inside_the_boxes(finished: tuple[Path, str]) -> None:
    folder, output = finished[0], finished[0] / "out"
    outside_seen = 0
    for region in regions(output):
        video, frame = region["video"], region["frame"]
        original = blurry(folder, video, frame)
        assert np.array_equal(picture(output / "blurring" / video / "ori" / f"{frame}.png"), original)
        reblurred = picture(output / "blurring" / video / "reblur" / f"{frame}.png")
        inside = np.zeros(tiny.SIZE, bool)
        for other in regions(output):
            if (other["video"], other["frame"]) == (video, frame):
                r0, c0, r1, c1 = other["bbox"]
                inside[r0:r1, c0:c1] = True
        assert np.array_equal(reblurred[~inside], original[~inside])
        assert np.mean(np.any(reblurred[inside] != original[inside], axis=-1)) > 0.9
        outside_seen += int((~inside).sum())
        assert picture(output / "blurring" / video / "flow" / f"{frame}.png").shape == (*tiny.SIZE, 3)
    assert outside_seen > 1000


def test_weights_file_is_complete(finished: tuple[Path, str]) -> None:
    stored = load_checkpoint(finished[0] / "out" / DEBLURRED / "weights" / "last.pth")
    assert stored["network"] == "ESTRNN" and stored["architecture"] == tiny.ESTRNN_SMALL
    # Two epochs in batches of two.
    pairs = len(regions(finished[0] / "out"))
    assert stored["step"] == stored["epochs"] * stored["steps_per_epoch"] == 2 * -(-pairs // 2)
    before = load_state(finished[0] / "weights" / "estrnn.tar")
    assert stored["model_state"].keys() == before.keys()
    assert any(not torch.equal(stored["model_state"][key], before[key]) for key in before)
    log = (finished[0] / "out" / DEBLURRED / "weights" / "log.csv").read_text().splitlines()
    assert log[0] == "step,loss,learning_rate" and len(log) == 3


def figures(folder: Path, video: str, kind: str, names: list[str]) -> np.ndarray:
    """PSNR and SSIM of every picture, straight from the files."""
    rows = []
    for name in names:
        shown = (
            blurry(folder, video, name)
            if kind == "input"
            else picture(
                folder / "out" / DEBLURRED / kind / video / ("picture" * (kind == "aligned")) / f"{name}.png"
            )
        )
        sharp = picture(folder / "data" / video / "Sharp" / "RGB" / f"{name}.png")
        rows.append(
            (
                peak_signal_noise_ratio(sharp, shown, data_range=255),
                structural_similarity(
                    sharp,
                    shown,
                    channel_axis=-1,
                    data_range=255,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                ),
            )
        )
    return np.array(rows)


def check_metrics(folder: Path, names: list[str]) -> dict:
    stored = json.loads((folder / "out" / DEBLURRED / "metrics.json").read_text())
    for kind in KINDS:
        rows = {video: figures(folder, video, kind, names) for video in tiny.VIDEOS}
        for part, expected in [(stored[kind], np.concatenate(list(rows.values())))] + [
            (stored[kind]["videos"][video], rows[video]) for video in tiny.VIDEOS
        ]:
            assert part["frames"] == len(expected)
            assert [part["psnr"], part["ssim"]] == pytest.approx(expected.mean(axis=0), rel=1e-9)
    return stored


def test_metrics_and_table_are_those_of_the_pictures(finished: tuple[Path, str]) -> None:
    stored = check_metrics(finished[0], NAMES)
    rows = [line for line in finished[1].splitlines() if line.startswith("| ")]
    assert rows[0] == "| | all frames | a | b |"
    labels = [
        "blurry input",
        "before adaptation",
        "adapted (last epoch, label-free)",
        "borrowed alone, without a network",
        "adapted and borrowed, fused",
    ]
    for row, label, kind in zip(rows[1:], labels, KINDS, strict=True):
        parts = [stored[kind], *(stored[kind]["videos"][video] for video in tiny.VIDEOS)]
        cells = [f"{part['psnr']:.2f} / {part['ssim']:.4f}" for part in parts]
        assert row == f"| {label} | {' | '.join(cells)} |"


def test_odd_sizes_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.make(tmp_path / "case", tiny.ODD_SIZE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for stage in tiny.STAGES:
        tiny.run(stage, Path("../case/config.yaml"), "--set", "output=here")
    output = tmp_path / "elsewhere" / "here"
    pictures = sorted(output.rglob("*.png"))
    assert len(pictures) > 16 * 3
    assert {picture(path).shape[:2] for path in pictures} == {tiny.ODD_SIZE}
    assert {np.load(path).shape[-2:] for path in output.rglob("*.npy")} == {tiny.ODD_SIZE}
    assert not (tmp_path / "case" / "out").exists()


# Restarts and processes


def test_second_run_loads_nothing_and_changes_nothing(
    case: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was loaded although nothing is left to do")

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", refuse)
    monkeypatch.setattr("RSDM.main.search_threshold", refuse)
    before = times(case.parent)
    started = time.monotonic()
    for stage in tiny.STAGES:
        tiny.run(stage, case)
    assert times(case.parent) == before
    assert time.monotonic() - started < 5
    assert "| blurry input |" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["cut off", "another video", "a mask gone"])
def test_stage_1_makes_again_what_is_broken(
    case: Path, broken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    tiny.run("RSDM", case)
    said = capsys.readouterr().out
    before = contents(case.parent / "out" / "rsdm")
    path, mask = (case.parent / "out" / "rsdm" / name for name in ("sharp_regions.json", "mask/a/8.png"))
    if broken == "a mask gone":
        mask.unlink()
    else:
        text = path.read_text()
        path.write_text(text[:50] if broken == "cut off" else text.replace('"b"', '"c"'))
    tiny.run("RSDM", case)
    assert contents(case.parent / "out" / "rsdm") == before
    assert capsys.readouterr().out == said


def test_a_share_of_less_than_one_region_is_none_as_released(
    fresh: Path, capsys: pytest.CaptureFixture
) -> None:
    """A tenth of eight frames; at the first threshold nothing is sharp."""
    changes = ("rsdm.ratio=0.1", "rsdm.initial_threshold=1e-5")
    with pytest.raises(UserError, match="rsdm.ratio: 0.1 of 8 frames is less than one region"):
        tiny.run("RSDM", fresh, "--set", *changes)
    assert "a: left out, 0.1 of 8 frames" in capsys.readouterr().out
    tiny.run("RSDM", fresh, "--set", *changes, "rsdm.min_regions=1", "--overwrite")
    assert {region["video"] for region in regions(fresh.parent / "out")} == set(tiny.VIDEOS)


def test_two_processes_give_the_results_of_one(finished: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "case", ignore=shutil.ignore_patterns("out"))
    printed = pipeline(tmp_path / "case", "2")
    check_same_results(finished[0], tmp_path / "case")
    assert files(finished[0] / "out").keys() == files(tmp_path / "case" / "out").keys()
    assert sum(line.startswith("| blurry input |") for line in printed.splitlines()) == 1


def test_two_nodes_give_the_results_of_one_process(finished: tuple[Path, str], tmp_path: Path) -> None:
    """Two launchers on one machine, as on two machines with a shared output folder."""
    shutil.copytree(finished[0], tmp_path / "case", ignore=shutil.ignore_patterns("out"))
    printed = ""
    for stage in tiny.STAGES:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        nodes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node_rank={rank}"),
                    *("--nproc_per_node=1", "--master_addr=127.0.0.1", f"--master_port={port}"),
                    *(str(tiny.ROOT / stage / "main.py"), "--config", "config.yaml"),
                ],
                cwd=tmp_path / "case",
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        for node in nodes:
            said, complaints = node.communicate(timeout=300)
            assert node.returncode == 0, complaints[-4000:]
            printed += said
    check_same_results(finished[0], tmp_path / "case")
    assert sum(line.startswith("| blurry input |") for line in printed.splitlines()) == 1


def check_same_results(first: Path, second: Path) -> None:
    """The results of two processes in the case `second` are those of one in `first`."""
    one, two = first / "out", second / "out"
    for stage in ("rsdm", "dbcgm", "blurring", DEBLURRED / "baseline", DEBLURRED / "aligned"):
        assert contents(one / stage) == contents(two / stage)
    check_metrics(second, NAMES)
    # Gradients are averaged in another order: the weights agree to a small part of the way they went (5e-6
    # where this was written).
    start, *ends = (
        torch.cat([value.flatten().double() for value in state.values()])
        for state in (
            load_state(first / "weights" / "estrnn.tar"),
            *(
                load_checkpoint(output / DEBLURRED / "weights" / "last.pth")["model_state"]
                for output in (one, two)
            ),
        )
    )
    difference = float((ends[0] - ends[1]).norm() / (ends[0] - start).norm())
    print(f"relative difference of the change in weights: {difference:.2e}")
    assert difference < 1e-4
    for name in per_video("adapted", NAMES):
        levels = np.abs(picture(one / DEBLURRED / name).astype(int) - picture(two / DEBLURRED / name))
        assert levels.max() <= 1


SLOWED = """
import os, runpy, sys, time
def replace(*paths, rename=os.replace):
    time.sleep(0.03)
    rename(*paths)
os.replace = replace
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs the script named first, with a pause before every file appears, so that there is time to kill it."""


def killed(config: Path, stage: str, folder: Path, pattern: str, *arguments: str) -> dict[str, int]:
    """Start a stage, kill it as soon as a finished file matches `pattern` in `folder`, and return the times
    of the finished files. One that is unfinished lies there still."""
    command = [
        sys.executable,
        "-c",
        SLOWED,
        str(tiny.ROOT / stage / "main.py"),
        "--config",
        str(config),
        *arguments,
    ]
    process = subprocess.Popen(
        command,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not any(not path.name.startswith(".") for path in folder.rglob(pattern)):
        time.sleep(0.002)
    assert process.poll() is None, f"{stage} ended before it wrote {pattern}"
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return {
        name: stamp for name, stamp in times(folder).items() if ".tmp-" not in name and ".lock" not in name
    }


def same_files(first: Path, second: Path) -> None:
    """Equal names and bytes; of what holds the time of day or hashes of that, equal everything else."""
    assert files(first).keys() == files(second).keys()
    for name, path in files(first).items():
        other = second / name
        if path.suffix == ".pth":
            one, two = load_checkpoint(path), load_checkpoint(other)
            assert equal_but_seconds(one, two), name
        elif path.name == "log.csv":
            rows, others = (
                [line.split(",")[:-1] for line in file.read_text().splitlines()] for file in (path, other)
            )
            assert rows == others and len(rows) > 1
        elif name in ("adapted/settings.json", "metrics.json"):
            one, two = (
                {
                    key: value
                    for key, value in json.loads(file.read_text()).items()
                    if key not in ("weights", "made_from")
                }
                for file in (path, other)
            )
            assert one == two and one
        else:
            assert path.read_bytes() == other.read_bytes(), name


def equal_but_seconds(one: object, two: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(
            equal_but_seconds(one[key], two[key]) for key in one if key != "seconds"
        )
    if isinstance(one, list):
        return len(one) == len(two) and all(map(equal_but_seconds, one, two))
    return one == two


KILLS = {
    "RSDM": ("rsdm", "magnitude/*/*.npy", 2 * tiny.FRAMES),
    "DBCGM": ("dbcgm", "condition/*/*.npy", 2 * (tiny.FRAMES - 2)),
    "BlurringModel": ("blurring", "reblur/*.png", 2),
}


@pytest.mark.parametrize("stage", KILLS)
def test_killed_stage_goes_on_and_ends_with_the_same_files(case: Path, stage: str) -> None:
    part, pattern, fewest = KILLS[stage]
    folder, every = case.parent / "out" / part, ("--set", "dbcgm.frames=all")
    tiny.run(stage, case, *every, "--overwrite")
    uninterrupted = folder.rename(case.parent / "uninterrupted")
    assert len(list(uninterrupted.rglob(pattern))) >= fewest
    done = killed(case, stage, folder, pattern, *every)
    found = [name for name in done if Path(name).match(pattern)]
    assert 0 < len(found) < len(list(uninterrupted.rglob(pattern)))
    tiny.run(stage, case, *every)
    same_files(uninterrupted, folder)
    # What was there is not made again.
    assert {name: times(folder)[name] for name in found} == {name: done[name] for name in found}


def test_stage_4_killed_three_times_ends_with_the_same_files(case: Path) -> None:
    folder, longer = (
        case.parent / "out" / DEBLURRED,
        ("--set", "deblurring.epochs=6", "deblurring.keep_every=2"),
    )
    tiny.run("DeblurringModel", case, *longer, "--overwrite")
    uninterrupted = folder.rename(case.parent / "uninterrupted")
    baseline = killed(case, "DeblurringModel", folder, "baseline/*/*.png", *longer)
    assert 0 < sum(name.endswith(".png") for name in baseline) < 2 * tiny.FRAMES
    weights = killed(case, "DeblurringModel", folder, "weights/last.pth", *longer)
    stored = load_checkpoint(folder / "weights" / "last.pth")
    assert 0 < stored["step"] < stored["epochs"] * stored["steps_per_epoch"]
    adapted = killed(case, "DeblurringModel", folder, "adapted/*/*.png", *longer)
    assert 0 < sum(name.startswith("adapted") and name.endswith(".png") for name in adapted) < 2 * tiny.FRAMES
    borrowed = killed(case, "DeblurringModel", folder, "aligned/*/picture/*.png", *longer)
    assert (
        0 < sum(name.startswith("aligned") and name.endswith(".png") for name in borrowed) < 6 * tiny.FRAMES
    )
    tiny.run("DeblurringModel", case, *longer)
    same_files(uninterrupted, folder)
    now = times(folder)
    for before in (
        baseline,
        {name: weights[name] for name in weights if name.startswith("baseline")},
        adapted,
        {name: at for name, at in borrowed.items() if "/picture/" not in name and "/source/" not in name},
    ):
        assert {name: now[name] for name in before} == before


def test_what_a_killed_writer_left_is_removed(case: Path) -> None:
    leftovers = [
        case.parent / "out" / place for place in ("rsdm/magnitude/a/.tmp-1-0a.npy", "blurring/.tmp-1-0a.png")
    ]
    for path in leftovers:
        path.write_bytes(b"half")
    tiny.run("RSDM", case)
    tiny.run("BlurringModel", case)
    assert not any(path.exists() for path in leftovers)


# Settings

CHANGES = {
    "RSDM": ("rsdm", "rsdm.ratio=0.3", "rsdm.ratio: 0.25 -> 0.3"),
    "DBCGM": ("dbcgm", "dbcgm.trajectory=five_frame", "dbcgm.trajectory: 'central' -> 'five_frame'"),
    "BlurringModel": ("blurring", "blurring.steps=2", "blurring.steps: 3 -> 2"),
    "DeblurringModel": ("deblurring/ESTRNN/weights", "deblurring.epochs=1", "deblurring.epochs: 2 -> 1"),
}


@pytest.mark.parametrize("stage", CHANGES)
def test_other_settings_are_refused_until_overwrite(case: Path, stage: str) -> None:
    place, change, difference = CHANGES[stage]
    folder, before = case.parent / "out" / place, times(case.parent)
    with pytest.raises(UserError) as caught:
        tiny.run(stage, case, "--set", change)
    assert str(folder) in str(caught.value) and difference in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert times(case.parent) == before
    (folder / "stale.png").write_bytes(b"old")
    tiny.run(stage, case, "--set", change, "--overwrite")
    now = times(case.parent)
    made = [name for name in now if name.startswith(f"out/{place}/")]
    assert made and all(now[name] != before.get(name) for name in made)
    assert not (folder / "stale.png").exists()
    tiny.run(stage, case, "--set", change)
    assert times(case.parent) == now


def test_results_of_other_input_are_refused(case: Path) -> None:
    tiny.run("RSDM", case, "--set", "rsdm.initial_threshold=0.35", "--overwrite")
    for stage in ("DBCGM", "BlurringModel", "DeblurringModel"):
        with pytest.raises(UserError, match="sharp_regions: .* -> .*--overwrite"):
            tiny.run(stage, case, "--set", "rsdm.initial_threshold=0.35")


def test_a_renamed_output_folder_is_continued(case: Path) -> None:
    (case.parent / "out").rename(case.parent / "renamed")
    before = times(case.parent)
    for stage in tiny.STAGES:
        tiny.run(stage, case, "--set", f"output={case.parent / 'renamed'}")
    assert times(case.parent) == before


def test_whole_frames_are_reblurred_with_area_frame(case: Path, finished: tuple[Path, str]) -> None:
    tiny.run("BlurringModel", case, "--set", "blurring.area=frame", "--overwrite")
    output = case.parent / "out"
    for region in regions(output):
        name = Path("blurring") / region["video"] / "reblur" / f"{region['frame']}.png"
        original = blurry(case.parent, region["video"], region["frame"])
        changed = np.any(picture(output / name) != original, axis=-1)
        assert changed.mean() > 0.9 and changed[-8:].mean() > 0.9 and changed[:, -8:].mean() > 0.9


def test_more_frames_a_batch_change_no_region(case: Path) -> None:
    """Batches are formed by shape; what is in a batch with a frame must not matter beyond rounding."""
    before = {
        name: picture(path)
        for name, path in files(case.parent / "out" / "blurring").items()
        if name.endswith(".png")
    }
    tiny.run("BlurringModel", case, "--set", "blurring.batch_size=3", "--overwrite")
    for name, expected in before.items():
        levels = np.abs(picture(case.parent / "out" / "blurring" / name).astype(int) - expected)
        assert levels.max() <= 1


def test_scope_video_adapts_each_video_alone(case: Path, capsys: pytest.CaptureFixture) -> None:
    tiny.run("DeblurringModel", case, "--set", "deblurring.scope=video", "--overwrite")
    weights = case.parent / "out" / DEBLURRED / "weights"
    assert {str(path.relative_to(weights)) for path in weights.rglob("*.pth")} == {"a/last.pth", "b/last.pth"}
    states = {video: load_state(weights / video / "last.pth") for video in tiny.VIDEOS}
    assert any(not torch.equal(states["a"][key], states["b"][key]) for key in states["a"])
    settings = json.loads((weights.parent / "adapted" / "settings.json").read_text())
    assert settings["weights"]["a"] != settings["weights"]["b"]
    check_metrics(case.parent, NAMES)


def test_scope_video_leaves_a_video_without_region_as_it_is(
    fresh: Path, finished: tuple[Path, str], capsys: pytest.CaptureFixture
) -> None:
    output = fresh.parent / "out"
    shutil.copytree(finished[0] / "out" / "rsdm", output / "rsdm")
    path = output / "rsdm" / "sharp_regions.json"
    content = json.loads(path.read_text())
    content["sharp_regions"] = [region for region in content["sharp_regions"] if region["video"] == "a"]
    path.write_text(json.dumps(content))
    for stage in tiny.STAGES[1:]:
        tiny.run(stage, fresh, "--set", "deblurring.scope=video")
    assert "b: no sharp region, restored with the unadapted network" in capsys.readouterr().out
    folder = output / DEBLURRED
    assert (folder / "weights" / "a" / "last.pth").exists() and not (folder / "weights" / "b").exists()
    for name in NAMES:
        same = {
            video: (folder / f"adapted/{video}/{name}.png").read_bytes()
            == (folder / f"baseline/{video}/{name}.png").read_bytes()
            for video in tiny.VIDEOS
        }
        assert same == {"a": False, "b": True}


def test_best_gt_keeps_the_best_epoch_and_says_so(case: Path, capsys: pytest.CaptureFixture) -> None:
    # Random reblurred regions: every epoch makes the network worse, so the first one is the best.
    tiny.run(
        "DeblurringModel",
        case,
        "--set",
        "deblurring.select=best_gt",
        "deblurring.keep_every=1",
        "--overwrite",
    )
    weights = case.parent / "out" / DEBLURRED / "weights"
    log = [line.split(",") for line in (weights / "log.csv").read_text().splitlines()]
    values = [float(row[log[0].index("psnr_ground_truth")]) for row in log[1:]]
    best = 1 + int(np.argmax(values))
    assert len(values) == 2 and values[0] != values[1]
    kept, chosen = load_state(weights / f"epoch_{best}.pth"), load_state(weights / "best.pth")
    assert all(torch.equal(kept[key], chosen[key]) for key in kept)
    # The figure that chose is the mean over the frames that have all neighbours.
    tiny.run("DeblurringModel.deblur_inference", case, "--set", "deblurring.select=best_gt")
    rows = [figures(case.parent, video, "adapted", NAMES[2:-2]) for video in tiny.VIDEOS]
    assert max(values) == pytest.approx(np.concatenate(rows)[:, 0].mean(), rel=1e-6)
    assert "| adapted (epoch chosen by ground truth) |" in capsys.readouterr().out


def test_borders_drop_leaves_the_outermost_frames_out(case: Path) -> None:
    tiny.run("DeblurringModel", case, "--set", "deblurring.borders=drop", "--overwrite")
    folder = case.parent / "out" / DEBLURRED
    for kind in ("baseline", "adapted"):
        for video in tiny.VIDEOS:
            assert {path.stem for path in (folder / kind / video).iterdir()} == set(NAMES[2:-2])
    check_metrics(case.parent, NAMES[2:-2])


def test_only_the_named_videos(fresh: Path) -> None:
    for stage in tiny.STAGES:
        tiny.run(stage, fresh, "--set", "dataset.videos=[b]")
    output = fresh.parent / "out"
    assert {path.name for path in (output / DEBLURRED / "adapted").iterdir() if path.is_dir()} == {"b"}
    assert {region["video"] for region in regions(output)} == {"b"}


def test_without_ground_truth_there_is_no_table(case: Path, capsys: pytest.CaptureFixture) -> None:
    for video in tiny.VIDEOS:
        shutil.rmtree(case.parent / "data" / video / "Sharp")
    (case.parent / "out" / DEBLURRED / "metrics.json").unlink()
    tiny.run("DeblurringModel", case)
    printed = capsys.readouterr().out
    assert "no ground truth" in printed and "| blurry input" not in printed
    assert not (case.parent / "out" / DEBLURRED / "metrics.json").exists()


def test_inference_waits_for_the_end_of_the_fine_tuning(case: Path) -> None:
    weights = case.parent / "out" / DEBLURRED / "weights" / "last.pth"
    stored = load_checkpoint(weights)
    torch.save({**stored, "step": stored["step"] - 1}, weights)
    with pytest.raises(UserError, match="fine-tuning stopped after step"):
        tiny.run("DeblurringModel.deblur_inference", case)
    tiny.run("DeblurringModel.deblur_inference", case, "--variant", "baseline")
