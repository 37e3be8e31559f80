"""ID-Blau's network, schedule and samplers against the stored vectors."""

import functools
import math

import pytest
import torch
from torch import nn
from vectors import expected, fill, image, manifest, normal, relative_error, shapes

from BlurringModel.id_blau.diffusion import GaussianDiffusion, linear_betas, seeded_draws
from BlurringModel.id_blau.initial import start_from_input
from BlurringModel.id_blau.timesteps import ddim_timesteps
from BlurringModel.id_blau.train import training_noise
from BlurringModel.id_blau.unet import UNet
from common.checkpoints import load_into

MANIFEST = manifest("id_blau")
EXPECTED = expected("id_blau")
CASES = {case["name"]: case for case in MANIFEST["cases"]}
TOLERANCE = 1e-4
TINY = dict(base_channels=8, channel_mults=(1, 2), num_res_blocks=1, time_dim=16)


@pytest.fixture(scope="module")
def unet() -> UNet:
    return fill(UNet(**MANIFEST["config"]), MANIFEST["gain"]).eval()


def tiny_diffusion(num_timesteps: int = 100) -> GaussianDiffusion:
    return GaussianDiffusion(fill(UNet(**TINY)).eval(), linear_betas(num_timesteps))


def condition(case: str, batch: int, height: int, width: int) -> torch.Tensor:
    angle = 2 * math.pi * image(f"{case}/angle", batch, 1, height, width)
    return torch.cat(
        [
            image(f"{case}/sharp", batch, 3, height, width) - 0.5,
            angle.cos(),
            angle.sin(),
            image(f"{case}/magnitude", batch, 1, height, width),
        ],
        dim=1,
    )


def inputs(case: dict) -> tuple[torch.Tensor, torch.Tensor]:
    batch, height, width = case["shape"]
    return condition(case["name"], *case["shape"]), normal(f"{case['name']}/noise", batch, 3, height, width)


def stored_draws(case: dict):
    return lambda k, shape: normal(f"{case['name']}/draw{k - 1}", *shape)


@pytest.mark.parametrize(
    "config, keys, count",
    [("config", "state_dict", "parameters"), ("config_tiny", "state_dict_tiny", "parameters_tiny")],
)
def test_unet_has_the_published_parameters(config, keys, count):
    network = UNet(**MANIFEST[config])
    assert list(shapes(network).items()) == list(MANIFEST[keys].items())
    assert sum(parameter.numel() for parameter in network.parameters()) == MANIFEST[count]


def test_unet_defaults_are_the_published_configuration():
    assert shapes(UNet()) == MANIFEST["state_dict"]


@pytest.mark.parametrize("name", ["unet_a", "unet_b", "unet_tiny"])
@torch.inference_mode()
def test_unet_output(name):
    case = CASES[name]
    network = fill(UNet(**MANIFEST[case["config"]]), MANIFEST["gain"]).eval()
    known, noise = inputs(case)
    output = network(torch.cat([noise, known], dim=1), torch.tensor(case["t"]))
    assert relative_error(output, EXPECTED[f"{name}/output"]) < TOLERANCE


def test_unet_drops_out_in_training_only():
    network = fill(UNet(**TINY, dropout=0.5))
    x, time = normal("x", 1, 9, 8, 8), torch.tensor([3])
    with torch.no_grad():
        assert not torch.equal(network.train()(x, time), network(x, time))
        assert torch.equal(network.eval()(x, time), network(x, time))


@pytest.mark.parametrize(
    "shape, steps, message",
    [
        ((1, 9, 32, 30), 1, "multiples of 4, got 32 x 30"),
        ((1, 9, 34, 32), 1, "multiples of 4, got 34 x 32"),
        ((1, 8, 32, 32), 1, r"\(B, 9, H, W\), got \(1, 8, 32, 32\)"),
        ((2, 9, 32, 32), 1, r"\(2,\), got \(1,\)"),
    ],
)
def test_unet_refuses_wrong_inputs(shape, steps, message):
    with pytest.raises(ValueError, match=message):
        UNet(base_channels=8)(torch.zeros(shape), torch.zeros(steps, dtype=torch.int64))


