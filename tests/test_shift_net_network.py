"""Shift-Net against its stored vectors, and its behaviour on batches, small networks and wrong input."""

import pytest
import torch
import vectors

from DeblurringModel.Shift_Net.model import ShiftNet
from DeblurringModel.Shift_Net.shift import FAR_OFFSETS, NEAR_OFFSETS, spatial_shift, temporal_shift

MANIFEST = vectors.manifest("shift_net")
EXPECTED = vectors.expected("shift_net")
CASES = {case["name"]: case for case in MANIFEST["cases"]}
VARIANTS = tuple(MANIFEST["config"])
TINY = dict(past_frames=1, future_frames=1, width=4, growth=2, fusion_width=16, shift_steps=2, unets=1)


def fill_as_stored(network: ShiftNet, variant: str, gain: float = MANIFEST["gain"]) -> ShiftNet:
    """The stored weights: by name, except that gains on residuals grow and shared slopes hold one value."""
    vectors.fill(network, gain)
    state = network.state_dict()
    with torch.no_grad():
        for key, tensor in state.items():
            if key.endswith(".beta"):
                tensor.mul_(100)
        for group in MANIFEST["shared_parameters"][variant]:
            for key in group["keys"]:
                if key in state:
                    state[key].copy_(torch.from_numpy(vectors.values(group["value_of"], (1,), gain)))
    return network


@pytest.fixture(scope="module")
def networks() -> dict[str, ShiftNet]:
    return {variant: fill_as_stored(ShiftNet(variant).eval(), variant) for variant in VARIANTS}


def tiny_network(variant: str, **changes: object) -> ShiftNet:
    torch.manual_seed(0)
    return ShiftNet(variant, **{**TINY, **changes})


def tiny_filled(variant: str) -> ShiftNet:
    """Weights with which temporal shifts matter."""
    network = vectors.fill(tiny_network(variant, past_frames=0, future_frames=0, fusion_width=32), 0.8).eval()
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if key.endswith(".beta"):
                tensor.mul_(5)
    return network


@pytest.mark.parametrize("variant", VARIANTS)
def test_keys_shapes_and_size(networks: dict[str, ShiftNet], variant: str) -> None:
    network, config = networks[variant], MANIFEST["config"][variant]
    assert vectors.shapes(network) == MANIFEST["state_dict"][variant]
    assert len(network.state_dict()) == config["state_dict_entries"]
    assert sum(p.numel() for p in network.parameters()) == config["parameters"]
    assert network.architecture.size_multiple == config["size_multiple"]
    assert (network.past_frames, network.future_frames) == (config["past_frames"], config["future_frames"])
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad != name.startswith(tuple(config["unused_key_prefixes"])), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_slopes_are_shared_as_published(networks: dict[str, ShiftNet], variant: str) -> None:
    owners: dict[int, set[str]] = {}
    for name, parameter in networks[variant].named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), set()).add(name)
    shared = [names for names in owners.values() if len(names) > 1]
    published = [set(group["keys"]) for group in MANIFEST["shared_parameters"][variant]]
    assert sorted(map(sorted, shared)) == sorted(map(sorted, published))


@pytest.mark.parametrize("name", CASES)
def test_output(networks: dict[str, ShiftNet], name: str) -> None:
    case = CASES[name]
    network = networks[case["config"]]
    network.past_frames = case["kwargs"]["past_frames"]
    network.future_frames = case["kwargs"]["future_frames"]
    x = vectors.image(case["input"]["image_name"], *case["input"]["shape"])
    with torch.no_grad():
        output = network(x)
    # The released network computes the first clip of a batch alone.
    assert list(output.shape) == [x.shape[0], *case["output_shape"]]
    assert vectors.relative_error(output[0], EXPECTED[f"{name}/output"]) < 1e-3
    if len(x) > 1:
        with torch.no_grad():
            torch.testing.assert_close(output[1:], network(x[1:]))


