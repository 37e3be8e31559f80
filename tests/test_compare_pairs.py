"""scripts/compare_pairs.py: what other pairs teach the network, on the same results of stages 1 to 3."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from tiny import one_thread  # noqa: F401, a fixture

from common.runtime.files import read_json, write_json

METRICS = Path("deblurring/ESTRNN/metrics.json")


def compare(config: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(tiny.ROOT / "scripts" / "compare_pairs.py"), "--config", str(config)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny case after all stages, with what is borrowed. Not to be changed: take a copy."""
    folder = tmp_path_factory.mktemp("fused") / "case"
    config = tiny.make(folder, deblurring={"fusion": "aligned"})
    for stage in tiny.STAGES:
        tiny.run(stage, config)
    return folder


@pytest.fixture
def case(fused: Path, tmp_path: Path) -> Path:
    shutil.copytree(fused, tmp_path / "case")
    return tmp_path / "case" / "config.yaml"


def test_one_table_and_the_report_show_the_rows_of_all_pairs(case: Path) -> None:
    output = case.parent / "out"
    before = read_json(output / METRICS)
    done = compare(case, "--pairs", "both", "reblurred")
    assert done.returncode == 0, done.stderr
    figures, other = read_json(output / METRICS), read_json(output / "pairs" / "both" / METRICS)
    assert figures == before | {"adapted_both": other["adapted"], "fused_both": other["fused"]}
    assert other["baseline"] == before["baseline"] and other["aligned"] == before["aligned"]
    assert other["adapted"] != before["adapted"]
    both = f"{other['adapted']['psnr']:.2f} / {other['adapted']['ssim']:.4f}"
    assert f"| adapted (reblurred and aligned pairs) | {both} |" in done.stdout
    # The kind that the run has learned from is the run itself.
    assert not (output / "pairs" / "reblurred").exists()
    page = [sys.executable, str(tiny.ROOT / "scripts" / "report.py"), str(output)]
    subprocess.run(page, check=True, capture_output=True, timeout=120)
    assert "fused (reblurred and aligned pairs)" in (output / "report.html").read_text()
    # Again: nothing is made anew; with --overwrite it is, and what the run itself made is left alone.
    last, shared = output / "pairs" / "both" / "deblurring/ESTRNN/weights/last.pth", output / "deblurring"
    made = last.stat().st_mtime_ns
    assert compare(case).returncode == 0 and last.stat().st_mtime_ns == made
    untouched = {path: path.stat().st_mtime_ns for path in shared.rglob("*.png")}
    assert compare(case, "--overwrite").returncode == 0 and last.stat().st_mtime_ns != made
    assert untouched == {path: path.stat().st_mtime_ns for path in shared.rglob("*.png")}


def test_without_a_run_it_is_one_line(case: Path) -> None:
    (case.parent / "out" / METRICS).unlink()
    done = compare(case)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        f"error: {case.parent / 'out' / METRICS}: missing; run the four stages on footage with ground truth first"
    ]
    assert not (case.parent / "out" / "pairs").exists()


def test_a_stage_that_fails_is_named(case: Path) -> None:
    regions = case.parent / "out" / "rsdm" / "sharp_regions.json"
    write_json(regions, read_json(regions) | {"sharp_regions": []})
    done = compare(case)
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("error: deblurring.pairs both: DeblurringModel/main.py ended with ")
    )
