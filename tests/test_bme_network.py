"""Blur magnitude estimator against the published parameter layout and stored outputs; smaller backbones."""

import pytest
import torch
import torchvision
import vectors

from RSDM.bme.model import BACKBONES, BlurMagnitudeEstimator

MANIFEST = vectors.manifest("bme")
EXPECTED = vectors.expected("bme")


@pytest.fixture(scope="module")
def published() -> BlurMagnitudeEstimator:
    return vectors.fill(BlurMagnitudeEstimator(), gain=MANIFEST["gain"]).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def slim() -> BlurMagnitudeEstimator:
    return vectors.fill(BlurMagnitudeEstimator("resnet10_slim", width=8)).eval().requires_grad_(False)


def test_keys_shapes_and_their_order(published: BlurMagnitudeEstimator) -> None:
    assert list(vectors.shapes(published).items()) == list(MANIFEST["state_dict"].items())
    assert sum(parameter.numel() for parameter in published.parameters()) == MANIFEST["parameter_count"]


@pytest.mark.parametrize("case", MANIFEST["cases"], ids=lambda case: case["name"])
def test_stored_outputs(published: BlurMagnitudeEstimator, case: dict) -> None:
    source = case["inputs"][0]
    output = published(vectors.image(source["image_name"], *source["shape"]))
    assert list(output.shape) == case["output_shape"]
    stride = case["stored_stride"]
    assert vectors.relative_error(output[..., ::stride, ::stride], EXPECTED[f"{case['name']}/output"]) <= 1e-4


def test_images_of_a_batch_do_not_mix(published: BlurMagnitudeEstimator) -> None:
    image = vectors.image("batch", 2, 3, 72, 63)
    alone = torch.cat([published(image[:1]), published(image[1:])])
    assert vectors.relative_error(published(image), alone.numpy()) < 1e-5


def test_trunk_is_torchvisions() -> None:
    torch.manual_seed(0)
    trunk = torchvision.models.resnet18(weights=None).eval()
    network = BlurMagnitudeEstimator("resnet18").eval()
    parts = [
        ("conv1", "div_2.0"),
        ("bn1", "div_2.1"),
        ("layer1", "div_4.1"),
        ("layer2", "div_8"),
        ("layer3", "div_16"),
        ("layer4", "div_32"),
    ]
    for theirs, ours in parts:
        network.get_submodule(ours).load_state_dict(trunk.get_submodule(theirs).state_dict())
    image = vectors.image("trunk", 1, 3, 64, 72)
    with torch.no_grad():
        feature = network.div_32(network.div_16(network.div_8(network.div_4(network.div_2(image)))))
        logits = trunk.fc(trunk.avgpool(feature).flatten(1))
        torch.testing.assert_close(logits, trunk(image), rtol=0, atol=0)


@pytest.mark.parametrize("size", [size for size in range(23, 73) if size % 8 in (0, 7)])
def test_every_allowed_size_gives_the_next_even_size(slim: BlurMagnitudeEstimator, size: int) -> None:
    even = size + size % 2
    assert slim(torch.zeros(1, 3, size, 32)).shape == (1, 1, even, 32)
    assert slim(torch.zeros(1, 3, 47, size)).shape == (1, 1, 48, even)


@pytest.mark.parametrize("height, width", [(16, 32), (32, 15), (30, 32), (32, 33), (68, 64), (0, 32)])
def test_sizes_that_do_not_fit(slim: BlurMagnitudeEstimator, height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"0 or 7 modulo 8, received {height} x {width}"):
        slim(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 1, 3, 32, 32)])
def test_shapes_that_do_not_fit(slim: BlurMagnitudeEstimator, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(B, 3, H, W\), received"):
        slim(torch.zeros(shape))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="resnet50, resnet18, resnet10_slim, received 'vgg'"):
        BlurMagnitudeEstimator("vgg")
    with pytest.raises(ValueError, match="even number, received 33"):
        BlurMagnitudeEstimator("resnet10_slim", width=33)


@pytest.mark.parametrize("backbone, width", [("resnet18", 32), ("resnet10_slim", 16), ("resnet10_slim", 64)])
def test_smaller_backbones_train(backbone: str, width: int) -> None:
    network = BlurMagnitudeEstimator(backbone, width)
    output = network(vectors.image("small", 2, 3, 71, 88))
    assert output.shape == (2, 1, 72, 88)
    (output - 0.1).abs().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_slim_stages_have_the_listed_channels_and_sizes(slim: BlurMagnitudeEstimator) -> None:
    feature, sizes = torch.zeros(1, 3, 64, 96), []
    for stage in (slim.div_2, slim.div_4, slim.div_8, slim.div_16, slim.div_32):
        feature = stage(feature)
        sizes.append(tuple(feature.shape[1:]))
    assert tuple(channels for channels, _, _ in sizes) == BACKBONES["resnet10_slim"] == (16, 24, 48, 96, 160)
    assert [size[1:] for size in sizes] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
