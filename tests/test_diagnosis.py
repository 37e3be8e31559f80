"""What the synthetic benchmark's diagnosis measures, on cases with a known answer."""

import numpy as np
import pytest
import tiny
import torch
from test_aligned import STROKE, texture, view

from BlurringModel.id_blau.diffusion import GaussianDiffusion, linear_betas
from BlurringModel.id_blau.validation import reblurring_figures
from BlurringModel.reblurring.conditions import Conditions
from common.config import BlurringConfig
from common.images import read_image, write_array, write_image
from common.layout import Layout
from common.metrics import psnr
from common.regions_file import Region
from common.training.source_domain import SourceDomain
from common.videos import find_videos
from DeblurringModel.pairs import Pair
from scripts.evaluation.synthetic.diagnosis import (
    against_truth,
    at_rest,
    blur_inside,
    direction_errors,
    reblurring,
)
from scripts.evaluation.synthetic.own_blur import box_of, own_blur


@pytest.fixture
def videos(tmp_path):
    tiny.write_video(tmp_path / "data" / "a")
    return find_videos(tmp_path / "data")


def test_blur_inside_a_box(videos):
    condition = np.zeros((3, *tiny.SIZE), np.float32)
    condition[2, 8:16, 4:20] = 6
    truth = {("a", videos[0].names[2]): condition}
    boxes = ((8, 4, 16, 20), (0, 4, 16, 20), (20, 20, 30, 30))
    assert blur_inside(truth, [Region(videos[0], 2, box) for box in boxes]).tolist() == [6, 3, 0]


def test_a_direction_is_a_line_and_has_to_be_blurred():
    def condition(degrees: list[float], magnitudes: list[float]) -> np.ndarray:
        angles = np.radians(degrees)
        return np.stack([np.cos(angles), np.sin(angles), magnitudes])[:, None].astype(np.float32)

    truth = condition([0, 0, 90, 10, 0], [5, 1, 2, 3, 0.9])
    found = condition([180, 90, 60, -10, 45], [0, 0, 0, 0, 0])
    assert direction_errors(truth, found) == pytest.approx([0, 90, 30, 20], abs=0.05)


def test_frames_and_targets_against_the_truth(videos, tmp_path):
    video, box = videos[0], (4, 8, 20, 40)
    target = tmp_path / "target.png"
    write_image(target, read_image(video.sharp[1]) // 2)
    pair = Pair((), target, box, f"a/{video.names[1]}")
    frame, sharp = (read_image(path)[4:20, 8:40] for path in (video.frames[1], video.sharp[1]))
    assert against_truth([pair, pair], videos) == pytest.approx((psnr(frame, sharp), psnr(sharp // 2, sharp)))


def test_frames_at_rest(videos):
    video = videos[0]
    truth = {("a", name): np.full((3, *tiny.SIZE), 1.0, np.float32) for name in video.names}
    assert np.isnan(at_rest(truth, videos))
    truth["a", video.names[3]][2] = 0.05
    assert at_rest(truth, videos) == psnr(read_image(video.frames[3]), read_image(video.sharp[3]))


def test_reblurring_by_a_network_that_returns_what_it_is_given(tmp_path):
    """The sharp picture itself is then the reblurred one: as good as the zero line."""

    class Same(torch.nn.Module):
        multiple = 2

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x, time):
            return x[:, 3:6] + 0 * self.weight

    tiny.write_video(tmp_path / "a")
    for frame in (tmp_path / "a" / "Blur" / "RGB").iterdir():
        write_array(tmp_path / "a" / "Condition" / f"{frame.stem}.npy", np.zeros((3, *tiny.SIZE), np.float32))
    network = GaussianDiffusion(Same(), linear_betas(2000, 1e-6, 1e-2), "image")
    crops = reblurring(network, SourceDomain(tmp_path), BlurringConfig(steps=2, prediction="image"))
    figures = reblurring_figures(crops)
    assert (
        figures["psnr_reblurred"] == pytest.approx(figures["psnr_sharp"], abs=0.01)
        and figures["psnr_sharp"] < 60
    )


def test_the_own_blur_is_judged_where_it_is_measured(tmp_path):
    """A clip whose blur is twice as long as stage 2 found: the measured kernels are nearer."""
    values = np.zeros((4, 5, 31, 31), np.float32)
    values[1:, 1:, 15, 15] = 1
    assert box_of(values, 144, 192) is None
    values[0] = values[1]
    assert box_of(values, 128, 192) == (0, 48, 128, 176)
    sharp = view(texture())
    for index in range(5):
        kernel = None if index == 2 else STROKE
        for kind, picture in (
            ("Blur", view(texture(), kernel=kernel, noise=1, seed=index)),
            ("Sharp", sharp),
        ):
            write_image(tmp_path / "data" / "a" / kind / "RGB" / f"{index}.png", picture)
        condition = np.ones((3, *sharp.shape[:2]), np.float32)
        condition[:2] *= np.sqrt(0.5)
        condition[2] = 7
        write_array(tmp_path / "dbcgm" / "condition" / "a" / f"{index}.npy", condition)
    (video,) = find_videos(tmp_path / "data")
    truth = {("a", name): np.full((3, 1, 1), 0 if name == "2" else 9) for name in video.names}
    found = own_blur([video], Conditions(Layout(tmp_path)), truth)
    assert 0 < found["frames"] <= 4 and found["measured"] > found["line"] + 2 > found["sharp"] + 2
    assert np.isnan(own_blur([video], Conditions(Layout(tmp_path / "none")), truth)["line"])
