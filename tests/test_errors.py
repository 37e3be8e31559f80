"""A user's mistakes end with exit code 2 and one line that names the file or key and what to do."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import torch
from tiny import finished, one_thread  # noqa: F401, fixtures

from common.errors import UserError
from common.images import read_image, write_image
from common.runtime import distributed, entry
from common.runtime.distributed import World

PROVENANCE = {"settings.json", "config.yaml", "run.json", "inputs.json"}
STAGE_1, STAGE_2, STAGE_3, STAGE_4 = tiny.STAGES
FINE_TUNING, INFERENCE = "DeblurringModel.deblur_finetune_DDP", "DeblurringModel.deblur_inference"


@pytest.fixture
def case(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "case")
    return tmp_path / "case"


def complaint(stage: str, config: Path, arguments: tuple[str, ...], capfd: pytest.CaptureFixture) -> str:
    """The one line on stderr of a run that has to end with exit code 2."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        entry.run(lambda: tiny.run(stage, config, *arguments))
    assert caught.value.code == 2
    output = capfd.readouterr()
    # Progress bars stay; libpng adds a remark of its own about damaged data.
    lines = [
        line
        for line in output.err.replace("\r", "\n").splitlines()
        if line.strip() and "%|" not in line and not line.startswith("libpng")
    ]
    assert len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in output.out, output.err
    return lines[0]


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def frame(folder: Path, video: str, index: int, kind: str = "Blur") -> Path:
    return folder / "data" / video / kind / "RGB" / f"{8 + index}.png"


def enlarge(folder: Path, video: str, index: int, kind: str = "Blur") -> None:
    path = frame(folder, video, index, kind)
    write_image(path, np.pad(read_image(path), ((0, 4), (0, 0), (0, 0))))


def shrink(folder: Path, *videos: str) -> None:
    """Make whole videos too small for a region."""
    for video in videos:
        for path in (folder / "data" / video).rglob("*.png"):
            write_image(path, read_image(path)[:30].copy())


def rewrite_regions(folder: Path, change: Callable[[list[dict]], object]) -> None:
    path = folder / REGIONS
    content = json.loads(path.read_text())
    change(content["sharp_regions"])
    path.write_text(json.dumps(content))


