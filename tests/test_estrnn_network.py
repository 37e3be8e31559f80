"""ESTRNN against the published parameter layout and stored outputs, and its identity start."""

import pytest
import torch
import vectors

from DeblurringModel.ESTRNN.identity import start_as_identity
from DeblurringModel.ESTRNN.model import ESTRNN

MANIFEST = vectors.manifest("estrnn")
EXPECTED = vectors.expected("estrnn")


@pytest.fixture(scope="module")
def published() -> ESTRNN:
    return vectors.fill(ESTRNN(), gain=MANIFEST["gain"]).eval().requires_grad_(False)


def clip(name: str, *shape: int) -> torch.Tensor:
    return vectors.image(name, *shape) - 0.5


def small_network(**architecture: int) -> ESTRNN:
    network = ESTRNN(**{"n_features": 4, "n_blocks": 2} | architecture)
    return vectors.fill(network, gain=0.8).requires_grad_(False)


def psnr(actual: torch.Tensor, reference: torch.Tensor) -> float:
    return float(-10 * (actual - reference).pow(2).mean().log10())


def test_keys_shapes_and_their_order(published: ESTRNN) -> None:
    assert list(vectors.shapes(published).items()) == list(MANIFEST["state_dict"].items())
    assert sum(parameter.numel() for parameter in published.parameters()) == MANIFEST["parameter_count"]


@pytest.mark.parametrize("case", MANIFEST["cases"], ids=lambda case: case["name"])
def test_stored_outputs(published: ESTRNN, case: dict) -> None:
    source = case["inputs"][0]
    output = published(clip(source["image_name"], *source["shape"]))
    assert list(output.shape) == case["output_shape"]
    assert vectors.relative_error(output, EXPECTED[f"{case['name']}/output"]) <= 1e-4


def test_samples_of_a_batch_do_not_mix(published: ESTRNN) -> None:
    x = clip("batch", 2, 5, 3, 32, 40)
    alone = torch.cat([published(x[:1]), published(x[1:])])
    assert vectors.relative_error(published(x), alone.numpy()) < 1e-5


def test_forward_is_encode_then_decode(published: ESTRNN) -> None:
    x = clip("parts", 2, 6, 3, 16, 24)
    encoded = published.encode(x.flatten(0, 1))
    assert encoded.shape == (12, 64, 4, 6)
    torch.testing.assert_close(published.decode(encoded.unflatten(0, (2, 6))), published(x), rtol=0, atol=0)


def test_fusion_equals_its_steps_taken_one_by_one(published: ESTRNN) -> None:
    window = list(vectors.normal("window", 5, 2, 80, 4, 6))
    fusion, condensed = published.fusion, []
    for other in (0, 1, 3, 4):
        pair = torch.cat([window[2], window[other]], dim=1)
        weights = fusion.F_f(pair.mean(dim=(2, 3)))[..., None, None]
        condensed.append(fusion.condense(weights * fusion.F_p(pair)))
    stepwise = fusion.fusion(torch.cat([*condensed, window[2]], dim=1))
    assert vectors.relative_error(fusion(window), stepwise.numpy()) < 1e-5


def test_state_carries_past_and_window_sees_future() -> None:
    network = small_network(past_frames=1, future_frames=2)
    x = clip("causality", 1, 7, 3, 16, 16)
    reference = network(x)
    assert reference.shape == (1, 4, 3, 16, 16)
    first, last = x.clone(), x.clone()
    first[:, 0] += 0.1
    last[:, 6] += 0.1
    changed_by_first = (network(first) - reference).abs().amax(dim=(0, 2, 3, 4)) > 0
    changed_by_last = (network(last) - reference).abs().amax(dim=(0, 2, 3, 4)) > 0
    assert changed_by_first.tolist() == [True, True, True, True]
    assert changed_by_last.tolist() == [False, False, False, True]