@pytest.mark.parametrize("wrong", [dict(base_channels=7), dict(channel_mults=())])
def test_unet_refuses_impossible_widths(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        UNet(**wrong)


def test_schedule():
    diffusion = GaussianDiffusion(nn.Identity(), linear_betas())
    assert linear_betas().dtype == torch.float64
    buffers = {name: value.numpy() for name, value in diffusion.state_dict().items()}
    assert list(buffers) == list(MANIFEST["checkpoint_state_dict"])[:8]
    for name, value in buffers.items():
        assert value.dtype == "float32"
        # One unit in the last place: float64 cumulative products may be rounded differently elsewhere.
        torch.testing.assert_close(value, EXPECTED[f"schedule/{name}"], rtol=1.2e-7, atol=0)


def test_schedule_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"betas \(T,\)"):
        GaussianDiffusion(nn.Identity(), torch.zeros(2, 2))


def test_published_checkpoint_loads(tmp_path):
    published = {name: normal(name, *shape) for name, shape in MANIFEST["checkpoint_state_dict"].items()}
    assert len(published) == 148
    torch.save({"model_state": published}, tmp_path / "ID_Blau.pth")
    diffusion = GaussianDiffusion(UNet(), linear_betas())
    load_into(diffusion, tmp_path / "ID_Blau.pth")
    name = "downblocks.0.layer1.1.weight"
    assert torch.equal(diffusion.model.get_parameter(name), published[f"model.module.{name}"])
    assert torch.equal(diffusion.sigma, published["sigma"])


@pytest.mark.parametrize("name", ["ddim20", "ddim10", "ddim30_T100", "ddim10_T100_eta1"])
def test_ddim(unet, name):
    case = CASES[name]
    diffusion = GaussianDiffusion(unet, linear_betas(case["num_timesteps"]))
    output = diffusion.ddim_sample(
        *inputs(case), steps=case["sample_timesteps"], eta=case["eta"], generator=stored_draws(case)
    )
    assert relative_error(output, EXPECTED[f"{name}/output"]) < TOLERANCE


def test_ddpm(unet):
    case = CASES["ddpm_T20"]
    diffusion = GaussianDiffusion(unet, linear_betas(case["num_timesteps"]))
    output = diffusion.ddpm_sample(*inputs(case), generator=stored_draws(case))
    assert relative_error(output, EXPECTED["ddpm_T20/output"]) < TOLERANCE


@torch.inference_mode()
def test_remove_noise(unet):
    case = CASES["remove_noise"]
    known, noisy = inputs(case)
    output = GaussianDiffusion(unet, linear_betas()).remove_noise(noisy, known, torch.tensor(case["t"]))
    assert relative_error(output, EXPECTED["remove_noise/output"]) < 1e-5


@torch.inference_mode()
def test_training_loss(unet):
    case = CASES["training_loss"]
    batch, height, width = case["shape"]
    known, noise = inputs(case)
    blurred = image("training_loss/blur", batch, 3, height, width) - 0.5
    timesteps = torch.tensor(case["t"])
    diffusion = GaussianDiffusion(unet, linear_betas())
    noisy = diffusion.q_sample(blurred, timesteps, noise)
    assert relative_error(noisy, EXPECTED["training_loss/noisy"]) < 1e-6
    loss = diffusion.loss(blurred, known, timesteps, noise)
    assert loss.item() == pytest.approx(EXPECTED["training_loss/loss"].item(), rel=1e-5)


