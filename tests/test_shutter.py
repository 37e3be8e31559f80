"""How long a video exposes: the fit on rendered clips, its fallbacks, and stage 2's use of it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import torch
from tiny import one_thread  # noqa: F401 (a fixture)

from common.errors import UserError
from common.flow import DisFlow
from common.images import read_image, write_image
from common.layout import Layout
from common.rendering.camera import Shake
from common.rendering.clips import render_clip
from common.rendering.exposure import Sensor
from common.rendering.presets import Preset
from common.videos import Video, VideoFrames, find_videos
from DBCGM import shutter
from DBCGM.exposure import fit_video, in_words, read_fit, write_fit
from DBCGM.shutter import Fit

CPU = torch.device("cpu")
STILL = tiny.ROOT / "assets" / "footage" / "train" / "coffee_0020.jpg"
SHAKE = Shake(1.0, 0.1, (0.03, 0.05), (0.0, np.pi), 0.004, 0.002, 0.0, 0.0, 5.3)


def rendered(folder: Path, exposure: float, frames: int = 14) -> tuple[Video, list[float]]:
    """A clip with short rests on disk, and each frame's true mean blur in pixels."""
    sensor = Sensor((exposure, exposure), 25, True, 2.2, 0.006, 0.012)
    preset = Preset(SHAKE, (9.0, 9.0), sensor, 0)
    clip = render_clip([read_image(STILL)], preset, frames, 192, 256, np.random.default_rng(4))
    blur = []
    for number, (blurry, _, condition) in enumerate(clip):
        write_image(folder / "clip" / "Blur" / "RGB" / f"{number}.png", blurry)
        blur.append(float(condition[2].mean()))
    return find_videos(folder)[0], blur


@pytest.mark.parametrize("exposure", [0.4, 0.8])
def test_exposure_of_a_rendered_clip(tmp_path, exposure):
    video, blur = rendered(tmp_path, exposure)
    # An estimator that sees three pixels of blur where there are none.
    fit = fit_video(VideoFrames(video).read, [length + 3 for length in blur], DisFlow(), CPU)
    assert fit.source == "neighbours" and fit.pairs
    assert fit.tau == pytest.approx(exposure, abs=0.1)
    assert min(fit.curve, key=lambda point: point[1])[0] == pytest.approx(fit.tau, abs=0.06)


def test_without_sharp_neighbours_the_estimated_lengths_tell(tmp_path):
    video, _ = rendered(tmp_path, 0.5)
    flow = DisFlow()
    motion = [0.0] * len(video.frames)
    for t in range(1, len(video.frames) - 1):
        images = [
            torch.from_numpy(read_image(video.frames[t + step])).permute(2, 0, 1)[None] for step in (-1, 0, 1)
        ]
        moved = (flow(images[1], images[2]) - flow(images[1], images[0]))[0] / 2
        motion[t] = float(torch.hypot(*moved).median())
    # Forty pixels of constant error: no frame is much sharper than another.
    fit = fit_video(VideoFrames(video).read, [0.6 * length + 40 for length in motion], flow, CPU)
    assert fit.source == "magnitudes" and not fit.pairs
    assert fit.tau == pytest.approx(0.6, abs=0.02)


def test_a_video_without_motion_is_told_so(tmp_path):
    image = cv2.resize(read_image(STILL), (128, 96))
    for number in range(6):
        write_image(tmp_path / "clip" / "Blur" / "RGB" / f"{number}.png", image)
    fit = fit_video(VideoFrames(find_videos(tmp_path)[0]).read, [1.0] * 6, DisFlow(), CPU)
    assert (fit.source, fit.tau) == ("none", 0.5)
    assert "assumed" in in_words(fit)


def test_line_through_blur_lengths_ignores_an_offset_and_an_outlier():
    motion = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    blur = [0.7 * length + 1.6 for length in motion]
    blur[3] = 90.0
    assert shutter.from_magnitudes(motion, blur) == pytest.approx(0.7)
    assert shutter.from_magnitudes([5.0] * 6, blur) is None
    assert shutter.from_magnitudes(motion[:2], blur[:2]) is None
    assert shutter.from_magnitudes(motion, [-length for length in motion]) == 0.0


def test_minimum_between_two_values_and_at_the_ends():
    parabola = (shutter.TAUS - 0.43) ** 2 + 1
    assert shutter.from_neighbours([parabola, 3 * parabola])[0] == pytest.approx(0.43)
    assert shutter.from_neighbours([shutter.TAUS])[0] == 0.0
    assert shutter.from_neighbours([2 - shutter.TAUS])[0] == 1.0


def test_sharp_neighbours_are_near_and_clearly_sharper():
    blur = [9.0, 8.0, 1.0, 8.0, 7.9, *[8.0] * 9, 2.0, 9.0]
    pairs = shutter.sharp_neighbours(blur)
    assert (1, 2) in pairs and (3, 2) in pairs and (13, 14) in pairs
    # The outermost frames have no motion of their own, and frame 2 is the sharp one itself.
    assert all(0 < blurry < len(blur) - 1 and blurry != 2 for blurry, _ in pairs)
    assert all(abs(blurry - sharp) <= shutter.REACH for blurry, sharp in pairs)
    assert shutter.sharp_neighbours([5.0] * 8) == []


def test_frames_that_change_their_speed_do_not_tell():
    motion = np.full((2, 8, 8), 3.0)
    assert shutter.steady(motion, 0.1 * motion)
    assert not shutter.steady(motion, motion)
    assert not shutter.steady(0.2 * motion, 0 * motion)


def test_stage_2_blurs_as_long_as_the_motion_times_the_exposure(tmp_path, capsys):
    config = tiny.make(tmp_path, dbcgm={"magnitude": "shutter", "adapt_magnitude": False, "motion": True})
    tiny.run("RSDM", config)
    tiny.run("DBCGM", config)
    folder = tmp_path / "out" / "dbcgm"
    said = capsys.readouterr().out
    for video in find_videos(tmp_path / "data"):
        fit = read_fit(Layout(folder.parent).shutter(video.name))
        assert f"stage 2: {video.name} {in_words(fit)}" in said
        for path in (folder / "condition" / video.name).iterdir():
            motion = np.load(folder / "motion" / video.name / path.name)
            expected = np.float32(fit.tau) * np.hypot(*motion) + 1
            assert np.allclose(np.load(path)[2], expected, atol=1e-4)
    # A second run takes the fit as it is, and a lost condition is made again from it.
    lost = next((folder / "condition").glob("*/*.npy"))
    before = lost.read_bytes()
    lost.unlink()
    tiny.run("DBCGM", config)
    assert lost.read_bytes() == before and "exposes" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"tau": 0.5}', '{"tau": 7, "source": "", "pairs": [], "curve": []}']
)
def test_a_damaged_fit_is_named(tmp_path, content):
    path = tmp_path / "fit.json"
    path.write_text(content)
    with pytest.raises(UserError, match="fit.json"):
        read_fit(path)


def test_a_fit_is_kept_as_it_is(tmp_path):
    fit = Fit(0.25, "neighbours", [(1, 2)], [(0.0, 1.5), (0.1, 0.5)])
    write_fit(tmp_path / "fit.json", fit)
    again = read_fit(tmp_path / "fit.json")
    assert (again.tau, again.source) == (fit.tau, fit.source)
    assert np.allclose(again.curve, fit.curve) and [tuple(pair) for pair in again.pairs] == fit.pairs
