"""Preset `real`: its motions, the camera's pipeline, compression, whole clips, and the data set on disk."""

import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import UserError
from common.images import read_image, write_image
from common.metrics import psnr
from common.rendering import motion, real
from common.rendering.compression import h264, jpeg
from common.rendering.content import Still, find_content, load_stills, stills_of
from common.rendering.motion import Motion, bezier_curve, draw_motion, frame_lengths, monotone, path_condition
from common.rendering.pieces import BRIGHT, Piece, bright_parts_raised, soft_outline
from common.rendering.pipeline import (
    READ,
    SHOT,
    Pipeline,
    add_noise,
    converted,
    demosaic,
    develop,
    draw_pipeline,
    sensed,
    to_raw,
    tone_table,
)
from common.rendering.real import average, compressed, render_real, samples_needed
from common.runtime.entry import run
from scripts.make_synthetic_dataset import main

SILENT = Pipeline(1e-9, 0.0, 1.7, 1.4, 2.2, 1.0)
"""A camera without noise to speak of, the tone curve of a display, and no added contrast."""


def _texture(seed: int = 0, height: int = 160, width: int = 200, cell: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (height // cell + 1, width // cell + 1, 3))
    return np.kron(cells, np.ones((cell, cell, 1)))[:height, :width].astype(np.uint8)


@pytest.mark.parametrize("curve", [motion.sinusoid_curve, bezier_curve])
@pytest.mark.parametrize("open_share", [0.4, 0.95])
def test_every_exposure_has_the_prescribed_path(monkeypatch, curve, open_share):
    monkeypatch.setattr(motion, "sinusoid_curve", curve)
    monkeypatch.setattr(motion, "bezier_curve", curve)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        lengths = np.array([0.2, 3.0, 40.0, 12.0, 0.0, 7.0])
        drawn = draw_motion(rng, lengths, open_share, 1e-3, 3e-4)
        for frame, length in enumerate(lengths):
            _, shift = drawn.at(drawn.ends(frame, 2000))
            assert np.abs(np.diff(shift)).sum() == pytest.approx(length, abs=0.01 + 0.01 * length)
        turn, shift = drawn.at(np.linspace(-0.4, 5.4, 5000))
        assert np.abs(np.diff(shift)).max() < 0.5 and np.abs(np.diff(np.log(turn))).max() < 1e-3


def test_paths_are_curved():
    """A straight path would be as long as the distance of its ends."""
    straightness = []
    for seed in range(60):
        drawn = draw_motion(np.random.default_rng(seed), np.array([30.0]), 0.8, 1e-4, 0)
        _, shift = drawn.at(drawn.ends(0, 100))
        straightness.append(abs(shift[-1] - shift[0]) / np.abs(np.diff(shift)).sum())
    assert min(straightness) < 0.7 and np.median(straightness) > 0.8


def test_lengths_are_log_uniform_with_a_share_of_sharp_frames():
    drawn = np.concatenate([frame_lengths(np.random.default_rng(seed), 4, 1.0, 40.0) for seed in range(2500)])
    blurred = drawn[drawn >= 1]
    assert 1 - len(blurred) / len(drawn) == pytest.approx(0.15, abs=0.02)
    assert drawn[drawn < 1].max() <= 0.5 and drawn.max() <= 40
    assert np.quantile(blurred, [0.25, 0.5, 0.75]) == pytest.approx(
        40 ** np.array([0.25, 0.5, 0.75]), rel=0.12
    )


def test_neighbouring_frames_are_related():
    pairs = np.log([frame_lengths(np.random.default_rng(seed), 2, 1.0, 40.0, 0.0) for seed in range(1000)])
    assert 0.4 < np.corrcoef(pairs.T)[0, 1] < 0.9


def test_monotone_curve():
    x, y = np.array([0.0, 1.0, 1.5, 4.0]), np.array([0.0, 0.0, 3.0, 3.5])
    assert monotone(x, x, y) == pytest.approx(y)
    fine = monotone(np.linspace(-1, 5, 600), x, y)
    assert (np.diff(fine) >= -1e-12).all()
    line = np.array([-2.0, 0.3, 9.0])
    assert monotone(line, x, 2 * x + 1) == pytest.approx(2 * line + 1)


def test_condition_of_a_shift_and_of_a_turn():
    steps = np.linspace(-0.5, 0.5, 13)
    condition = path_condition(np.ones(13, complex), (3 + 4j) * steps, (-2.0, -3.0, 5, 7))
    assert condition.shape == (3, 5, 7) and condition.dtype == np.float32
    assert np.allclose(condition, np.array([0.6, 0.8, 5.0])[:, None, None], atol=1e-5)
    # A quarter of a turn about the origin: content to the right of it moves downwards.
    condition = path_condition(np.exp(0.5j * np.pi * steps), np.zeros(13, complex), (-2.0, -3.0, 5, 7))
    assert condition[:, 2, 6] == pytest.approx([0.0, 1.0, 3 * math.pi / 2], abs=0.01)
    assert condition[:, 2, 3] == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    still = path_condition(np.ones(13, complex), np.zeros(13, complex), (0.0, 0.0, 2, 2))
    assert not still.any()


def _straight(length: complex, frames: int = 1) -> Motion:
    """Uniform motion by `length` in the one exposure of a frame."""
    arc = np.array([0.0, abs(length)])
    points = np.array([-length / 2, length / 2])
    knots = np.array([-0.5, 0.5])
    return Motion(np.array([abs(length)]), 1.0, knots, arc, arc, points, np.zeros(2), np.zeros(2))


def _piece(light: np.ndarray, length: complex, size: tuple[int, int]) -> Piece:
    """Content of the frame's size, one to one, that moves by `length`."""
    origin = complex((light.shape[1] - 1) / 2, (light.shape[0] - 1) / 2)
    return Piece(light, None, 1.0, origin, 0j, _straight(length), None, size)


def _exposed(piece: Piece, samples: int) -> np.ndarray:
    places = piece.places(piece.motion.exposure(0, samples))
    return average([[(place, box)] for place, box in zip(places, piece.boxes(places))], [piece], piece.size)


def test_content_is_seen_where_the_condition_says():
    """A dot that moves 12 pixels to the right and 5 down leaves a line of that shape, centred on the dot."""
    light = np.zeros((41, 41, 3), np.float32)
    light[20, 20] = 1
    piece = _piece(light, 12 + 5j, (41, 41))
    rows, columns = np.nonzero(_exposed(piece, 13)[..., 0] > 1e-3)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(20, abs=0.5)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(20, abs=0.5)
    assert np.ptp(columns) == pytest.approx(12, abs=1.1) and np.ptp(rows) == pytest.approx(5, abs=1.1)
    assert np.corrcoef(rows, columns)[0, 1] > 0.85
    first, last = piece.places(np.array([-0.5, 0.5]))
    # At the end of the exposure the dot is to the right of and below where it was at its start.
    ends = [np.linalg.solve(place[:, :2], (20, 20) - place[:, 2]) for place in (first, last)]
    assert ends[1] - ends[0] == pytest.approx([12, 5])


def test_as_many_samples_as_the_path_has_pixels():
    parts = np.linspace(-0.5, 0.5, 13)
    still = (np.ones((1, 13), complex), np.zeros((1, 13), complex))
    moved = (np.ones((1, 13), complex), (6 + 8j) * parts[None] * 0.99)
    turned = (np.exp(0.1j * parts)[None], np.zeros((1, 13), complex))
    assert samples_needed([still], (60, 80)) == [1]
    assert samples_needed([moved], (60, 80)) == [10]
    # A corner is 50 pixels from the centre.
    assert samples_needed([turned], (60, 80)) == [5]
    assert samples_needed([still, turned, moved], (60, 80)) == [10]


def test_bright_parts_draw_streaks():
    """A lamp of three times the sensor's limit leaves a streak three times as bright; a lamp that is cut off
    before averaging would not."""
    light = np.full((31, 41, 3), 0.05, np.float32)
    light[13:18, 18:23] = 0.9
    plain = _exposed(_piece(light, 20 + 0j, (31, 41)), 20)
    raised = _exposed(_piece(bright_parts_raised(light, 3.0), 20 + 0j, (31, 41)), 20)
    assert plain[15, 16, 0] == pytest.approx(0.05 + 0.85 * 5 / 20, abs=0.02)
    assert raised[15, 16, 0] == pytest.approx(0.05 + 2.65 * 5 / 20, abs=0.04)
    assert np.array_equal(raised[2], plain[2])
    standing = _exposed(_piece(bright_parts_raised(light, 3.0), 1e-9 + 0j, (31, 41)), 1)
    assert standing[15, 20, 0] > 2.5
    table = tone_table(SILENT)
    assert develop(demosaic(to_raw(standing[:30, :40], SILENT)), table)[15, 20].tolist() == [255, 255, 255]
    streaks = [
        develop(demosaic(to_raw(part[:30, :40], SILENT)), table)[15, 16, 1] for part in (plain, raised)
    ]
    assert int(streaks[1]) > int(streaks[0]) + 60


def test_only_bright_parts_are_raised():
    levels = np.array([0.0, 0.2, BRIGHT[0], 0.65, BRIGHT[1], 1.0], np.float32)
    light = np.repeat(levels[None, :, None], 3, axis=2)
    raised = bright_parts_raised(light, 2.0)[0, :, 0]
    assert raised == pytest.approx([0.0, 0.2, 0.5, 0.65 * 1.5, 1.6, 2.0], abs=1e-5)
    assert bright_parts_raised(light, 1.0) is light


@pytest.mark.parametrize("shot, read", [(2e-3, 5e-3), (2e-3, 5e-5), (2e-5, 5e-3), (2e-5, 5e-5)])
def test_noise_has_the_level_of_the_formula(shot, read):
    """variance = shot * raw + read^2, without a change of the mean, for few electrons as for many."""
    camera = Pipeline(shot, read, 1.7, 1.4, 2.2, 1.0)
    for index, level in enumerate((0.0, 0.4 * shot, 5 * shot, 30 * shot, 0.3, 1.0)):
        noisy = add_noise(np.full((300, 400), level, np.float32), camera, np.random.default_rng(index))
        deviation = math.sqrt(shot * level + read**2)
        assert noisy.std() == pytest.approx(deviation, rel=0.02)
        assert noisy.mean() == pytest.approx(level, abs=5 * deviation / math.sqrt(noisy.size) + 1e-7)


def test_few_electrons_are_counted():
    """Without read noise dark values are whole electrons, with the Poisson distribution's share of none."""
    camera = Pipeline(1e-3, 0.0, 1.7, 1.4, 2.2, 1.0)
    noisy = add_noise(np.full((200, 200), 2e-3, np.float32), camera, np.random.default_rng(0)) / 1e-3
    assert np.abs(noisy - noisy.round()).max() < 1e-3
    assert (noisy.round() == 0).mean() == pytest.approx(math.exp(-2), abs=0.01)


def test_noise_is_drawn_over_two_decades():
    rng = np.random.default_rng(0)
    cameras = [draw_pipeline(rng) for _ in range(1000)]
    for bounds, values in ((SHOT, [c.shot for c in cameras]), (READ, [c.read for c in cameras])):
        assert bounds[1] / bounds[0] == pytest.approx(100)
        assert min(values) >= bounds[0] and max(values) <= bounds[1]
        assert np.median(values) == pytest.approx(math.sqrt(bounds[0] * bounds[1]), rel=0.25)
    gammas = [camera.gamma for camera in cameras]
    assert 2.0 <= min(gammas) < 2.05 and 2.35 < max(gammas) <= 2.4


def test_pipeline_keeps_an_even_colour():
    """Mosaic, demosaicing, white balance there and back: only the tone curve remains."""
    light = np.broadcast_to(np.float32([0.3, 0.05, 0.6]), (20, 24, 3))
    expected = 255 * np.array([0.3, 0.05, 0.6]) ** (1 / 2.2)
    shown = develop(demosaic(to_raw(light, SILENT)), tone_table(SILENT))
    assert np.abs(shown[2:-2, 2:-2] - expected).max() < 1.1
    direct = develop(converted(sensed(light, SILENT)), tone_table(SILENT))
    assert np.abs(direct - expected).max() < 1.1
    white = develop(demosaic(to_raw(np.full((8, 8, 3), 5, np.float32), SILENT)), tone_table(SILENT))
    assert (white == 255).all()


def test_mosaic_and_demosaicing_fit_together():
    """Red at the top left: a wrong phase would swap the colours or tear edges."""
    light = (cv2.GaussianBlur(_texture(1), (0, 0), 2.0) / 255.0).astype(np.float32) ** 2.2
    table = tone_table(SILENT)
    again = develop(demosaic(to_raw(light, SILENT)), table)[4:-4, 4:-4]
    assert psnr(again, develop(converted(sensed(light, SILENT)), table)[4:-4, 4:-4]) > 38
    raw = to_raw(np.broadcast_to(np.float32([0.8, 0.5, 0.2]), (4, 4, 3)), SILENT)
    assert raw[0, 0] == pytest.approx(0.8 / 1.7) and raw[1, 1] == pytest.approx(0.2 / 1.4)
    assert raw[0, 1] == raw[1, 0] == 0.5


def test_contrast_turns_about_the_middle():
    table, plain = (
        tone_table(Pipeline(1e-9, 0, 1, 1, 2.2, 1.2)),
        tone_table(Pipeline(1e-9, 0, 1, 1, 2.2, 1.0)),
    )
    expected = np.clip(127.5 + 1.2 * (plain[1].astype(float) - 127.5), 0, 255)
    assert np.abs(table[1] - expected).max() <= 1.2


def test_compression_is_applied_to_a_third_of_the_clips():
    frames = np.stack([cv2.GaussianBlur(_texture(seed, 64, 64), (0, 0), 1.0) for seed in range(2)])
    results = [compressed(frames, np.random.default_rng(seed)) for seed in range(90)]
    changed = [result for result in results if not np.array_equal(result, frames)]
    assert 18 <= len(changed) <= 42
    figures = [psnr(result[0], frames[0]) for result in changed]
    assert 15 < min(figures) and max(figures) < 50


def test_jpeg_and_h264():
    picture = cv2.GaussianBlur(_texture(2, 96, 96), (0, 0), 1.5)
    good, bad = jpeg(picture, 95), jpeg(picture, 40)
    assert good.shape == picture.shape and psnr(good, picture) > psnr(bad, picture) + 3 > 23
    # Nearly grey: H.264 keeps colours at half resolution, whatever the rate.
    grey = (0.9 * picture.mean(2, keepdims=True) + 0.1 * picture).astype(np.uint8)
    frames = np.stack([grey, np.roll(grey, 3, axis=1), np.roll(grey, 6, axis=1)])
    fine, coarse = h264(frames, 18), h264(frames, 34)
    assert fine.shape == frames.shape and fine.dtype == np.uint8
    assert psnr(fine[2], frames[2]) > psnr(coarse[2], frames[2]) + 2
    # Frames in order, colours in place.
    assert psnr(fine[2], frames[2]) > psnr(fine[0], frames[2]) + 2
    assert np.array_equal(fine, h264(frames, 18))


def test_outline_is_soft_and_inside():
    for seed in range(5):
        alpha = soft_outline(60, 2.0, np.random.default_rng(seed))
        assert alpha.max() > 0.95 and not alpha[[0, -1]].any() and not alpha[:, [0, -1]].any()
        assert 0.1 < alpha.mean() < 0.6
        assert np.abs(np.diff(alpha, axis=0)).max() < 0.35


@pytest.fixture(scope="module")
def pictures() -> list[Still]:
    return [Still(_texture(seed)) for seed in range(3)]


def test_picture_in_several_sizes():
    picture = Still(_texture(0, 480, 1920))
    assert picture.size == (240, 960)
    assert [level.shape[0] for level in picture.levels] == [240, 170, 120]
    level, scale = picture.reduced(1.0, 1.05)
    assert level.shape[0] == 240 and scale == 1.0
    level, scale = picture.reduced(1.6, 1.05)
    assert level.shape[0] == 170 and scale == pytest.approx(1.6 / 2**0.5)
    level, scale = picture.reduced(9.0, 1.05)
    assert level.shape[0] == 120 and scale == pytest.approx(4.5)


def test_clip_depends_on_the_stream_alone(pictures):
    one, two, other = (render_real(pictures, 3, 48, 64, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert one.blurry.shape == one.sharp.shape == (3, 48, 64, 3) and one.blurry.dtype == np.uint8
    assert np.array_equal(one.blurry, two.blurry) and np.array_equal(one.sharp, two.sharp)
    for frame in range(3):
        condition = one.condition(frame)
        assert condition.shape == (3, 48, 64) and condition.dtype == np.float32
        assert np.array_equal(condition, two.condition(frame))
        norms = np.hypot(condition[0], condition[1])
        assert np.allclose(norms[norms > 0], 1, atol=1e-4) and np.isfinite(condition).all()
    assert not np.array_equal(one.sharp, other.sharp)


def test_a_recorded_target_is_as_soft_as_what_is_recorded(pictures):
    """Of what hardly moves, the recorded picture differs by noise alone; the scene is sharper than both."""
    scene, camera = [], []
    for seed in range(8):
        clips = [
            render_real(
                pictures, 1, 64, 64, np.random.default_rng(seed), lengths=(0.5, 0.6), sharp_as=sharp_as
            )
            for sharp_as in ("scene", "camera")
        ]
        assert np.array_equal(clips[0].blurry, clips[1].blurry)
        assert np.array_equal(clips[0].condition(0), clips[1].condition(0))
        for clip, near in zip(clips, (scene, camera)):
            near.append(psnr(clip.blurry[0], clip.sharp[0]))
    assert all(recorded > original for recorded, original in zip(camera, scene))
    assert np.median(camera) > np.median(scene) + 1


def test_clips_can_be_means_of_encoded_pictures(pictures, monkeypatch):
    """Of what does not move, the frame is the picture with little noise. Of what moves it is the mean of the pictures,
    where light averages to more."""
    monkeypatch.setattr(real, "compressed", lambda frames, rng: frames)

    def clips(stills, lengths, share):
        for seed in range(8):
            yield render_real(
                stills, 1, 64, 64, np.random.default_rng(seed), lengths=lengths, encoded_share=share
            )

    for clip in clips(pictures, (0.01, 0.02), 1.0):
        difference = clip.blurry[0].astype(float) - clip.sharp[0]
        assert 0.1 < np.abs(difference).mean() < 0.01 * 255 and abs(difference.mean()) < 0.1
    stripes = np.uint8([0, 255]).repeat(20)[None, :, None]
    black_and_white = [Still(np.tile(stripes, (200, 8, 3)))]
    gained = {
        share: np.median([c.blurry.mean() - c.sharp.mean() for c in clips(black_and_white, (40, 41), share)])
        for share in (0.0, 1.0)
    }
    assert gained[0.0] > 20 and abs(gained[1.0]) < 10


def test_more_blur_is_farther_from_the_target(pictures):
    """With the same look and noise; and what hardly moves is near its target."""
    near, far = [], []
    for seed in range(12):
        still = render_real(pictures, 1, 64, 64, np.random.default_rng(seed), lengths=(0.5, 0.6))
        moved = render_real(pictures, 1, 64, 64, np.random.default_rng(seed), lengths=(20.0, 40.0))
        near.append(psnr(still.blurry[0], still.sharp[0]))
        far.append(psnr(moved.blurry[0], moved.sharp[0]))
    assert np.median(near) > np.median(far) + 6


def test_lengths_scale_with_the_frame(pictures):
    means = [
        np.mean(
            [
                np.median(
                    render_real(pictures, 2, 32, 32, np.random.default_rng(seed), width).condition(1)[2]
                )
                for seed in range(12)
            ]
        )
        for width in (640.0, 160.0)
    ]
    assert means[0] == pytest.approx(4 * means[1], rel=0.35)


def test_objects_move_on_their_own(pictures, monkeypatch):
    monkeypatch.setattr(real, "OBJECTS", (0.0, 0.0, 0.0, 1.0))
    separate = 0
    for seed in range(6):
        condition = render_real(pictures, 1, 64, 64, np.random.default_rng(seed)).condition(0)
        # The background's lengths change slowly; an object's outline is a step.
        separate += np.abs(np.diff(condition[2], axis=1)).max() > 0.3
    assert separate >= 4


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _command(content: Path, out: Path, *more: str) -> list[str]:
    command = [
        "make",
        "--preset",
        "real",
        "--clips",
        "2",
        "--frames",
        "5",
        "--size",
        "80",
        "64",
        "--jobs",
        "1",
    ]
    return [*command, "--content", str(content), "--out", str(out), *more]


def test_data_set_on_disk(tmp_path, monkeypatch, capsys):
    threads, content = cv2.getNumThreads(), tmp_path / "content"
    for seed in range(2):
        write_image(content / f"{seed}.png", _texture(seed))
    for name in ("one", "two"):
        command = _command(content, tmp_path / name, "--frame-width", "320", "--lengths", "8", "40")
        monkeypatch.setattr(sys, "argv", command)
        main()
    assert {k: v for k, v in _files(tmp_path / "one").items() if k != ".lock"} == {
        k: v for k, v in _files(tmp_path / "two").items() if k != ".lock"
    }
    videos = sorted(path.parent.parent.name for path in (tmp_path / "one").glob("*/Blur/RGB"))
    assert len(videos) == 2
    folder = tmp_path / "one" / videos[0]
    for index in range(5):
        name = f"{index:08d}"
        assert read_image(folder / "Blur" / "RGB" / f"{name}.png").shape == (64, 80, 3)
        assert read_image(folder / "Sharp" / "RGB" / f"{name}.png").shape == (64, 80, 3)
        condition = np.load(folder / "Condition" / f"{name}.npy", allow_pickle=False)
        assert condition.shape == (3, 64, 80) and condition.dtype == np.float32
    cv2.setNumThreads(threads)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--moving"], "preset real: without --moving, and with an even width and height"),
        (["--size", "81", "64"], "preset real: without --moving, and with an even width and height"),
        (["--frame-width", "60"], "--frame-width: for preset real, and at least the width of --size"),
        (["--preset", "source", "--frame-width", "640"], "--frame-width: for preset real"),
        (["--lengths", "8", "4"], "--lengths: expected two numbers from 0.5 on, the smaller first"),
    ],
)
def test_wrong_arguments(tmp_path, monkeypatch, capsys, more, message):
    write_image(tmp_path / "content" / "0.png", _texture())
    monkeypatch.setattr(sys, "argv", _command(tmp_path / "content", tmp_path / "out", *more))
    with pytest.raises(SystemExit) as caught:
        run(main)
    shown = capsys.readouterr().err
    assert caught.value.code == 2 and shown.startswith(f"error: {message}") and shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_stills_of_a_video(tmp_path):
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (160, 128))
    for level in range(30):
        writer.write(np.full((128, 160, 3), 8 * level, np.uint8))
    writer.release()
    stills = stills_of(path)
    assert [round(still.levels[0].mean() / 8) for still in stills] == [0, 12, 24]
    write_image(tmp_path / "photo.png", _texture())
    assert len(load_stills(find_content([tmp_path]))) == 4
    path.write_bytes(b"no video")
    with pytest.raises(UserError, match="no frame of the video can be decoded"):
        stills_of(path)
