"""RAFT against the stored vectors, the conversion of its published files, and DIS."""

import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_large, raft_small
from vectors import expected, image, manifest, relative_error, shapes, values

from common.config import Config
from common.config_loader import load_config
from common.errors import UserError
from common.flow import RaftFlow, load_flow
from common.formats.raft_weights import TORCHVISION, princeton_to_torchvision, weights_file

MANIFEST = manifest("raft")
EXPECTED = expected("raft")
CASES = {case["name"]: case for case in MANIFEST["cases"]}
TOLERANCE = 1e-4


def princeton_state(model: str) -> dict[str, torch.Tensor]:
    """The filled state dict of a published file: leading `module.`, aliases with their original's values."""
    layout = MANIFEST[model]
    state = {}
    for key, shape in layout["princeton"].items():
        if key.endswith("num_batches_tracked"):
            value = torch.tensor(0)
        else:
            name = layout["aliases"].get(key, key)
            value = torch.from_numpy(np.array(values(name, tuple(shape), MANIFEST["gain"])))
        if key.startswith("update_block.flow_head.conv2."):
            value = value * MANIFEST["flow_head_conv2_factor"]
        state[f"module.{key}"] = value
    return state


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("raft")
    paths = {}
    for model in ("large", "small"):
        paths[model] = str(folder / f"raft-{model}.pth")
        torch.save(princeton_state(model), paths[model])
    return paths


def pair(case: dict) -> tuple[torch.Tensor, torch.Tensor]:
    batch, height, width = case["shape"]
    return tuple((255 * image(f"{case['name']}/image{i}", batch, 3, height, width)).round() for i in (1, 2))


def texture(height: int, width: int, name: str = "texture") -> torch.Tensor:
    smooth = image(name, 1, 3, height, width)
    return (255 * (smooth - smooth.min()) / (smooth.max() - smooth.min())).round().to(torch.uint8)


@pytest.mark.parametrize(
    "name, updates", [(case["name"], updates) for case in CASES.values() for updates in case["updates"]]
)
def test_raft_matches_stored_flow(files, name, updates):
    case = CASES[name]
    flow = load_flow(f"raft_{case['model']}", files[case["model"]], iterations=updates)(*pair(case))
    sampled = flow[..., :: case["stride"], :: case["stride"]]
    assert relative_error(sampled, EXPECTED[f"{name}/flow{updates}"]) < TOLERANCE


@pytest.mark.parametrize("model", ["large", "small"])
def test_conversion_is_a_bijection(model):
    layout = MANIFEST[model]
    state = princeton_state(model)
    assert len(state) == layout["entries_princeton"]
    converted = princeton_to_torchvision(state, small=model == "small")
    assert {key: list(value.shape) for key, value in converted.items()} == layout["torchvision"]
    for ours, theirs in layout["map"].items():
        assert converted[theirs] is state[f"module.{ours}"]
    network = {"large": raft_large, "small": raft_small}[model](weights=None)
    assert shapes(network) == layout["torchvision"]
    network.load_state_dict(converted, strict=True)


def test_torchvision_file_is_accepted_as_is(files, tmp_path):
    network = raft_small(weights=None)
    network.load_state_dict(princeton_to_torchvision(princeton_state("small"), small=True))
    torch.save(network.state_dict(), tmp_path / "raft_small.pth")
    first, second = texture(128, 128), texture(128, 128, "other")
    assert torch.equal(
        load_flow("raft_small", tmp_path / "raft_small.pth", iterations=2)(first, second),
        load_flow("raft_small", files["small"], iterations=2)(first, second),
    )


@pytest.mark.parametrize("size, margins", [((41, 90), ((43, 44), (19, 19))), ((129, 128), ((3, 4), (0, 0)))])
def test_raft_pads_centred_by_replication(files, size, margins):
    flow = load_flow("raft_small", files["small"], iterations=2)
    first, second = texture(*size), texture(*size, "other")
    padded = [
        torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), *margins), mode="edge"))
        for image in (first, second)
    ]
    (top, _), (left, _) = margins
    whole = flow(*padded)[..., top : top + size[0], left : left + size[1]]
    assert torch.equal(flow(first, second), whole)
    assert whole.shape == (1, 2, *size) and whole.dtype == torch.float32 and whole.isfinite().all()


def test_raft_ignores_autocast(files):
    flow = load_flow("raft_small", files["small"], iterations=2)
    first, second = texture(128, 128), texture(128, 128, "other")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = flow(first, second)
    assert torch.equal(under_autocast, flow(first, second))


def test_raft_takes_bytes_and_floats_alike(files):
    flow = load_flow("raft_small", files["small"], iterations=1)
    first, second = texture(128, 128), texture(128, 128, "other")
    assert torch.equal(flow(first, second), flow(first.float(), second.float()))


@pytest.mark.parametrize("name", ["dis", "raft_small"])
def test_flow_of_a_batch_is_that_of_its_items(files, name):
    flow = load_flow(name, files["small"] if name == "raft_small" else None, iterations=2)
    firsts = torch.cat([texture(130, 140), texture(130, 140, "other")])
    both = flow(firsts, firsts.flip(0))
    alone = torch.cat([flow(firsts[:1], firsts[1:]), flow(firsts[1:], firsts[:1])])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shift", [(3, 5), (-4, 2), (0, -6)])