def test_bfloat16_autocast() -> None:
    network = small_network()
    x = clip("autocast", 1, 5, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(x)
    assert output.dtype == torch.bfloat16
    assert vectors.relative_error(output.float(), network(x).numpy()) < 0.05


@pytest.mark.parametrize(
    "shape, message",
    [
        ((5, 3, 16, 16), r"expected shape \(B, T, 3, H, W\), received \(5, 3, 16, 16\)"),
        ((1, 5, 1, 16, 16), r"received \(1, 5, 1, 16, 16\)"),
        ((1, 5, 3, 18, 16), "multiples of 4, received 18 x 16"),
        ((1, 5, 3, 16, 13), "multiples of 4, received 16 x 13"),
        ((1, 4, 3, 16, 16), "at least 5 frames, received 4"),
    ],
)
def test_wrong_clips(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_network()(torch.zeros(shape))


def test_wrong_parts_and_arguments() -> None:
    network = small_network()
    with pytest.raises(ValueError, match=r"expected shape \(N, 3, H, W\), received \(1, 5, 3, 8, 8\)"):
        network.encode(torch.zeros(1, 5, 3, 8, 8))
    with pytest.raises(ValueError, match=r"expected shape \(B, T, 16, h, w\), received \(1, 5, 8, 4, 4\)"):
        network.decode(torch.zeros(1, 5, 8, 4, 4))
    with pytest.raises(ValueError, match="at least 5 frames, received 3"):
        network.decode(torch.zeros(1, 3, 16, 4, 4))
    with pytest.raises(ValueError, match="expected one of gelu.*received 'swish'"):
        ESTRNN(activation="swish")
    with pytest.raises(ValueError, match="n_blocks: expected at least 1, received 0"):
        ESTRNN(n_blocks=0)
    with pytest.raises(ValueError, match="past_frames"):
        ESTRNN(past_frames=0, future_frames=0)


@pytest.mark.parametrize(
    "architecture",
    [
        {"n_features": 12, "n_blocks": 3},
        {"n_features": 16, "n_blocks": 15},
        {"n_features": 14, "n_blocks": 2, "past_frames": 1, "future_frames": 0},
    ],
)
def test_identity_start_without_noise_copies_the_frame(architecture: dict) -> None:
    torch.manual_seed(0)
    network = ESTRNN(**architecture)
    start_as_identity(network, noise=0)
    x = torch.rand(2, 6, 3, 20, 24) - 0.5
    centre = x[:, network.past_frames : 6 - network.future_frames]
    with torch.no_grad():
        assert vectors.relative_error(network(x), centre.numpy()) < 1e-5


@pytest.mark.parametrize("n_features, n_blocks", [(12, 4), (16, 15)])
def test_identity_start_with_noise_is_close_and_trains_everything(n_features: int, n_blocks: int) -> None:
    torch.manual_seed(0)
    network = ESTRNN(n_features, n_blocks)
    start_as_identity(network)
    x = clip("identity", 1, 6, 3, 64, 64)
    output = network(x)
    assert psnr(output.detach(), x[:, 2:4]) > 30
    (output - clip("target", *output.shape)).pow(2).mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_identity_start_forgets_earlier_weights() -> None:
    network = vectors.fill(ESTRNN(12, 2), gain=5)
    start_as_identity(network, noise=0)
    x = clip("again", 1, 5, 3, 16, 16)
    with torch.no_grad():
        assert vectors.relative_error(network(x), x[:, 2:3].numpy()) < 1e-5


def test_identity_start_needs_room_for_the_pixels() -> None:
    with pytest.raises(ValueError, match="at least 12 for an identity start, received 11"):
        start_as_identity(ESTRNN(11, 1))


def test_residual_adds_the_frame_to_what_the_published_network_predicts() -> None:
    plain, residual = small_network(), small_network(residual=True)
    x = clip("residual", 2, 6, 3, 16, 24)
    torch.testing.assert_close(residual(x), plain(x) + x[:, 2:4])
    encoded = residual.encode(x.flatten(0, 1)).unflatten(0, (2, 6))
    torch.testing.assert_close(residual.decode(encoded), residual(x), rtol=0, atol=0)


def test_weights_of_one_kind_do_not_load_into_the_other() -> None:
    plain, residual = small_network(), small_network(residual=True)
    for source, target in ((plain, residual), (residual, plain)):
        with pytest.raises(RuntimeError, match="predicts_difference"):
            target.load_state_dict(source.state_dict())


def test_identity_start_of_a_residual_network_is_exact_and_trains_everything_from_the_second_step() -> None:
    torch.manual_seed(0)
    network = ESTRNN(4, 2, residual=True)
    start_as_identity(network)
    x = clip("identity", 1, 6, 3, 32, 32)
    assert torch.equal(network(x), x[:, 2:4])
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        (network(x) - clip("target", 1, 2, 3, 32, 32)).pow(2).mean().backward()
        optimizer.step()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
