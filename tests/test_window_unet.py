"""The small U-Net over windows of five frames."""

import cv2
import numpy as np
import pytest
import torch

from common.checkpoints import load_into, save_checkpoint
from DeblurringModel.Window_UNet import inputs
from DeblurringModel.Window_UNet.model import WindowUNet

SMALL = {"channels": [4, 6, 8], "blocks": 1, "middle": 1}


def trained() -> WindowUNet:
    """Weights that change the picture."""
    torch.manual_seed(0)
    network = WindowUNet(**SMALL)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    return network.eval().requires_grad_(False)


def moving(step: tuple[int, int], size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    """A window (1, 5, 3, H, W) of a smooth texture that moves by `step` (right, down) pixels a frame."""
    rng, (right, down) = np.random.default_rng(0), step
    texture = cv2.GaussianBlur(rng.random((size[0] + 40, size[1] + 40, 3)), (0, 0), 2.0)
    texture = (texture - texture.min()) / np.ptp(texture) - 0.5
    frames = [
        texture[20 - down * time :, 20 - right * time :][: size[0], : size[1]] for time in (-2, -1, 0, 1, 2)
    ]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None].float()


def test_neighbours_are_moved_to_the_middle_frame() -> None:
    """Within a quarter of a pixel; beyond the border nothing is known."""
    window = moving((3, -2))
    frames, flow = inputs.aligned_to_middle(window)
    inner = (..., slice(12, -12), slice(12, -12))
    for frame, time in enumerate((-2, -1, 0, 1, 2)):
        assert flow[0, frame, 0][inner].median().item() == pytest.approx(3 * time, abs=0.25)
        assert flow[0, frame, 1][inner].median().item() == pytest.approx(-2 * time, abs=0.25)
        error = (frames[0, frame] - window[0, 2])[inner].square().mean()
        before = (window[0, frame] - window[0, 2])[inner].square().mean()
        assert error <= max(0.01 * before, 1e-10)


def test_the_middle_frame_is_blurred_again_along_the_motion() -> None:
    """An impulse becomes a row of samples as long as the path; three times make it longer and no brighter."""
    picture = torch.zeros(1, 3, 33, 33)
    picture[..., 16, 16] = 1
    path = torch.zeros(1, 2, 33, 33)
    path[:, 0] = 8.0
    once, twice, thrice = inputs.reblurred(picture, path)[0, :, 0]
    expected = torch.zeros(33)
    expected[12:21:2] = 1 / inputs.SAMPLES
    torch.testing.assert_close(once[16], expected, rtol=0, atol=1e-5)
    assert once[:16].abs().max() < 1e-5 and thrice.sum().item() == pytest.approx(1, abs=1e-4)
    assert [int((blurred[16] > 1e-4).sum()) for blurred in (once, twice, thrice)] == [5, 9, 13]
    assert torch.equal(inputs.reblurred(picture, 0 * path)[0, 0], picture[0])


def test_what_is_seen_of_a_window() -> None:
    window = moving((4, 0))
    seen = inputs.seen(window)[0]
    assert seen.shape[0] == inputs.channels(5) == 28
    torch.testing.assert_close(seen[6:9], window[0, 2], rtol=0, atol=1e-5)
    before, after = seen[15:17, 32, 48] * inputs.MOTION_SCALE, seen[17:19, 32, 48] * inputs.MOTION_SCALE
    assert before.tolist() == pytest.approx([-4, 0], abs=0.2) and after.tolist() == pytest.approx(
        [4, 0], abs=0.2
    )
    inner, path = (..., slice(12, -12), slice(12, -12)), torch.zeros(1, 2, 64, 96)
    path[:, 0] = 4 * inputs.SHARE
    again = inputs.reblurred(window[:, 2], path)[0] - window[0, 2]
    assert (seen[19:].unflatten(0, (3, 3)) - again)[inner].abs().max() < 0.02 < again[inner].abs().max()


