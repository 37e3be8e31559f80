"""Samplers of ID-Blau: timesteps, agreement with DDIM, and what a perfect predictor of a known image gives."""

import math
from dataclasses import fields

import numpy as np
import pytest
import tiny
import torch

from BlurringModel.id_blau.diffusion import GaussianDiffusion, linear_betas
from BlurringModel.id_blau.initial import start_from_input
from BlurringModel.id_blau.timesteps import ddim_timesteps, log_snr, log_snr_timesteps
from BlurringModel.id_blau.unet import UNet
from BlurringModel.main import ONLY_ID_BLAU
from BlurringModel.reblurring.sampling import evaluations
from common.config import BlurringConfig
from common.errors import UserError
from common.images import write_array
from scripts import compare_samplers
from scripts.compare_samplers import texture_kept

DIFFUSION = linear_betas()
CUMULATIVE = (1 - DIFFUSION).cumprod(0)
SHARE = 4 / 255
"""Deviation of the fine texture in the test with a perfect predictor."""


class Texture(torch.nn.Module):
    """The best guess of the noise where images are white noise of deviation SHARE."""

    def forward(self, given: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        alpha2 = CUMULATIVE.to(given)[steps][:, None, None, None]
        x = given[:, :3]
        image = alpha2.sqrt() * SHARE**2 / (alpha2 * SHARE**2 + 1 - alpha2) * x
        return (x - alpha2.sqrt() * image) / (1 - alpha2).sqrt()


def diffusion(unet: torch.nn.Module) -> GaussianDiffusion:
    return GaussianDiffusion(unet, DIFFUSION)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    condition = torch.rand(1, 6, 32, 32, generator=generator) - 0.5
    return condition, torch.randn(1, 3, 32, 32, generator=generator)


@pytest.mark.parametrize("start", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("steps", [2, 4, 8, 10, 20, 50, 100])
def test_no_timestep_comes_twice(steps, start):
    """Near the end the nearest timesteps of equal log-SNR steps coincide."""
    pairs = log_snr_timesteps(CUMULATIVE, steps, start)
    nodes = [pairs[0][0], *(following for _, following in pairs)]
    assert len(pairs) == steps and nodes[-1] == 0
    assert all(now > then for now, then in zip(nodes, nodes[1:]))
    assert all(first[1] == second[0] for first, second in zip(pairs, pairs[1:]))


def test_equal_steps_of_log_snr():
    level = log_snr(CUMULATIVE)
    pairs = log_snr_timesteps(CUMULATIVE, 10)
    widths = [float(level[following] - level[step]) for step, following in pairs[:-2]]
    assert max(widths) - min(widths) < 0.35 and pairs[0][0] == len(CUMULATIVE) - 1


def test_start_leaves_out_the_noisier_part():
    assert len(ddim_timesteps(2000, 20, 0.5)) == 11
    assert ddim_timesteps(2000, 20, 0.5) == ddim_timesteps(2000, 20)[-11:]
    assert ddim_timesteps(2000, 1, 0.5) == [(1000, 0)]
    for start in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="start"):
            ddim_timesteps(2000, 20, start)
    with pytest.raises(ValueError, match="do not fit"):
        log_snr_timesteps(CUMULATIVE, 100, 0.01)


@pytest.mark.parametrize("start", [1.0, 0.5])
def test_order_one_equals_ddim(start):
    """On the same grid; the texture is so faint that no predicted image is clamped."""
    given = inputs()
    network = diffusion(Texture())
    if start < 1:
        given[0][:, :3] *= 0.1
    expected = network.ddim_sample(*given, steps=20, start=start)
    found = network.dpm_sample(*given, visited=ddim_timesteps(2000, 20, start), start=start, order=1)
    assert (found - expected).abs().max() < 1e-6
    second = network.dpm_sample(*given, visited=ddim_timesteps(2000, 20, start), start=start)
    assert (second - expected).abs().max() > 1e-4


def test_share_of_a_fine_texture_kept():
    """With a perfect predictor 20 released steps lose most of a texture of 4 grey levels, 10 of dpm++2m keep it."""
    network, given = diffusion(Texture()), inputs()

    def kept(image: torch.Tensor) -> float:
        # A linear map of the noise, whose deviation is 1.
        return float(image.std() / given[1].std()) / SHARE

    released = kept(network.ddim_sample(*given, steps=20))
    spaced = kept(network.dpm_sample(*given, steps=20, order=1))
    second = kept(network.dpm_sample(*given, steps=10))
    assert released == pytest.approx(0.26, abs=0.02)
    assert spaced == pytest.approx(0.86, abs=0.02)
    assert second == pytest.approx(0.96, abs=0.02)


def test_predicted_images_are_clamped():
    class Far(torch.nn.Module):
        def forward(self, given: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
            return torch.full_like(given[:, :3], 50.0)

    network, given = GaussianDiffusion(Far(), DIFFUSION, "image"), inputs()
    assert network.dpm_sample(*given, steps=6).abs().max() < 0.51


def test_a_start_below_one_begins_with_the_sharp_image():
    """A predictor that says "no noise" leaves what sampling started from."""

    class Nothing(torch.nn.Module):
        def forward(self, given: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(given[:, :3])

    network, (condition, noise) = diffusion(Nothing()), inputs()
    sampled = network.ddim_sample(condition, torch.zeros_like(noise), steps=20, start=0.5)
    assert torch.allclose(sampled, condition[:, :3], atol=1e-4)
    assert network.ddim_sample(condition, torch.zeros_like(noise), steps=20).abs().max() == 0


def test_evaluations():
    network = diffusion(Texture())
    for sampler, steps, start, count in (
        ("ddim", 20, 1.0, 20),
        ("ddim", 20, 0.5, 11),
        ("dpm++2m", 10, 0.5, 10),
        ("ddpm", 20, 1.0, 2000),
    ):
        assert evaluations(BlurringConfig(sampler=sampler, steps=steps, start=start), network) == count


def test_texture_kept():
    crop = np.random.default_rng(0).integers(90, 166, (2, 32, 32, 3)).astype(np.uint8)
    assert texture_kept(crop, crop) == pytest.approx(1)
    assert texture_kept(np.full_like(crop, 128), crop) == pytest.approx(0, abs=1e-6)
    # Texture of another pattern is not the crop's own.
    assert abs(texture_kept(crop[:, ::-1], crop)) < 0.1
    with pytest.raises(UserError, match="no texture"):
        texture_kept(crop, np.zeros_like(crop))


def test_the_table_of_samplers(tmp_path, capsys, monkeypatch):
    """A network that predicts the sharp image whatever it is given; its file says how it was trained."""
    clip = tmp_path / "data" / "a"
    tiny.write_video(clip)
    for frame in (clip / "Blur" / "RGB").iterdir():
        write_array(clip / "Condition" / f"{frame.stem}.npy", np.zeros((3, *tiny.SIZE), np.float32))
    architecture = {"base_channels": 8, "channel_mults": [1], "num_res_blocks": 1, "time_dim": 8}
    network = GaussianDiffusion(UNet(**architecture), DIFFUSION, "image")
    start_from_input(network.model, "image")
    path = tmp_path / "id_blau.pth"
    stored = {"model_state": network.state_dict(), "architecture": architecture}
    torch.save(stored | {"prediction": "image", "direction": "axis", "magnitude_scale": 40.0}, path)
    monkeypatch.setattr(
        "sys.argv", ["compare_samplers.py", str(path), "--data", str(tmp_path / "data"), "--steps", "1", "2"]
    )
    compare_samplers.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| ddim", "| dpm"))]
    assert len(rows) == 8 and rows[0].startswith("| ddim | 1 | 1 |")
    assert all(" 100% |" in line or " 99% |" in line for line in rows)


def test_a_line_blur_does_not_depend_on_the_sampler():
    """What only a sampler reads must not make results of another model stale."""
    assert (
        {"sampler", "steps", "start", "eta"}
        <= set(ONLY_ID_BLAU)
        <= {own.name for own in fields(BlurringConfig)}
    )