def test_loss_reaches_every_parameter():
    diffusion = tiny_diffusion()
    diffusion.loss(
        normal("blur", 2, 3, 8, 8),
        normal("condition", 2, 6, 8, 8),
        torch.tensor([1, 50]),
        normal("noise", 2, 3, 8, 8),
    ).backward()
    gradients = [parameter.grad for parameter in diffusion.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_ddim_timesteps():
    visited = ddim_timesteps(2000, 20)
    assert len(visited) == 20
    assert visited[:2] == [(1901, 1801), (1801, 1701)] and visited[-2:] == [(101, 1), (1, 0)]
    assert ddim_timesteps(100, 30)[0] == (88, 85)
    assert ddim_timesteps(100, 50)[0] == (99, 97)
    assert ddim_timesteps(100, 1) == [(99, 0)]


@pytest.mark.parametrize("steps", [0, -1, 51, 100])
def test_ddim_refuses_impossible_steps(steps):
    with pytest.raises(ValueError, match=f"1 to 50 steps.*got {steps}"):
        ddim_timesteps(100, steps)


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_ddim_refuses_other_eta(eta):
    with pytest.raises(ValueError, match="eta"):
        tiny_diffusion().ddim_sample(torch.zeros(1, 6, 8, 8), torch.zeros(1, 3, 8, 8), eta=eta)


@pytest.mark.parametrize("sampler", ["ddim_sample", "ddpm_sample"])
@pytest.mark.parametrize("known, noise", [((1, 5, 8, 8), (1, 3, 8, 8)), ((2, 6, 8, 8), (1, 3, 8, 8))])
def test_samplers_refuse_wrong_shapes(sampler, known, noise):
    with pytest.raises(ValueError, match=r"condition \(B, 6, H, W\)"):
        getattr(tiny_diffusion(), sampler)(torch.zeros(known), torch.zeros(noise))


def test_ddim_without_eta_draws_nothing():
    def forbidden(k: int, shape: torch.Size) -> torch.Tensor:
        raise AssertionError("drew a random number")

    args = normal("condition", 1, 6, 8, 8), normal("noise", 1, 3, 8, 8)
    diffusion = tiny_diffusion()
    before = torch.get_rng_state()
    assert torch.equal(
        diffusion.ddim_sample(*args, steps=3, generator=forbidden), diffusion.ddim_sample(*args, steps=3)
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_samplers_draw_in_the_order_of_their_steps():
    drawn = []

    def record(k: int, shape: torch.Size) -> torch.Tensor:
        drawn.append(k)
        return torch.zeros(shape)

    args = normal("condition", 1, 6, 8, 8), normal("noise", 1, 3, 8, 8)
    tiny_diffusion().ddim_sample(*args, steps=3, eta=1.0, generator=record)
    assert drawn == [1, 2, 3]
    drawn.clear()
    tiny_diffusion(4).ddpm_sample(*args, generator=record)
    assert drawn == [1, 2, 3]


@pytest.mark.parametrize(
    "sample",
    [functools.partial(GaussianDiffusion.ddim_sample, steps=3, eta=1.0), GaussianDiffusion.ddpm_sample],
)
def test_torch_generator_repeats_a_sample(sample):
    args = normal("condition", 2, 6, 8, 8), normal("noise", 2, 3, 8, 8)
    diffusion = tiny_diffusion(10)
    one, same, other = (
        sample(diffusion, *args, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_seeded_draws_depend_on_seed_and_index_alone():
    shape = torch.Size((3, 3, 8, 8))
    draw = seeded_draws([5, 2**63, 7])
    later, first = draw(4, shape), draw(0, shape)
    assert torch.equal(seeded_draws([5, 2**63, 7])(0, shape), first)
    assert torch.equal(seeded_draws([7, 5])(4, torch.Size((2, 3, 8, 8))), later[[2, 0]])
    assert first.dtype == torch.float32 and not torch.equal(first, later)
    assert not torch.equal(first[0], first[2])
    many = seeded_draws([1])(0, torch.Size((1, 3, 100, 100)))
    assert abs(many.mean()) < 0.02 and abs(many.std() - 1) < 0.02


def test_samples_do_not_depend_on_the_batch_around_them():
    diffusion = tiny_diffusion()
    seeds = [11, 12, 13]
    known = normal("condition", 3, 6, 8, 8)

    def sample(items: list[int]) -> torch.Tensor:
        draw = seeded_draws([seeds[item] for item in items])
        noise = draw(0, torch.Size((len(items), 3, 8, 8)))
        return diffusion.ddim_sample(known[items], noise, steps=5, eta=1.0, generator=draw)

    together = sample([0, 1, 2])
    torch.testing.assert_close(sample([2, 0]), together[[2, 0]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sample([1]), together[[1]], rtol=1e-4, atol=1e-5)


def test_seeded_draws_refuse_another_batch_size():
    with pytest.raises(ValueError, match="batch of 2, one item per seed, got 3"):
        seeded_draws([1, 2])(0, torch.Size((3, 3, 8, 8)))


def test_start_from_input_returns_the_noisy_image_and_learns():
    torch.manual_seed(0)
    unet = UNet(**TINY)
    start_from_input(unet)
    x = normal("start/x", 2, 9, 16, 24)
    output = unet(x, torch.tensor([3, 90]))
    torch.testing.assert_close(output, x[:, :3], rtol=0, atol=1e-6)
    optimizer = torch.optim.Adam(unet.parameters(), lr=1e-3)
    before = {name: value.clone() for name, value in unet.named_parameters()}
    # Where a block's last layer starts at zero its first layer moves only after that one has moved.
    for _ in range(6):
        optimizer.zero_grad()
        (unet(x, torch.tensor([3, 90])) - normal("start/target", 2, 3, 16, 24)).square().mean().backward()
        optimizer.step()
    assert not [name for name, value in unet.named_parameters() if torch.equal(value, before[name])]


def test_start_from_input_of_an_image_predictor_returns_the_sharp_image():
    unet = UNet(**TINY)
    start_from_input(unet, "image")
    x = normal("start/x", 2, 9, 16, 24)
    torch.testing.assert_close(unet(x, torch.tensor([3, 90])), x[:, 3:6], rtol=0, atol=1e-6)


class KnowsTheImage(nn.Module):
    """Predicts the fourth to sixth channel: the "blurred" image is the sharp one."""

    def forward(self, x, time):
        return x[:, 3:6]


@pytest.mark.parametrize("steps, eta", [(1, 0.0), (2, 0.0), (7, 0.0), (7, 1.0)])
def test_an_image_predictor_samples_what_it_predicts(steps, eta):
    diffusion = GaussianDiffusion(KnowsTheImage(), linear_betas(100, beta_T=0.1), "image")
    condition, noise = 0.1 * normal("image/condition", 2, 6, 8, 8), normal("image/noise", 2, 3, 8, 8)
    sampled = diffusion.ddim_sample(condition, noise, steps, eta, torch.Generator().manual_seed(0))
    # The last step ends at the first variance of the schedule, not at zero.
    torch.testing.assert_close(sampled, condition[:, :3], rtol=0, atol=6 * 1e-3)
    ancestral = diffusion.ddpm_sample(condition, noise, torch.Generator().manual_seed(0))
    torch.testing.assert_close(ancestral, condition[:, :3], rtol=0, atol=6 * 1e-3)


class ReturnsItsNoisyInput(nn.Module):
    """At all but the noisiest step; there it makes the picture from the sharp one."""

    def forward(self, x, time):
        assert time.eq(time[0]).all()
        return x[:, 3:6] if time[0] == 99 else x[:, :3]


def test_one_step_is_the_noisiest():
    diffusion = GaussianDiffusion(ReturnsItsNoisyInput(), linear_betas(100, beta_T=0.1), "image")
    given, noise = 0.1 * normal("image/condition", 2, 6, 8, 8), normal("image/noise", 2, 3, 8, 8)
    sampled = diffusion.ddim_sample(given, noise, steps=1)
    torch.testing.assert_close(sampled, given[:, :3], rtol=0, atol=6 * 1e-3)


def test_one_step_is_refused_where_the_noise_is_predicted():
    noise = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="1 step is for a network that predicts the image") as caught:
        tiny_diffusion().ddim_sample(torch.zeros(1, 6, 8, 8), noise, steps=1)
    assert "\n" not in str(caught.value)


def test_loss_of_an_image_predictor():
    diffusion = GaussianDiffusion(KnowsTheImage(), linear_betas(100), "image")
    condition = normal("image/condition", 2, 6, 8, 8)
    arguments = condition, torch.tensor([3, 90]), normal("image/noise", 2, 3, 8, 8)
    assert diffusion.loss(condition[:, :3], *arguments) == pytest.approx(1e-3, rel=1e-4)
    assert diffusion.loss(condition[:, :3] + 0.5, *arguments) == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(ValueError, match="prediction: expected one of noise, image, got 'x0'"):
        GaussianDiffusion(KnowsTheImage(), linear_betas(100), "x0")


def test_start_from_input_needs_six_channels():
    with pytest.raises(ValueError, match="at least 6"):
        start_from_input(UNet(base_channels=4, channel_mults=(1, 2), num_res_blocks=1, time_dim=8))


def test_training_noise_is_white_plus_smooth():
    torch.manual_seed(0)
    like = torch.zeros(64, 3, 32, 32)
    white, mixed = training_noise(like, 0.0), training_noise(like, 1.0)
    assert white.std() == pytest.approx(1, abs=0.02)
    assert white.mean(dim=(2, 3)).std() < 0.05
    assert mixed.mean(dim=(2, 3)).std() > 0.5
