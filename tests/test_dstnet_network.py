"""DSTNet against its stored vectors, and its behaviour on batches, small configurations and wrong input."""

import numpy as np
import pytest
import torch
import vectors

from DeblurringModel.DSTNet.dynamic import apply_pixel_kernels
from DeblurringModel.DSTNet.model import DSTNet
from DeblurringModel.DSTNet.wavelet import HaarWavelet

MANIFEST = vectors.manifest("dstnet")
EXPECTED = vectors.expected("dstnet")
MODELS = {"base": MANIFEST, "large": MANIFEST["large"]}
CASES = {case["name"]: case for case in MANIFEST["cases"]}
SMALL = dict(num_feat=8, num_block=2)


@pytest.fixture(scope="module")
def networks() -> dict[str, DSTNet]:
    return {name: DSTNet(**model["config"]).eval() for name, model in MODELS.items()}


def small_network(**changes: object) -> DSTNet:
    torch.manual_seed(0)
    return DSTNet(**{**SMALL, **changes})


def test_default_is_the_base_network() -> None:
    assert MANIFEST["config"] == dict(num_feat=64, num_block=15, widen=False)
    assert vectors.shapes(DSTNet()) == MANIFEST["state_dict"]


@pytest.mark.parametrize("name", MODELS)
def test_keys_shapes_and_size(networks: dict[str, DSTNet], name: str) -> None:
    parameters = list(networks[name].parameters())
    assert vectors.shapes(networks[name]) == MODELS[name]["state_dict"]
    assert sum(p.numel() for p in parameters) == MODELS[name]["parameters"]
    assert sum(p.numel() for p in parameters if not p.requires_grad) == 64 * 4 * 4  # the Haar kernels alone


@pytest.mark.parametrize("name", CASES)
def test_output(networks: dict[str, DSTNet], name: str) -> None:
    case = CASES[name]
    network = networks[case["model"]]
    with torch.no_grad():
        network.wave.haar_weights.copy_(HaarWavelet(64).haar_weights)
    vectors.fill(network, case["fill"]["gain"], tuple(case["fill"]["skip"]))
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            for prefix, gain in case["fill"]["gain_overrides"].items():
                if key.startswith(prefix):
                    tensor.copy_(torch.from_numpy(np.asarray(vectors.values(key, tuple(tensor.shape), gain))))
    x = vectors.image(case["input"]["image_name"], *case["input"]["image_shape"])
    if case["input"]["transform"] == "stride8":
        x = x[..., ::8, ::8].contiguous()
    assert list(x.shape) == case["input"]["shape"]
    with torch.no_grad():
        output = network(x)
    assert vectors.relative_error(output, EXPECTED[f"{name}/output"]) < 1e-3


def test_every_stored_output_is_compared() -> None:
    assert {f"{name}/output" for name in CASES} == set(EXPECTED)


def test_wavelet_inverse_restores_the_input() -> None:
    wavelet = HaarWavelet(5)
    x = vectors.normal("dstnet/wavelet", 2, 5, 8, 12)
    low, high = wavelet(x)
    assert low.shape == (2, 5, 4, 6) and high.shape == (2, 15, 4, 6)
    torch.testing.assert_close(low, torch.nn.functional.avg_pool2d(x, 2))
    torch.testing.assert_close(wavelet.inverse(low, high), x)


def test_pixel_kernels_equal_the_unfolded_product() -> None:
    x, kernels = vectors.normal("dstnet/x", 2, 3, 6, 7), vectors.normal("dstnet/kernels", 2, 27, 6, 7)
    unfolded = torch.nn.functional.unfold(x, 3, padding=1).reshape(2, 3, 9, 6, 7)
    reference = (unfolded * kernels.reshape(2, 3, 9, 6, 7)).sum(dim=2)
    torch.testing.assert_close(apply_pixel_kernels(x, kernels), reference)


@pytest.mark.parametrize("widen", [False, True])
def test_small_network_learns_and_keeps_the_wavelet(widen: bool) -> None:
    network = small_network(widen=widen)
    x = vectors.image("dstnet/small", 2, 3, 3, 16, 32)
    output = network(x)
    assert output.shape == x.shape
    (output - x.flip(1)).abs().mean().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without == {"wave.haar_weights"}


def test_trunk_starts_small() -> None:
    trunk = DSTNet(num_feat=32, num_block=1).forward_propagation.resblock_bcakward2d.main[0]
    assert not trunk[0].conv1.bias.any()
    expected = 0.1 * (2 / (32 * 9)) ** 0.5
    assert trunk[0].conv1.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_clips_of_a_batch_are_independent() -> None:
    network = small_network().eval()
    x = vectors.image("dstnet/batch", 2, 4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(x), torch.cat([network(x[:1]), network(x[1:])]))


def test_frames_reach_each_other_in_both_directions() -> None:
    network = vectors.fill(small_network(), 0.8, ("wave.",)).eval()
    x = vectors.image("dstnet/reach", 1, 4, 3, 16, 16)
    for changed, seen in ((0, 3), (3, 0)):
        y = x.clone()
        y[:, changed] = 1 - y[:, changed]
        with torch.no_grad():
            assert (network(x) - network(y))[:, seen].abs().max() > 1e-4


@pytest.mark.parametrize("keyword", ["num_feat", "num_block"])
def test_impossible_configurations_are_refused(keyword: str) -> None:
    with pytest.raises(ValueError, match=f"{keyword}: expected at least 1, received 0"):
        small_network(**{keyword: 0})


@pytest.mark.parametrize(
    "shape, message",
    [
        ((3, 3, 16, 16), r"expected shape \(B, T, 3, H, W\), received \(3, 3, 16, 16\)"),
        ((1, 3, 1, 16, 16), r"expected shape \(B, T, 3, H, W\), received \(1, 3, 1, 16, 16\)"),
        ((1, 0, 3, 16, 16), "at least 1 frames, received 0"),
        ((1, 1, 3, 24, 16), "multiples of 16, received 24 x 16"),
        ((1, 1, 3, 16, 0), "multiples of 16, received 16 x 0"),
    ],
)
def test_wrong_clips_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_network()(torch.zeros(shape))
