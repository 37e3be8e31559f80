"""MMP-RNN against its stored vectors, and its behaviour on batches, small configurations and wrong input."""

import pytest
import torch
import vectors

from DeblurringModel import losses
from DeblurringModel.MMP_RNN.model import MMPRNN

MANIFEST = vectors.manifest("mmp_rnn")
EXPECTED = vectors.expected("mmp_rnn")
CASES = {case["name"]: case for case in MANIFEST["cases"] if case["name"] != "loss"}
SMALL = dict(n_features=4, n_blocks_a=1, n_blocks_b=1, past_frames=1, future_frames=1)
TOLERANCE = 1e-4


def filled(**changes: object) -> MMPRNN:
    network = MMPRNN(**{**MANIFEST["config"], **changes}).eval()
    for call in MANIFEST["fill_calls"]:
        vectors.fill(network, call["gain"], tuple(call["skip"]))
    return network


def small_network(**changes: object) -> MMPRNN:
    torch.manual_seed(0)
    return MMPRNN(**{**SMALL, **changes})


def test_defaults_keys_shapes_and_size() -> None:
    network = MMPRNN()
    assert vectors.shapes(network) == MANIFEST["state_dict"]
    assert vectors.shapes(MMPRNN(**MANIFEST["config"])) == MANIFEST["state_dict"]
    sizes = {
        "total": sum(p.numel() for p in network.parameters()),
        "trainable": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "prior_frozen": sum(p.numel() for p in network.cell.prior.parameters() if not p.requires_grad),
    }
    assert sizes == MANIFEST["parameters"]


def test_other_configuration_has_the_stored_size() -> None:
    case = CASES["small"]
    network = MMPRNN(**case["config_override"])
    assert len(network.state_dict()) == case["state_dict_entries"]
    assert sum(p.numel() for p in network.parameters()) == case["parameters"]


@pytest.mark.parametrize("name", CASES)
def test_output(name: str) -> None:
    case = CASES[name]
    target = filled(**case["config_override"])
    if case["target"] == "cell.prior":
        target = target.cell.prior
    x = vectors.image(case["input"]["image_name"], *case["input"]["shape"]) - 0.5
    with torch.no_grad():
        output = target(x)
    assert list(output.shape) == case["output_shape"]
    assert vectors.relative_error(output, EXPECTED[f"{name}/output"]) < TOLERANCE


def test_loss() -> None:
    case = next(case for case in MANIFEST["cases"] if case["name"] == "loss")
    output, sharp = (vectors.image(entry["image_name"], *entry["shape"]) - 0.5 for entry in case["input"])
    actual = torch.stack(
        [
            losses.colour_charbonnier(output, sharp),
            losses.gradient_difference(output, sharp),
            losses.mmp_rnn_loss(output, sharp),
        ]
    )
    assert (abs(actual.numpy() / EXPECTED["loss/output"] - 1) < 1e-5).all()


def test_every_stored_output_is_compared() -> None:
    assert {f"{name}/output" for name in (*CASES, "loss")} == set(EXPECTED)


@pytest.mark.parametrize("changes", [{}, {"do_skip": False}, {"fusion_gate": False}])
def test_small_network_learns_and_keeps_the_prior(changes: dict) -> None:
    network = small_network(**changes)
    x = vectors.image("mmp_rnn/learn", 2, 4, 3, 16, 20) - 0.5
    output = network(x)
    assert output.shape == (2, 2, 3, 16, 20)
    losses.mmp_rnn_loss(output, x[:, 1:3]).backward()
    for name, parameter in network.named_parameters():
        unused = name.startswith("fusion.ca.") and not changes.get("fusion_gate", True)
        assert parameter.requires_grad == (not name.startswith("cell.prior.") and not unused), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_prior_statistics_follow_the_mode_unless_told_otherwise() -> None:
    x = vectors.image("mmp_rnn/statistics", 2, 3, 3, 16, 16) - 0.5
    for batch_statistics in (True, False):
        network = small_network(prior_batch_statistics=batch_statistics).train()
        norm = network.cell.prior.inc.double_conv[1]
        before = norm.running_mean.clone()
        network(x)
        assert torch.equal(norm.running_mean, before) != batch_statistics
        assert norm.num_batches_tracked.item() == (3 if batch_statistics else 0)
        assert network.training and not network.eval().cell.prior.training


def test_clips_of_a_batch_are_independent() -> None:
    network = small_network().eval()
    x = vectors.image("mmp_rnn/batch", 2, 4, 3, 16, 16) - 0.5
    with torch.no_grad():
        torch.testing.assert_close(network(x), torch.cat([network(x[:1]), network(x[1:])]))


def test_output_sees_its_past_and_its_window_alone() -> None:
    network = vectors.fill(small_network(), 0.9).eval()
    x = vectors.image("mmp_rnn/window", 1, 6, 3, 16, 16) - 0.5
    with torch.no_grad():
        reference = network(x)
        for changed, first_to_see in ((0, 0), (3, 1), (5, 3)):
            y = x.clone()
            y[:, changed] = -y[:, changed]
            difference = (network(y) - reference).abs().amax(dim=(0, 2, 3, 4))
            assert (difference > 1e-4).tolist() == [index >= first_to_see for index in range(4)]


@pytest.mark.parametrize(
    "shape, message",
    [
        ((3, 3, 16, 16), r"expected shape \(B, T, 3, H, W\), received \(3, 3, 16, 16\)"),
        ((1, 3, 4, 16, 16), r"expected shape \(B, T, 3, H, W\), received \(1, 3, 4, 16, 16\)"),
        ((1, 2, 3, 16, 16), "at least 3 frames, received 2"),
        ((1, 3, 3, 18, 16), "multiples of 4, at least 16, received 18 x 16"),
        ((1, 3, 3, 12, 16), "multiples of 4, at least 16, received 12 x 16"),
    ],
)
def test_wrong_clips_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_network()(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 1, 3, 16, 16), (1, 1, 16, 16), (1, 3, 15, 16)])
def test_wrong_frames_are_refused_by_the_prior(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected frames of shape \(B, 3, H, W\).*received"):
        small_network().cell.prior(torch.zeros(shape))


@pytest.mark.parametrize(
    "keyword, value",
    [
        ("activation", "tanh"),
        ("n_features", 1),
        ("n_blocks_a", 0),
        ("n_blocks_b", 0),
        ("past_frames", -1),
        ("future_frames", -1),
    ],
)
def test_impossible_configurations_are_refused(keyword: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{keyword}: expected .*, received {value!r}"):
        small_network(**{keyword: value})