def remove(*places: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        for place in places:
            found = list(folder.glob(place))
            assert found, place
            for path in found:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def write_key(section: str, **values: object) -> Callable[[Path], None]:
    return lambda folder: tiny.write_config(folder, **{section: values}) and None


def alone(name: str) -> Callable[[Path], None]:
    """Nothing done yet, and one more video, of too few frames."""

    def act(folder: Path) -> None:
        shutil.rmtree(folder / "out")
        tiny.write_video(folder / "data" / name, frames=4)

    return act


def damage(kind: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        shutil.rmtree(folder / "out")
        path = frame(folder, "b", 3)
        data = bytearray(path.read_bytes())
        if kind == "truncated":
            data = data[: len(data) // 2]
        elif kind == "text":
            data = b"<html>not found</html>"
        elif kind == "empty":
            data = b""
        else:
            middle = len(data) // 2
            data[middle : middle + 4] = bytes(255 - value for value in data[middle : middle + 4])
        path.write_bytes(data)

    return act


def own_network(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "own.py").write_text(text) and None


@dataclass(frozen=True)
class Mistake:
    """What is done to a finished case, which stage is then called how, and the words of the complaint."""

    stage: str
    words: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    arrange: Callable[[Path], None] = lambda folder: None
    config: str = "config.yaml"
    goes_on: bool = False
    """Work done before the mistake is met stays."""


def fresh(folder: Path) -> None:
    shutil.rmtree(folder / "out")


def setting(
    stage: str, change: str, *words: str, arrange: Callable[[Path], None] = lambda folder: None
) -> Mistake:
    return Mistake(stage, words, ("--set", change), arrange)


WEIGHTS = {"rsdm.weights": STAGE_1, "blurring.weights": STAGE_3, "deblurring.weights": STAGE_4}
REGIONS = "out/rsdm/sharp_regions.json"
README = "README.md (Published weights)"
MISTAKES = {
    # Configuration
    "config absent": Mistake(STAGE_1, ("none.yaml", "cannot be read"), config="none.yaml"),
    "key mistyped in the file": Mistake(
        STAGE_1,
        ("config.yaml", "`rsdm.min_sise`", "did you mean `rsdm.min_size`"),
        arrange=write_key("rsdm", min_sise=32),
    ),
    "key mistyped on the command line": setting(
        STAGE_4, "deblurring.epoch=3", "--set", "`deblurring.epoch`", "did you mean `deblurring.epochs`"
    ),
    "key without its section": setting(STAGE_1, "min_size=32", "`min_size`", "did you mean `rsdm.min_size`"),
    "section mistyped": setting(STAGE_2, "dbcg.flow=dis", "`dbcg`", "did you mean `dbcgm`"),
    "wrong type": setting(
        STAGE_1, "rsdm.min_size=big", "rsdm.min_size", "expected a whole number, found 'big'"
    ),
    "impossible value": setting(STAGE_3, "blurring.eta=2", "blurring.eta", "at most 1, found 2"),
    "unknown word": setting(STAGE_2, "dbcgm.flow=raft", "dbcgm.flow", "raft_large, raft_small, dis"),
    "no output": setting(STAGE_1, "output=null", "output is not set", "--set output="),
    "cuda without a device": setting(STAGE_1, "runtime.device=cuda", "runtime.device", "use auto or cpu"),
    # Data set
    "no data set": setting(STAGE_1, "dataset.root=null", "dataset.root is not set", "--set dataset.root="),
    "data set absent": setting(
        STAGE_1,
        "dataset.root=nowhere",
        "nowhere",
        "dataset.root does not exist",
        "<root>/<video>/Blur/RGB/<frame>.png",
    ),
    "data set without videos": setting(
        STAGE_1, "dataset.blur=Blurry", "data: no video found", "dataset.blur"
    ),
    "unknown video": setting(STAGE_1, "dataset.videos=[c]", "dataset.videos: c is not among", "a, b"),
    "empty video": Mistake(
        STAGE_1,
        ("data/c/Blur/RGB", "contains no frames (.png, "),
        arrange=lambda folder: (folder / "data/c/Blur/RGB").mkdir(parents=True),
    ),
    "too few frames": Mistake(STAGE_1, ("data/c/Blur/RGB", "has 4 frames", "at least 5"), arrange=alone("c")),
    "ground truth incomplete": Mistake(
        STAGE_4, ("data/b/Sharp/RGB", "9.png is missing"), arrange=remove("data/b/Sharp/RGB/9.png")
    ),
    "ground truth of another size": Mistake(
        STAGE_4,
        ("data/a/Sharp/RGB/10.png", "72 x 68", "72 x 64", "needs the size of the blurry frames"),
        arrange=lambda folder: (
            enlarge(folder, "a", 2, "Sharp"),
            remove("out/deblurring/ESTRNN/metrics.json")(folder),
        ),
    ),
    **{
        f"frame {kind}": Mistake(
            STAGE_1, ("data/b/Blur/RGB/11.png", "the file again"), arrange=damage(kind), goes_on=True
        )
        for kind in ("truncated", "text", "empty", "damaged")
    },
    "frame of another size": Mistake(
        STAGE_1,
        ("data/b/Blur/RGB/12.png", "72 x 68", "8.png is 72 x 64", "one size"),
        goes_on=True,
        arrange=lambda folder: (fresh(folder), enlarge(folder, "b", 4)),
    ),
    "every video too small": Mistake(
        STAGE_1,
        ("rsdm.min_size", "32 x 32", "smaller", "deblurring.crop_size"),
        arrange=lambda folder: (fresh(folder), shrink(folder, "a", "b")),
        goes_on=True,
    ),
    # Results of the stages before
    "stage 2 without stage 1": Mistake(
        STAGE_2, ("sharp_regions.json", "run python RSDM/main.py"), arrange=fresh
    ),
    "stage 3 without stage 1": Mistake(
        STAGE_3, ("sharp_regions.json", "run python RSDM/main.py"), arrange=fresh
    ),
    "stage 4 without stage 1": Mistake(
        FINE_TUNING, ("sharp_regions.json", "run python RSDM/main.py"), arrange=fresh
    ),
    "stage 3 without stage 2": Mistake(
        STAGE_3, ("out/dbcgm", "run python DBCGM/main.py"), arrange=remove("out/dbcgm", "out/blurring")
    ),
    "stage 4 without stage 3": Mistake(
        STAGE_4, ("out/blurring", "run python BlurringModel/main.py"), arrange=remove("out/blurring")
    ),
    "magnitude map missing": Mistake(
        STAGE_2,
        ("magnitude/a/", ".npy", "run python RSDM/main.py"),
        arrange=remove("out/rsdm/magnitude/a/*.npy", "out/dbcgm/condition"),
    ),
    "magnitude map damaged": Mistake(
        STAGE_2,
        ("magnitude/a/10.npy", "run python RSDM/main.py"),
        arrange=lambda folder: (
            remove("out/dbcgm/condition")(folder),
            (folder / "out/rsdm/magnitude/a/10.npy").write_bytes(b"\x93NUMPY"),
        ),
    ),
    "condition missing": Mistake(
        STAGE_3,
        ("condition/", ".npy", "run python DBCGM/main.py"),
        arrange=remove("out/dbcgm/condition", "out/blurring/*/reblur"),
    ),
    "reblurred frame missing": Mistake(
        STAGE_4,
        ("out/blurring", "no reblurred frame of a/", "run python BlurringModel/main.py"),
        arrange=remove("out/blurring/a/reblur", "out/deblurring/ESTRNN/weights"),
    ),
    "no adapted weights": Mistake(
        INFERENCE,
        ("last.pth", "run python DeblurringModel/deblur_finetune_DDP.py"),
        arrange=remove("out/deblurring/ESTRNN/weights"),
    ),
    "regions not JSON": Mistake(
        STAGE_2,
        ("sharp_regions.json", "not valid JSON", "remake or correct it"),
        arrange=lambda folder: (folder / REGIONS).write_text("{") and None,
    ),
    "region without a box": Mistake(
        STAGE_2,
        ("sharp_regions.json", "sharp_regions[0]", "bbox has to be four"),
        arrange=lambda folder: rewrite_regions(folder, lambda rows: rows[0].pop("bbox")),
    ),
    "region of an unknown frame": Mistake(
        STAGE_2,
        ("sharp_regions.json", "sharp_regions[0]", "video a has no frame 99"),
        arrange=lambda folder: rewrite_regions(folder, lambda rows: rows[0].update(frame="99")),
    ),
    "region outside the frame": Mistake(
        STAGE_3,
        ("sharp_regions.json", "a/10", "outside the frame of 72 x 64"),
        goes_on=True,
        arrange=lambda folder: (
            rewrite_regions(folder, lambda rows: rows[0].update(bbox=[40, 0, 80, 40])),
            remove("out/blurring")(folder),
        ),
    ),
    # Weights
    "no BME weights": setting(STAGE_1, "rsdm.weights=null", "rsdm.weights is not set", README),
    "no ID-Blau weights": setting(STAGE_3, "blurring.weights=null", "blurring.weights is not set", README),
    "no deblurring weights": setting(
        STAGE_4,
        "deblurring.weights=null",
        "deblurring.weights is not set",
        "ESTRNN",
        README,
        arrange=remove("out/deblurring"),
    ),
    "no RAFT weights": setting(
        STAGE_2,
        "dbcgm.flow=raft_large",
        "dbcgm.weights",
        "raft-things.pth",
        "dbcgm.flow: dis",
        arrange=remove("out/dbcgm"),
    ),
    "weights for DIS": setting(
        STAGE_2,
        "dbcgm.weights=raft.pth",
        "dbcgm.weights",
        "dis takes no weights",
        arrange=lambda folder: (remove("out/dbcgm")(folder), (Path("raft.pth")).write_bytes(b"x")),
    ),
    **{
        f"{key} absent": setting(stage, f"{key}=none.pth", "none.pth", "weights file does not exist", README)
        for key, stage in WEIGHTS.items()
    },
    "RAFT weights absent": Mistake(
        STAGE_2,
        ("none.pth", "weights file does not exist", README),
        ("--set", "dbcgm.flow=raft_large", "dbcgm.weights=none.pth"),
        remove("out/dbcgm"),
    ),
    "BME from ESTRNN's file": setting(
        STAGE_1,
        "rsdm.weights=case/weights/estrnn.tar",
        "estrnn.tar",
        "does not fit BlurMagnitudeEstimator",
        "missing",
        "unexpected",
        "choose weights",
        arrange=fresh,
    ),
    "ID-Blau from BME's file": setting(
        STAGE_3,
        "blurring.weights=case/weights/bme.pth",
        "bme.pth",
        "holds no ID-Blau",
        "betas",
        arrange=remove("out/blurring"),
    ),
    "ID-Blau of another width": setting(
        STAGE_3,
        "blurring.architecture={base_channels: 16}",
        "id_blau.pth",
        "does not fit GaussianDiffusion",
        "wrongly shaped",
        " instead of ",
        "its architecture as in the file",
        arrange=remove("out/blurring"),
    ),
    "ESTRNN from BME's file": setting(
        STAGE_4,
        "deblurring.weights=case/weights/bme.pth",
        "bme.pth",
        "does not fit ESTRNN",
        "missing",
        "unexpected",
        arrange=remove("out/deblurring"),
    ),
    "ESTRNN of another width": setting(
        STAGE_4,
        "deblurring.architecture={n_features: 16}",
        "estrnn.tar",
        "wrongly shaped",
        " instead of ",
        arrange=remove("out/deblurring"),
    ),
    "ESTRNN with more blocks": setting(
        STAGE_4,
        "deblurring.architecture={n_blocks: 2}",
        "estrnn.tar",
        "missing",
        "cell.F_R.RDBs.1",
        arrange=remove("out/deblurring"),
    ),
    "weights that are no checkpoint": setting(
        STAGE_4,
        "deblurring.weights=case/config.yaml",
        "config.yaml",
        "not a PyTorch checkpoint",
        "fetch or make it again",
        arrange=remove("out/deblurring"),
    ),
    # Networks
    "unknown network": setting(
        STAGE_4,
        "deblurring.model=ESTRN",
        "deblurring.model",
        "ESTRNN, MMP_RNN, DSTNet, Shift_Net",
        "found 'ESTRN'",
    ),
    "unknown module": setting(
        STAGE_4, "deblurring.model=nowhere.at_all:Net", "deblurring.model", "nowhere", "imported"
    ),
    "own file absent": setting(
        STAGE_4, "deblurring.model=none.py:Net", "deblurring.model", "none.py", "does not exist"
    ),
    "own class absent": setting(
        STAGE_4,
        "deblurring.model=case/own.py:Net",
        "deblurring.model",
        "own.py",
        "no class Net",
        arrange=own_network("class Other: pass\n"),
    ),
    "unknown architecture keyword": setting(
        STAGE_4,
        "deblurring.architecture={n_feats: 12}",
        "deblurring.architecture",
        "n_feats",
        arrange=remove("out/deblurring"),
    ),
    "impossible architecture": setting(
        STAGE_4,
        "deblurring.architecture={n_features: 0}",
        "deblurring.architecture",
        "n_features",
        "at least 1",
        arrange=remove("out/deblurring"),
    ),
    "unknown U-Net keyword": setting(
        STAGE_3,
        "blurring.architecture={channels: 8}",
        "blurring.architecture",
        "channels",
        arrange=remove("out/blurring"),
    ),
    "impossible BME width": setting(STAGE_1, "rsdm.width=5", "rsdm.width", "even", arrange=fresh),
    "unknown fact of the interface": setting(
        STAGE_4, "deblurring.interface={futur: 1}", "deblurring.interface", "'futur'", "future"
    ),
    "impossible fact of the interface": setting(
        STAGE_4, "deblurring.interface={past: 3}", "deblurring.interface.past", "0 to 2", "found 3"
    ),
    "clip too short": setting(
        STAGE_4,
        "deblurring.clip_length=4",
        "deblurring.clip_length",
        "at least 5",
        "got 4",
        arrange=remove("out/deblurring"),
    ),
    # Numbers that do not fit together
    "more DDIM steps than the schedule has": setting(
        STAGE_3, "blurring.steps=51", "blurring.steps", "1 to 50 steps", arrange=remove("out/blurring")
    ),
    "crop larger than a region": setting(
        FINE_TUNING,
        "deblurring.crop_size=64",
        "deblurring.crop_size: 64",
        "larger than the smallest region (rsdm.min_size 32)",
        "lower it",
    ),
    # Before any baseline is computed: nothing is written.
    "crop larger than a region that is there": Mistake(
        STAGE_4,
        ("deblurring.crop_size: 64", "larger than a region of a/", "lower it"),
        ("--set", "deblurring.crop_size=64", "rsdm.min_size=64"),
        arrange=remove("out/deblurring"),
    ),
    "crop that the network cannot take": setting(
        STAGE_4,
        "deblurring.crop_size=30",
        "deblurring.crop_size",
        "multiple of 4",
        "found 30",
        arrange=remove("out/deblurring"),
    ),
    "clips shorter than a window": setting(
        STAGE_4,
        "deblurring.clip_length=3",
        "deblurring.clip_length",
        "at least 5",
        arrange=remove("out/deblurring"),
    ),
    "pairs of ground truth without ground truth": setting(
        STAGE_4,
        "deblurring.pairs=ground_truth",
        "deblurring.pairs",
        "b has none",
        arrange=remove("out/deblurring", "data/b/Sharp"),
    ),
    "best_gt without ground truth": setting(
        STAGE_4,
        "deblurring.select=best_gt",
        "deblurring.select",
        "ground truth",
        "use last",
        arrange=remove("data/b/Sharp"),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_and_nothing_half_written(
    name: str, case: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    mistake = MISTAKES[name]
    monkeypatch.chdir(case.parent)
    mistake.arrange(case)
    before = snapshot(case)
    line = complaint(mistake.stage, case / mistake.config, mistake.arguments, capfd)
    for word in mistake.words:
        assert word in line
    after = snapshot(case)
    assert {path: after.get(path) for path in before} == before
    written = [path for path in after if path not in before and path.name not in PROVENANCE]
    assert mistake.goes_on or not written
    for path in written:
        assert not path.name.startswith(".")
        np.load(path) if path.suffix == ".npy" else cv2.imread(str(path)).shape


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_auto_falls_back_to_the_cpu(case: Path) -> None:
    tiny.run(STAGE_1, case / "config.yaml", "--set", "runtime.device=auto")


def test_half_set_environment_of_torchrun(
    case: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = complaint(STAGE_1, case / "config.yaml", (), capfd)
    assert "RANK, WORLD_SIZE without LOCAL_RANK, MASTER_ADDR, MASTER_PORT" in line and "torchrun" in line


@pytest.mark.parametrize("stage", [FINE_TUNING, STAGE_4])
def test_batch_that_the_processes_cannot_share(
    stage: str, case: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    shutil.rmtree(case / "out" / "deblurring")
    monkeypatch.setattr(distributed, "start", lambda *_: World(0, 3, torch.device("cpu")))
    line = complaint(stage, case / "config.yaml", (), capfd)
    assert not (case / "out" / "deblurring").exists()
    assert "deblurring.batch_size: 2 cannot be divided among 3 processes" in line


def test_small_video_is_left_out_by_name_and_the_stages_go_on(
    case: Path, capsys: pytest.CaptureFixture
) -> None:
    fresh(case)
    shrink(case, "b")
    for stage in tiny.STAGES:
        tiny.run(stage, case / "config.yaml")
    printed = capsys.readouterr().out
    assert "b: left out, no region of 32 x 32 pixels" in printed and "72 x 30" in printed
    assert "a: left out" not in printed
    restored = case / "out" / "deblurring" / "ESTRNN" / "adapted"
    # It has no region of its own, and is restored with what the other taught.
    assert {read_image(path).shape for path in (restored / "b").iterdir()} == {(30, 72, 3)}
    assert len(list((restored / "b").iterdir())) == tiny.FRAMES


def test_a_corrected_frame_is_all_that_is_needed(case: Path, capfd: pytest.CaptureFixture) -> None:
    """Of a frame that stopped the first run nothing was made, so mending it makes nothing stale."""
    maps = case / "out" / "rsdm" / "magnitude" / "b"
    expected = {path.name: path.read_bytes() for path in maps.iterdir()}
    fresh(case)
    good = frame(case, "b", 4).read_bytes()
    enlarge(case, "b", 4)
    assert "12.png" in complaint(STAGE_1, case / "config.yaml", (), capfd)
    frame(case, "b", 4).write_bytes(good)
    assert list((case / "out" / "rsdm" / "magnitude" / "a").iterdir())
    # A frame whose map is there must stay what it was.
    other = frame(case, "a", 2)
    kept = other.read_bytes()
    other.write_bytes(good)
    with pytest.raises(
        UserError, match=f"made with other settings: dataset.a/blurry.{other.name}: .*--overwrite"
    ):
        tiny.run(STAGE_1, case / "config.yaml")
    other.write_bytes(kept)
    tiny.run(STAGE_1, case / "config.yaml")
    assert {path.name: path.read_bytes() for path in maps.iterdir()} == expected
    # Every result depends on all frames.
    frame(case, "b", 4).write_bytes(frame(case, "b", 3).read_bytes())
    with pytest.raises(UserError, match="made with other settings: dataset.b/blurry.12.png"):
        tiny.run(STAGE_1, case / "config.yaml")


@pytest.mark.parametrize(
    "stage, place, wrong",
    [
        (STAGE_1, "rsdm", "rsdm.weights=weights/estrnn.tar"),
        (STAGE_2, "dbcgm", "dbcgm.flow=raft_large"),
        (STAGE_3, "blurring", "blurring.weights=weights/bme.pth"),
        (STAGE_4, "deblurring", "deblurring.weights=weights/bme.pth"),
    ],
)
def test_corrected_settings_need_no_overwrite(
    case: Path,
    stage: str,
    place: str,
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    """Settings under which nothing was made bind nobody."""
    monkeypatch.chdir(case)
    shutil.rmtree(case / "out" / place)
    complaint(stage, case / "config.yaml", ("--set", wrong), capfd)
    tiny.run(stage, case / "config.yaml")


def test_wrong_option_ends_with_usage(case: Path, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        entry.run(lambda: tiny.run(STAGE_1, case / "config.yaml", "--overwite"))
    assert caught.value.code == 2
    assert "unrecognized arguments: --overwite" in capfd.readouterr().err
