"""The small scripts: check_weights, export_weights, shell entry points."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from vectors import fill, manifest, values

from BlurringModel.id_blau.diffusion import GaussianDiffusion, linear_betas
from BlurringModel.id_blau.unet import UNet
from common.checkpoints import load_state, save_checkpoint
from common.errors import UserError
from common.images import read_image, write_array, write_image
from common.runtime import interrupts
from DeblurringModel import models
from DeblurringModel.ESTRNN.model import ESTRNN
from RSDM.bme.model import BlurMagnitudeEstimator
from scripts import check_weights, export_weights

ROOT = Path(__file__).resolve().parents[1]


def test_check_weights_names_each_network(tmp_path):
    torch.save(BlurMagnitudeEstimator().state_dict(), tmp_path / "best_net.pth")
    torch.save(
        {"state_dict": {f"module.model.{key}": value for key, value in ESTRNN().state_dict().items()}},
        tmp_path / "estrnn.tar",
    )
    diffusion = GaussianDiffusion(UNet(), linear_betas()).state_dict()
    torch.save(
        {
            "model_state": {
                key.replace("model.", "model.module.", 1) if key.startswith("model.") else key: value
                for key, value in diffusion.items()
            }
        },
        tmp_path / "ID_Blau.pth",
    )
    raft = {
        f"module.{key}": torch.from_numpy(values(key, tuple(shape))).float() if shape else torch.tensor(0)
        for key, shape in manifest("raft")["large"]["princeton"].items()
    }
    torch.save(raft, tmp_path / "raft-things.pth")
    found = {path.name: check_weights.identify(path) for path in tmp_path.iterdir()}
    assert found["best_net.pth"].startswith("BME (ResNet-50)")
    assert found["estrnn.tar"].startswith("ESTRNN (GoPro)")
    assert found["ID_Blau.pth"].startswith("ID-Blau (GoPro), 2000 timesteps")
    assert found["raft-things.pth"].startswith("raft_large")


def test_check_weights_knows_small_networks_by_their_stored_architecture(tmp_path):
    architecture = {"n_features": 12, "n_blocks": 1}
    state = ESTRNN(**architecture).state_dict()
    save_checkpoint({"model_state": state, "architecture": architecture}, tmp_path / "small.pth")
    assert check_weights.identify(tmp_path / "small.pth").startswith("ESTRNN {'n_features': 12")
    save_checkpoint({"model_state": state}, tmp_path / "nameless.pth")
    assert check_weights.identify(tmp_path / "nameless.pth") is None


@pytest.fixture
def rendered(tmp_path) -> Path:
    """Four videos of five frames of 32 x 40 pixels, blurred by 2, 9, 14 and 11 pixels."""
    for number, blur in enumerate((2, 9, 14, 11)):
        for frame in range(5):
            picture = np.random.default_rng(number).integers(0, 256, (32, 40, 3)).astype(np.uint8)
            folder = tmp_path / "data" / f"v{number}"
            write_image(folder / "Blur" / "RGB" / f"{frame}.png", cv2.blur(picture, (blur, 1)))
            write_image(folder / "Sharp" / "RGB" / f"{frame}.png", picture)
            write_array(folder / "Condition" / f"{frame}.npy", np.full((3, 32, 40), blur, np.float32))
    return tmp_path / "data"


def test_check_weights_judges_a_deblurring_network(tmp_path, rendered, monkeypatch, capsys):
    """A U-Net that has learned nothing returns its input. Nearest to 10 pixels are the videos 1, 3 and 2."""
    architecture = {"channels": [4, 4], "blocks": 1, "middle": 1}
    state = models.build("Window_UNet", **architecture).state_dict()
    save_checkpoint({"model_state": state, "architecture": architecture}, tmp_path / "u.pth")
    shown = tmp_path / "shown.png"
    command = ["check_weights.py", str(tmp_path / "u.pth"), "--data", str(rendered), "--pictures", str(shown)]
    monkeypatch.setattr("sys.argv", command)
    check_weights.main()
    said = capsys.readouterr().out
    assert "4 frames, blurry" in said and "dB (+0.00); the blurrier half +0.00, the other +0.00" in said
    expected = [
        np.concatenate([blurry, blurry, read_image(rendered / video / "Sharp/RGB/2.png")], axis=1)
        for video in ("v1", "v3", "v2")
        for blurry in [read_image(rendered / video / "Blur/RGB/2.png")]
    ]
    assert np.array_equal(read_image(shown), np.concatenate(expected))


def test_pictures_are_of_one_network_on_a_data_set(monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["check_weights.py", "a.pth", "b.pth", "--data", "d", "--pictures", "x.png"]
    )
    with pytest.raises(SystemExit):
        check_weights.main()
    assert "--pictures: needs --data and one weights file" in capsys.readouterr().err


def test_export_keeps_the_schedule_exact_and_halves_the_rest(tmp_path, monkeypatch, capsys):
    network = fill(GaussianDiffusion(UNet(base_channels=8, num_res_blocks=1, time_dim=8), linear_betas()))
    network.betas.copy_(linear_betas())
    save_checkpoint(
        {"model_state": network.state_dict(), "architecture": {"base_channels": 8}, "step": 7},
        tmp_path / "best.pth",
    )
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "best.pth"), str(tmp_path / "small.pth")])
    export_weights.main()
    assert "SHA-256" in capsys.readouterr().out
    state = load_state(tmp_path / "small.pth")
    assert torch.equal(state["betas"], network.betas)
    weight = "model.init_conv.weight"
    assert state[weight].dtype == torch.float16
    assert torch.allclose(state[weight].float(), network.state_dict()[weight], atol=1e-3)


def test_export_refuses_bare_weights(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(1)}, tmp_path / "bare.pth")
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "bare.pth"), str(tmp_path / "small.pth")])
    with pytest.raises(UserError, match="model_state"):
        export_weights.main()
    assert not (tmp_path / "small.pth").exists()


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.sh")))
def test_shell_scripts_parse(script):
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / script)], check=True)


def test_run_pipeline_without_config_explains_itself():
    result = subprocess.run(
        ["bash", str(ROOT / "scripts" / "run_pipeline.sh")], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "Usage" in result.stdout


@pytest.mark.parametrize("code", [0, 2])
def test_launch_ends_as_the_script_does(tmp_path, code):
    script = tmp_path / "script.py"
    # One write for each process: a print, unbuffered, may be torn by the other's.
    script.write_text(
        "import os, sys\n"
        "os.write(1, f\"{os.environ['RANK']} {sys.argv[1:]}\\n\".encode())\n"
        f"sys.exit({code})\n"
    )
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "launch.py"), "2", str(script), "--config", "x"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == code and "Traceback" not in result.stderr
    if code == 0:
        assert sorted(result.stdout.splitlines()) == ["0 ['--config', 'x']", "1 ['--config', 'x']"]


def test_launch_that_is_asked_to_end_says_so(tmp_path):
    script, here = tmp_path / "script.py", tmp_path / "here"
    script.write_text(f"import pathlib, time\npathlib.Path({str(here)!r}).touch()\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "launch.py"), "2", str(script)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not here.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert (
        process.returncode == 143 and said.splitlines()[-1] == interrupts.MESSAGE and "Traceback" not in said
    )
