"""What cannot work in the last stage is told before the first, by the pipeline and by deblur_video."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from tiny import one_thread  # noqa: F401 (a fixture)

from common.config import Config
from common.config_loader import load_config
from common.errors import UserError
from scripts import deblur_video
from scripts.check_settings import check_settings

LATE = {
    "deblurring.crop_size=30": "deblurring.crop_size: ESTRNN needs a multiple of 4",
    "deblurring.clip_overlap=3": "deblurring.clip_length: expected a clip length of at least 11, got 5",
    "deblurring.weights=weights/nowhere.pth": "nowhere.pth: weights file does not exist",
    "deblurring.weights=weights/bme.pth": "bme.pth: ",
    "deblurring.weights=": "deblurring.weights is not set",
    "deblurring.architecture={width: 3}": "deblurring.architecture: ESTRNN does not take these keywords",
    "deblurring.loss=nowhere.py:loss": "deblurring.loss",
    "blurring.weights=weights/estrnn.tar": "estrnn.tar: holds no ID-Blau",
    "blurring.steps=51": "blurring.steps: expected 1 to 50 steps",
    "rsdm.weights=weights/estrnn.tar": "estrnn.tar: ",
    "dbcgm.flow=raft_large": "dbcgm.weights",
}
"""A setting, and the beginning of what is said of it."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("settings") / "case")


def test_settings_that_work_pass(config: Path) -> None:
    check_settings(load_config(Config, config), 2)


@pytest.mark.parametrize("setting", LATE)
def test_settings_that_bite_late_are_refused(
    config: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    with pytest.raises(UserError) as error:
        check_settings(load_config(Config, config, [setting]))
    assert LATE[setting] in str(error.value) and "\n" not in str(error.value)


def test_a_batch_that_the_processes_cannot_share_is_refused(config: Path) -> None:
    with pytest.raises(UserError, match="deblurring.batch_size: 2 cannot be divided among 3 processes"):
        check_settings(load_config(Config, config), 3)


@pytest.mark.parametrize(
    "setting", ["deblurring.crop_size=30", "deblurring.select=best_gt", "deblurring.borders=drop"]
)
def test_deblur_video_refuses_before_it_reads_a_clip(
    config: Path, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deblur_video, "open_source", lambda path: pytest.fail("a clip was opened"))
    arguments = ["deblur_video.py", "clip.mp4", "--config", str(config), "--set", setting]
    monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(tmp_path / "out")])
    with pytest.raises(UserError, match=setting.split("=")[0]):
        deblur_video.main()
    assert not (tmp_path / "out").exists()


def test_the_pipeline_refuses_before_its_first_stage(config: Path) -> None:
    """With ground truth for one video of two, and an epoch chosen by it."""
    command = ["bash", str(tiny.ROOT / "scripts" / "run_pipeline.sh"), str(config)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for change, words in (
        (("3",), "deblurring.batch_size: 2 cannot be divided among 3 processes"),
        (("--set", "deblurring.select=best_gt", f"dataset.sharp={tiny.VIDEOS[0]}"), "needs ground truth"),
    ):
        done = subprocess.run(
            [*command, *change], capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        lines = done.stderr.splitlines()
        assert done.returncode == 2 and len(lines) == 1 and words in lines[0], done.stderr
    assert not (config.parent / "out").exists()
