"""One window at a time, windows of a batch, and frames prepared once for all of their windows: the same
frames."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import vectors
from test_models import SMALL
from tiny import one_thread  # noqa: F401, a fixture
from torch import nn

from common.config import Config, DeblurringConfig
from common.images import read_image, to_tensor
from common.runtime.distributed import place
from common.videos import Video, VideoFrames, sorted_frames
from DeblurringModel import models
from DeblurringModel.blocks import PointwiseConv2d
from DeblurringModel.inference.restoring import Restorer, clips_of

TOLERANCE = {"rtol": 0, "atol": 1e-5}
GAIN = {"DSTNet": 0.5, "Shift_Net": 0.5}
"""Of the random weights: with 1 what goes through so many blocks overflows."""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Video:
    folder = tmp_path_factory.mktemp("fast_paths") / "a"
    tiny.write_video(folder, (64, 80))
    return Video("a", tuple(sorted_frames(folder / "Blur" / "RGB")), ())


@pytest.mark.parametrize("name", SMALL)
def test_batched_cached_and_one_at_a_time_agree(name: str, video: Video, tmp_path: Path) -> None:
    facts, device = models.spec(name), torch.device("cpu")
    plain = vectors.fill(models.build(name, **SMALL[name]), GAIN.get(name, 1.0)).eval()
    clips = clips_of(video, facts, 5, 0, "mirror")
    frames = to_tensor(np.stack([read_image(path) for path in video.frames]))
    windows = torch.stack([frames[list(clip.inputs)] for clip in clips])
    with torch.inference_mode():
        one = torch.stack([models.restore(plain, facts, window[None])[0] for window in windows])
        batched = models.restore(plain, facts, windows)
    # Random weights give frames of any scale.
    scale = one.abs().max()
    assert (one[0, 0] - one[-1, 0]).abs().mean() > 0.01 * scale
    torch.testing.assert_close(batched / scale, one / scale, **TOLERANCE)

    # As stage 4 does it: channels-last, and what depends on one frame only kept from window to window.
    config = Config(deblurring=DeblurringConfig(model=name))
    restorer = Restorer(place(plain, device), facts, config, device, print, VideoFrames(video).read)
    cached = torch.stack([restorer.restored(clip) for clip in clips])
    torch.testing.assert_close(cached / scale, one / scale, **TOLERANCE)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(2, 6, 9, 7), (1, 1, 1, 5), (3, 4, 1, 1)])
def test_pointwise_convolution_is_a_1x1_convolution(size, layout) -> None:
    own = PointwiseConv2d(size[1], 5)
    plain = nn.Conv2d(size[1], 5, 1)
    plain.load_state_dict(own.state_dict())
    x = torch.randn(size).contiguous(memory_format=layout)
    results = []
    for network in (own, plain):
        given = x.clone().requires_grad_()
        made = network(given)
        made.square().sum().backward()
        results.append((made, given.grad, network.weight.grad, network.bias.grad))
    for found, expected in zip(*results):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_no_1x1_convolution_of_estrnn_is_slow_on_one_thread(one_thread) -> None:  # noqa: F811
    network = place(models.build("ESTRNN", **SMALL["ESTRNN"]), torch.device("cpu"))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        network(torch.rand(2, 5, 3, 64, 64)).mean().backward()
    names = {event.key for event in profile.key_averages()}
    assert "aten::mkldnn_convolution" in names
    assert not [name for name in names if "slow_conv2d" in name]