@pytest.mark.parametrize("size", [(8, 8), (8, 40), (16, 16), (24, 64)])
def test_small_pictures(size: tuple[int, int]) -> None:
    seen = inputs.seen(torch.rand(2, 5, 3, *size) - 0.5)
    assert seen.shape == (2, 28, *size) and seen.isfinite().all()


def test_mixed_precision_sees_the_same() -> None:
    window = moving((1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = inputs.seen(window)
    assert torch.equal(mixed, inputs.seen(window))


def test_untrained_it_returns_the_middle_frame() -> None:
    x = torch.rand(2, 7, 3, 16, 24) - 0.5
    assert torch.equal(WindowUNet(**SMALL)(x), x[:, 2:5])


def test_each_output_depends_on_its_five_frames_alone() -> None:
    network, x = trained(), torch.rand(1, 8, 3, 16, 24) - 0.5
    whole = network(x)
    assert whole.shape == (1, 4, 3, 16, 24)
    for first in range(4):
        torch.testing.assert_close(network(x[:, first : first + 5])[:, 0], whole[:, first])
    for frame in range(5):
        other = x.clone()
        other[:, frame] += 0.1
        assert not torch.equal(network(other)[:, 0], whole[:, 0]), frame
        assert torch.equal(network(other)[:, 1], whole[:, 1]) == (frame == 0)


def test_samples_of_a_batch_do_not_mix() -> None:
    network, x = trained(), torch.rand(2, 5, 3, 16, 24) - 0.5
    alone = torch.cat([network(x[:1]), network(x[1:])])
    torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-5)


def test_everything_trains_from_the_second_step() -> None:
    torch.manual_seed(0)
    network = WindowUNet(**SMALL)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    x, target = torch.rand(1, 5, 3, 32, 32) - 0.5, torch.rand(1, 1, 3, 32, 32) - 0.5
    for _ in range(2):
        optimizer.zero_grad()
        (network(x) - target).pow(2).mean().backward()
        optimizer.step()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_it_learns_to_take_the_sharp_frame_out_of_a_window() -> None:
    """Within seconds; the window's last frame is the target."""
    torch.manual_seed(0)
    network = WindowUNet(channels=[16, 16], blocks=1, middle=1)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        sharp = torch.nn.functional.interpolate(torch.rand(4, 3, 16, 16), (32, 32), mode="bilinear") - 0.5
        blurry = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2)
        x = torch.stack([blurry, blurry, blurry, blurry, sharp], dim=1)
        loss = (network(x)[:, 0] - sharp).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / (blurry - sharp).pow(2).mean().item())
    assert losses[0] == pytest.approx(1) and losses[-1] < 0.3


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"channels": []}, "channels: expected one number a level, received none"),
        ({"channels": [8, 0]}, r"channels\[1\]: expected at least 1, received 0"),
        ({"middle": 0}, "middle: expected at least 1, received 0"),
    ],
)
def test_impossible_architectures(architecture: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowUNet(**architecture)


def test_impossible_clips() -> None:
    network = WindowUNet(**SMALL)
    for shape, message in (
        ((1, 4, 3, 16, 16), "at least 5 frames, received 4"),
        ((1, 5, 3, 16, 20), "multiples of 8"),
        ((5, 3, 16, 16), r"\(B, T, 3, H, W\)"),
    ):
        with pytest.raises(ValueError, match=message):
            network(torch.zeros(shape))


def test_half_precision_weights_load(tmp_path) -> None:
    network = trained()
    half = {name: value.half() for name, value in network.state_dict().items()}
    save_checkpoint({"model_state": half}, tmp_path / "half.pth")
    loaded = WindowUNet(**SMALL).eval()
    load_into(loaded, tmp_path / "half.pth")
    x = torch.rand(1, 5, 3, 16, 16) - 0.5
    torch.testing.assert_close(loaded(x), network(x), rtol=0, atol=2e-3)