def test_every_stored_output_is_compared() -> None:
    assert {f"{name}/output" for name in CASES} == set(EXPECTED)


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("to_past", [False, True])
def test_temporal_shift(to_past: bool, cyclic: bool) -> None:
    clips, frames = 2, 3
    x = torch.arange(clips * frames * 2).reshape(clips * frames, 2, 1, 1)
    shifted, received = temporal_shift(x, frames, to_past, cyclic)
    for clip in range(clips):
        for t in range(frames):
            own = x[clip * frames + t].flatten().tolist()
            source = t - 1 if to_past else t + 1
            neighbour = x[clip * frames + source % frames].flatten().tolist()
            if not cyclic and not 0 <= source < frames:
                expected = own
            else:
                expected = [neighbour[1], own[0]] if to_past else [own[1], neighbour[0]]
            assert shifted[clip * frames + t].flatten().tolist() == expected
            assert received[clip * frames + t].item() == expected[0 if to_past else 1]


@pytest.mark.parametrize("channels, far, near", [(40, 2, 1), (32, 1, 2), (8, 0, 1)])
def test_spatial_shift_moves_each_group_by_its_offset(channels: int, far: int, near: int) -> None:
    x = torch.zeros(1, channels, 17, 19)
    x[..., 8, 9] = 1
    offsets = [offset for offset in FAR_OFFSETS for _ in range(far)]
    offsets += [offset for offset in NEAR_OFFSETS for _ in range(near)]
    moved = spatial_shift(x)
    assert moved.shape == x.shape and len(offsets) == channels
    assert [tuple(position[1:].tolist()) for position in moved[0].nonzero()] == [
        (8 + down, 9 + right) for down, right in offsets
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_tiny_network_learns(variant: str) -> None:
    network = tiny_network(variant)
    x = vectors.image("shift_net/learn", 2, 4, 3, 16, 24)
    # Gains on residuals start at zero, so what lies behind them learns from the second step on.
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if key.endswith(".beta"):
                tensor.fill_(0.5)
    output = network(x)
    assert output.shape == (2, 2, 3, 16, 24)
    (output - x.flip(1)[:, 1:3]).abs().mean().backward()
    assert {name for name, p in network.named_parameters() if p.grad is None} == {"lrelu.weight"}
    # Attention with one hidden unit can be dead at the start, and the coarsest shifts leave a map this small,
    # so not every parameter must have a gradient that differs from zero; every part must.
    for name, part in network.named_children():
        gradients = [p.grad for p in part.parameters() if p.grad is not None]
        assert name == "lrelu" or any(gradient.any() for gradient in gradients), name
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_number_of_unets_is_what_is_built() -> None:
    parts = dict(tiny_network("small", unets=2).named_children())
    assert {name for name in parts if "orb" in name} == {"orb1", "orb2", "rorb1", "rorb2"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_clips_of_a_batch_are_independent(variant: str) -> None:
    network = tiny_filled(variant)
    x = vectors.image("shift_net/batch", 2, 3, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(network(x), torch.cat([network(x[:1]), network(x[1:])]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_frames_reach_each_other(variant: str) -> None:
    network = tiny_filled(variant)
    x = vectors.image("shift_net/reach", 1, 3, 3, 16, 24)
    for changed, seen in ((0, 1), (2, 1)):
        y = x.clone()
        y[:, changed] = 1 - y[:, changed]
        with torch.no_grad():
            assert (network(x) - network(y))[:, seen].abs().max() > 1e-4


@pytest.mark.parametrize(
    "variant, shape, message",
    [
        ("plus", (3, 3, 16, 16), r"expected shape \(B, T, 3, H, W\), received \(3, 3, 16, 16\)"),
        ("plus", (1, 3, 6, 16, 16), r"expected shape \(B, T, 3, H, W\), received \(1, 3, 6, 16, 16\)"),
        ("plus", (1, 2, 3, 16, 16), "at least 3 frames, received 2"),
        ("plus", (1, 3, 3, 16, 20), "multiples of 8, received 16 x 20"),
        ("small", (1, 3, 3, 18, 20), "multiples of 4, received 18 x 20"),
    ],
)
def test_wrong_clips_are_refused(variant: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_network(variant)(torch.zeros(shape))


@pytest.mark.parametrize(
    "keyword, value",
    [
        ("variant", "large"),
        ("past_frames", -1),
        ("future_frames", -1),
        ("width", 3),
        ("growth", -1),
        ("fusion_width", 24),
        ("fusion_width", 0),
        ("shift_steps", 0),
        ("unets", 0),
    ],
)
def test_impossible_configurations_are_refused(keyword: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{keyword}: expected .*, received {value!r}"):
        ShiftNet(**{"variant": "plus", **TINY, keyword: value})