def test_dis_recovers_a_shift(shift):
    down, right = shift
    canvas = texture(160, 200)
    first, second = canvas[..., 20:140, 20:180], canvas[..., 20 - down : 140 - down, 20 - right : 180 - right]
    flow = load_flow("dis")(first, second)
    inside = flow[..., 16:-16, 16:-16]
    assert flow.shape == (1, 2, 120, 160) and flow.dtype == torch.float32
    assert (inside[:, 0] - right).abs().mean() < 0.1
    assert (inside[:, 1] - down).abs().mean() < 0.1


def test_dis_of_identical_images_is_zero():
    still = texture(97, 131)
    assert load_flow("dis")(still, still).abs().max() < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 64), (15, 400), (16, 16), (33, 47)])
def test_dis_takes_any_size(size):
    flow = load_flow("dis")(texture(*size), texture(*size, "other").float())
    assert flow.shape == (1, 2, *size) and flow.isfinite().all()


def test_dis_does_not_remember_earlier_images():
    first, second = texture(97, 131), texture(97, 131, "other")
    used = load_flow("dis")
    used(texture(16, 16), texture(16, 16, "other"))
    assert torch.equal(used(first, second), load_flow("dis")(first, second))


@pytest.mark.parametrize(
    "first, second",
    [
        ((1, 3, 64, 64), (1, 3, 64, 65)),
        ((1, 1, 64, 64), (1, 1, 64, 64)),
        ((3, 64, 64), (3, 64, 64)),
        ((0, 3, 64, 64), (0, 3, 64, 64)),
    ],
)
@pytest.mark.parametrize(
    "flow", [load_flow("dis"), RaftFlow(raft_small(weights=None), 1)], ids=["dis", "raft"]
)
def test_wrong_shapes(flow, first, second):
    with pytest.raises(ValueError, match=r"two images \(B, 3, H, W\) of one size"):
        flow(torch.zeros(first), torch.zeros(second))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(name="raft"), "dbcgm.flow: unknown flow 'raft'; choose one of raft_large, raft_small, dis"),
        (dict(name="raft_large"), "raft-things.pth.*dbcgm.flow: dis"),
        (dict(name="raft_small"), "raft-small.pth.*dbcgm.flow: dis"),
        (dict(name="dis", weights="raft-things.pth"), "dis takes no weights, got raft-things.pth"),
        (
            dict(name="raft_small", weights="any.pth", iterations=0),
            "dbcgm.iterations: expected at least 1, got 0",
        ),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(UserError, match=message):
        load_flow(**arguments)


def test_weights_of_the_other_model(files):
    with pytest.raises(UserError, match="raft-small.pth"):
        load_flow("raft_large", files["small"])


@pytest.mark.parametrize("name", ["raft_small", "dis"])
def test_flows_between_many_images_are_those_of_single_pairs(files, name):
    flow = load_flow(name, files["small"] if name == "raft_small" else None, iterations=3)
    images = torch.cat([texture(128, 136, f"frame {index}") for index in range(3)])
    pairs = [(1, 2), (1, 0), (0, 1)]
    together = flow.between(images, pairs)
    for (first, second), found in zip(pairs, together):
        alone = flow(images[first][None], images[second][None])[0]
        assert (found - alone).abs().max() < 1e-5 * alone.abs().max()


def test_raft_encodes_an_image_once_however_many_pairs_it_is_in(files):
    flow = load_flow("raft_large", files["large"], iterations=2)
    seen = {"feature": [], "context": [], "mask": []}
    for name, module in (
        ("feature", flow.network.feature_encoder.network),
        ("context", flow.network.context_encoder.network),
        ("mask", flow.network.mask_predictor.predictor),
    ):
        module.register_forward_hook(
            lambda module, inputs, output, name=name: seen[name].append(len(inputs[0]))
        )
    flow.between(torch.cat([texture(128, 128, str(index)) for index in range(3)]), [(1, 2), (1, 0)])
    assert seen == {"feature": [3], "context": [1], "mask": [2]}


class TestTorchvision:
    """dbcgm.weights: torchvision."""

    def test_the_word_is_no_path(self, tmp_path):
        config = tmp_path / "own.yaml"
        config.write_text("dbcgm: {weights: torchvision}")
        assert load_config(Config, config).dbcgm.weights == TORCHVISION
        config.write_text("dbcgm: {weights: ./torchvision}")
        assert load_config(Config, config).dbcgm.weights == tmp_path / "torchvision"

    def test_the_file_in_the_cache_is_used(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        kept = tmp_path / "checkpoints" / "raft_small_C_T_V1-ad48884c.pth"
        kept.parent.mkdir()
        torch.manual_seed(0)
        torch.save(raft_small().state_dict(), kept)
        assert weights_file("raft_small", TORCHVISION) == kept
        expected = load_flow("raft_small", kept, iterations=1)
        frames = texture(128, 136), texture(128, 136, "other")
        assert torch.equal(load_flow("raft_small", TORCHVISION, iterations=1)(*frames), expected(*frames))

    def test_no_network_is_one_line(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setattr("urllib.request._opener", None)
        with pytest.raises(
            UserError, match="raft_large_C_T_V1-22a6c225.pth cannot be downloaded .*put the file to"
        ):
            weights_file("raft_large", TORCHVISION)
        assert not list(tmp_path.rglob("*.pth"))

    def test_other_flows_and_files_are_left_alone(self, tmp_path):
        assert weights_file("raft_large", tmp_path / "x.pth") == tmp_path / "x.pth"
        assert weights_file("dis", None) is None
