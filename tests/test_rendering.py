"""Rendered blur: the condition is the true path, the blurry frame the average along it; a seed fixes all."""

import argparse
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import UserError
from common.images import read_image, write_image
from common.rendering import camera
from common.rendering.camera import Shake, blur_condition, pose_matrix, trajectory
from common.rendering.clips import render_clip
from common.rendering.exposure import Layer, Sensor, expose, to_bytes
from common.rendering.presets import PRESETS, Preset
from common.runtime.entry import run
from scripts.make_synthetic_dataset import find_content, load_content, main, make_clip

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, WIDTH = 40, 56
CENTRE = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
CLEAN = Sensor((1.0, 1.0), 11, True, 1.0, 0.0, 0.0)
STILL = Shake(0.0, 0.5, (0.1, 0.2), (0.0, 1.0), 0.0, 0.0, 0.0, 0.0)


def _matrices(poses: np.ndarray) -> np.ndarray:
    return np.stack([pose_matrix(pose, CENTRE) for pose in poses])


def _condition(poses: np.ndarray, middle: np.ndarray) -> np.ndarray:
    return blur_condition(trajectory(_matrices(poses), pose_matrix(middle, CENTRE), HEIGHT, WIDTH))


def _shift(*points: tuple[float, float]) -> np.ndarray:
    """Poses of a pure translation."""
    return np.array([[x, y, 0.0, 0.0] for x, y in points])


def _on_black(*white: tuple[int, int]) -> Layer:
    colour = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for row, column in white:
        colour[row, column] = 1
    return Layer(colour, None, np.eye(3))


def _exposed(
    layers: list[Layer], poses: list[np.ndarray], sensor: Sensor = CLEAN, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`expose` with the middle pose of each path as the one at mid-exposure."""
    paths = np.stack([_matrices(path) for path in poses])
    return expose(
        layers,
        paths,
        [path[len(path) // 2] for path in paths],
        sensor,
        HEIGHT,
        WIDTH,
        np.random.default_rng(seed),
    )


def test_condition_of_a_translation():
    """Five pixels right and down, then straight down: net (3, 9) over a path of 5 + 5."""
    condition = _condition(_shift((-1, 2), (2, 6), (2, 11)), np.array([0.3, -7.0, 0, 0]))
    assert condition.shape == (3, HEIGHT, WIDTH) and condition.dtype == np.float32
    for plane, value in zip(condition, (3 / 90**0.5, 9 / 90**0.5, 10)):
        np.testing.assert_allclose(plane, value, rtol=1e-5)


def test_direction_is_from_start_to_end():
    forth = _condition(_shift((0, 0), (4, 0)), np.zeros(4))
    back = _condition(_shift((4, 0), (0, 0)), np.zeros(4))
    assert np.array_equal(forth[:, 0, 0], [1, 0, 4])
    assert np.array_equal(back[:, 0, 0], [-1, 0, 4])


def test_there_and_back_has_a_length_but_no_direction():
    condition = _condition(_shift((0, 0), (3, 4), (0, 0)), np.zeros(4))
    assert not condition[:2].any()
    assert (condition[2] == 10).all()


def test_condition_of_a_rotation_about_the_centre():
    """Every pixel runs along an arc of its own radius, at right angles to it."""
    angle, samples = 0.3, 25
    poses = np.zeros((samples, 4))
    poses[:, 2] = np.linspace(-angle / 2, angle / 2, samples)
    condition = _condition(poses, np.zeros(4))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    x, y = x - CENTRE[0], y - CENTRE[1]
    radius = np.hypot(x, y)
    np.testing.assert_allclose(condition[2], angle * radius, rtol=2e-4)
    # A positive angle takes right (1, 0) towards down (0, 1), since y points down.
    np.testing.assert_allclose(condition[0], -y / radius, atol=1e-4)
    np.testing.assert_allclose(condition[1], x / radius, atol=1e-4)


def test_condition_of_a_general_path():
    """Translation, rotation and zoom by complex numbers: z -> c + t + exp(zoom + i angle) (z - c)."""
    rng = np.random.default_rng(1)
    poses = np.cumsum(rng.normal(size=(9, 4)) * [2.0, 2.0, 0.02, 0.01], axis=0)
    centre = complex(*CENTRE)
    shift, spin = poses[:, 0] + 1j * poses[:, 1], np.exp(poses[:, 3] + 1j * poses[:, 2])
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    content = (x + 1j * y - centre - shift[4]) / spin[4]
    path = shift[:, None, None] + spin[:, None, None] * content
    net = path[-1] - path[0]
    condition = _condition(poses, poses[4])
    np.testing.assert_allclose(condition[2], np.abs(np.diff(path, axis=0)).sum(0), rtol=1e-4)
    np.testing.assert_allclose(condition[0] + 1j * condition[1], net / np.abs(net), atol=1e-4)


def test_a_point_becomes_a_streak():
    """Eleven positions one pixel apart: eleven pixels with an eleventh of the light each, no other."""
    poses = _shift(*((x, 0) for x in range(-5, 6)))
    blurry, sharp, condition = _exposed([_on_black((20, 30))], [poses])
    expected = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    expected[20, 25:36] = round(255 / 11)
    assert np.array_equal(blurry, expected)
    assert np.array_equal(sharp, to_bytes(_on_black((20, 30)).colour))
    assert np.array_equal(condition[:, 20, 30], [1, 0, 10])


@pytest.mark.parametrize("direction", [(0.6, 0.8), (-0.8, 0.6), (0.0, -1.0)])
def test_a_spot_is_spread_along_the_condition(direction):
    """Moments of the light: kept energy and centre, a spread with the direction and length of the path."""
    spot = [(row, column) for row in range(18, 22) for column in range(28, 32)]
    poses = _shift(*((direction[0] * s, direction[1] * s) for s in np.linspace(-8, 8, 65)))
    blurry, sharp, condition = _exposed([_on_black(*spot)], [poses], replace(CLEAN, samples=65))
    x_axis, y_axis, length = condition[:, 20, 30]
    np.testing.assert_allclose((x_axis, y_axis, length), (*direction, 16), rtol=1e-5, atol=1e-6)

    def moments(image: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        weight = image[..., 0].astype(float)
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        total = weight.sum()
        mean = np.array([(weight * x).sum(), (weight * y).sum()]) / total
        x, y = x - mean[0], y - mean[1]
        return (
            total,
            mean,
            np.array(
                [
                    [(weight * x * x).sum(), (weight * x * y).sum()],
                    [(weight * x * y).sum(), (weight * y * y).sum()],
                ]
            )
            / total,
        )

    energy, centre, spread = moments(blurry)
    own_energy, own_centre, own_spread = moments(sharp)
    assert energy == pytest.approx(own_energy, rel=0.02)
    np.testing.assert_allclose(centre, own_centre, atol=0.1)
    added = spread - own_spread
    values, vectors = np.linalg.eigh(added)
    # A uniform line of length L has the variance L * L / 12.
    assert (12 * values[1]) ** 0.5 == pytest.approx(length, rel=0.03)
    assert abs(values[0]) < 0.3
    assert abs(vectors[:, 1] @ (x_axis, y_axis)) > 0.9995


def test_no_motion():
    layer = Layer(np.random.default_rng(0).random((HEIGHT, WIDTH, 3), np.float32), None, np.eye(3))
    for sensor in (CLEAN, replace(CLEAN, linear=False, gamma=2.2), replace(CLEAN, gamma=2.2)):
        blurry, sharp, condition = _exposed([layer], [np.zeros((11, 4))], sensor)
        assert not condition.any()
        assert np.abs(blurry.astype(int) - sharp).max() <= 1
        if sensor.gamma == 2.2:
            assert np.abs(sharp / 255 - layer.colour).max() < 0.51 / 255


def test_noise_is_in_the_blurry_frame_only():
    """Standard deviation sqrt(read^2 + shot^2 * value); the sharp frame stays exact."""
    layer = Layer(np.full((HEIGHT, WIDTH, 3), 0.5, np.float32), None, np.eye(3))
    sensor = replace(CLEAN, linear=False, gamma=2.2, read_noise=0.03, shot_noise=0.08)
    blurry, sharp, _ = _exposed([layer], [np.zeros((3, 4))], sensor)
    assert (sharp == 128).all()
    assert blurry.astype(float).std() / 255 == pytest.approx((0.03**2 + 0.08**2 / 2) ** 0.5, rel=0.03)
    assert blurry.astype(float).mean() == pytest.approx(127.5, abs=1)
    assert np.array_equal(blurry, _exposed([layer], [np.zeros((3, 4))], sensor)[0])
    assert not np.array_equal(blurry, _exposed([layer], [np.zeros((3, 4))], sensor, seed=1)[0])


@pytest.mark.parametrize("linear, level", [(True, 255 * 0.5 ** (1 / 2.2)), (False, 127.5)])
def test_light_is_averaged_before_or_after_the_encoding(linear, level):
    """Half the exposure on black, half on white: half the light is 0.73 in a picture with gamma 2.2."""
    colour = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    colour[:, ::2] = 1
    sensor = replace(CLEAN, linear=linear, gamma=2.2)
    blurry, sharp, _ = _exposed([Layer(colour, None, np.eye(3))], [_shift((0, 0), (1, 0))], sensor)
    assert np.abs(blurry.astype(float) - level).max() <= 1
    assert set(np.unique(sharp)) == {0, 255}


def _disc(level: float) -> Layer:
    """A soft disc of radius 8 around (30, 20)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    alpha = np.clip(8.5 - np.hypot(x - 30, y - 20), 0, 1).astype(np.float32)
    return Layer(np.repeat(level * alpha[..., None], 3, axis=2), alpha, np.eye(3))


def test_moving_object_has_its_own_condition():
    background = Layer(np.full((HEIGHT, WIDTH, 3), 0.5, np.float32), None, np.eye(3))
    hand = _shift(*((x, 0) for x in range(-2, 3)))
    moving = _shift(*((0, -2 * y) for y in range(-2, 3)))
    _, sharp, condition = _exposed([background, _disc(0.9)], [hand, moving])
    inside = _disc(0.9).alpha > 0.5
    assert inside.sum() > 150
    assert (condition[:, ~inside] == np.array([[1], [0], [4]])).all()
    assert (condition[:, inside] == np.array([[0], [-1], [8]])).all()
    assert sharp[20, 30, 0] > sharp[20, 5, 0]


@pytest.mark.parametrize("linear", [True, False])
def test_object_of_the_colour_of_the_background_cannot_be_seen(linear):
    """Its soft edge is a mixture of equal light, in whichever way the light is averaged."""
    background = Layer(np.full((HEIGHT, WIDTH, 3), 0.5, np.float32), None, np.eye(3))
    sensor = replace(CLEAN, linear=linear, gamma=2.2)
    paths = [np.zeros((3, 4)), _shift((0, 0), (1.5, 0), (3, 0))]
    for picture in _exposed([background, _disc(0.5)], paths, sensor)[:2]:
        assert np.abs(picture.astype(int) - 127.5).max() <= 1


def test_camera_path_has_the_wanted_speed():
    shake = Shake(7.0, 0.1, (0.08, 0.12), (0.3, 0.3), 0.02, 0.01, 0.5, 0.4)
    path = camera.Path(shake, np.random.default_rng(3), 40)
    times = np.linspace(-2, 42, 44 * 64 + 1)
    speed = np.diff(path(times), axis=0) * 64
    assert np.hypot(speed[:, 0], speed[:, 1]).std() > 1
    assert (speed[:, 0] ** 2 + speed[:, 1] ** 2).mean() ** 0.5 == pytest.approx(7.0, rel=0.01)
    assert (speed[:, 2:] ** 2).mean(0) ** 0.5 == pytest.approx([0.02, 0.01], rel=0.01)
    # Nearly along 0.3 radians, with rests at the turning points.
    main = np.linalg.eigh(speed[:, :2].T @ speed[:, :2])[1][:, 1]
    assert abs(main @ (np.cos(0.3), np.sin(0.3))) > 0.99
    assert (np.hypot(speed[:, 0], speed[:, 1]) < 1e-9).mean() > 0.05
    np.testing.assert_allclose(path(times).mean(0), 0, atol=1e-9)
    assert path.extent() == pytest.approx(np.abs(path(times)[:, :2]).max())
    assert np.array_equal(camera.Path(shake, np.random.default_rng(3), 40)(times), path(times))


def _clip(
    pictures: list[np.ndarray],
    preset: Preset,
    frames: int,
    objects: list[np.ndarray] | None = None,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return list(render_clip(pictures, preset, frames, HEIGHT, WIDTH, rng, objects or ()))


def _photograph(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height // 4, width // 4, 3), np.float32)
    return to_bytes(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def test_clip_without_motion_shows_its_pictures():
    """One per frame: the sharp frame and the blurry one are the picture itself."""
    preset = Preset(STILL, (0.0, 0.0), CLEAN, 0)
    preset = replace(preset, sensor=replace(CLEAN, gamma=2.2))
    pictures = [_photograph(seed) for seed in range(5)]
    for (blurry, sharp, condition), picture in zip(_clip(pictures, preset, 5), pictures, strict=True):
        assert not condition.any()
        assert np.array_equal(sharp, picture)
        assert np.abs(blurry.astype(int) - picture).max() <= 1
    with pytest.raises(ValueError, match="expected 1 or 6 pictures, received 5"):
        _clip(pictures, preset, 6)


def test_clip_is_as_long_as_its_exposure():
    """Half the shutter time, half the path: at constant angle and without rests the condition is uniform."""
    shake = replace(STILL, elongation=0.0, angle=(0.3, 0.3))
    lengths = {}
    for exposure in (0.5, 1.0):
        preset = Preset(shake, (30.0, 30.0), replace(CLEAN, exposure=(exposure, exposure), samples=33), 0)
        frames = _clip([_photograph(0, 120, 160)], preset, 6)
        for blurry, sharp, condition in frames:
            assert np.ptp(condition, axis=(1, 2)).max() < 1e-3
            assert abs(condition[:2, 0, 0] @ (np.cos(0.3), np.sin(0.3))) == pytest.approx(1, abs=1e-5)
        lengths[exposure] = np.array([condition[2, 0, 0] for _, _, condition in frames])
    speed = 30 * WIDTH / 384
    assert 0.3 * speed < (lengths[1.0] ** 2).mean() ** 0.5 < 1.7 * speed
    assert lengths[0.5].sum() == pytest.approx(lengths[1.0].sum() / 2, rel=0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_clips_of_every_preset(name):
    objects = [_photograph(1)] * PRESETS[name].objects
    frames, again = (_clip([_photograph(0, 120, 160)], PRESETS[name], 5, objects) for _ in range(2))
    assert len(frames) == 5
    for blurry, sharp, condition in frames:
        assert blurry.shape == sharp.shape == (HEIGHT, WIDTH, 3) and blurry.dtype == sharp.dtype == np.uint8
        length = np.hypot(condition[0], condition[1])
        assert (np.isclose(length, 1, atol=1e-5) | (length == 0)).all()
        assert condition[2].min() >= 0
    assert all(map(np.array_equal, itertools.chain(*frames), itertools.chain(*again)))


def test_objects_of_a_clip_move_by_themselves():
    """Camera and objects only translate: the background has one condition, the object another."""
    preset = Preset(replace(STILL, elongation=0.5), (20.0, 20.0), CLEAN, 1)
    for _, _, condition in _clip([_photograph(0)], preset, 5, [_photograph(1)]):
        background = condition[:, 0, 0]
        inside = np.abs(condition - background[:, None, None]).max(0) > 1e-3
        assert 0.01 < inside.mean() < 0.4


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("content")
    write_image(folder / "wide.png", _photograph(0, 120, 160))
    write_image(folder / "tall.png", _photograph(1, 160, 100))
    return folder


def _command(content: Path, out: Path, *more: str) -> list[str]:
    return [
        str(ROOT / "scripts" / "make_synthetic_dataset.py"),
        "--preset",
        "source",
        "--clips",
        "2",
        "--frames",
        "5",
        "--size",
        "96",
        "64",
        "--content",
        str(content),
        "--out",
        str(out),
        *more,
    ]


@pytest.fixture(scope="module")
def made(content, tmp_path_factory) -> dict[int, Path]:
    """The same data set made by one and by two processes, at the same time; jobs -> folder."""
    folders = {jobs: tmp_path_factory.mktemp("made") / "set" for jobs in (1, 2)}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, *_command(content, folder, "--jobs", str(jobs))],
            text=True,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for jobs, folder in folders.items()
    ]
    for process in started:
        errors = process.communicate(timeout=600)[1]
        assert process.returncode == 0, errors
    return folders


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_files_do_not_depend_on_the_number_of_processes(made):
    one, two = (_files(made[jobs]) for jobs in (1, 2))
    assert one == two
    first, second = ("wide", "tall") if "0000_wide/Condition/00000000.npy" in one else ("tall", "wide")
    videos = f"0000_{first}", f"0001_{second}"
    assert set(one) == {"dataset.json", "preview.png"} | {
        f"{video}/{name}"
        for video in videos
        for index in range(5)
        for name in (f"Blur/RGB/{index:08d}.png", f"Sharp/RGB/{index:08d}.png", f"Condition/{index:08d}.npy")
    }
    # As many kinds of frames as frames: nothing is the same picture twice.
    assert len({data for name, data in one.items() if "/Blur/" in name}) == 10


def test_interrupted_clip_is_made_again_alike(made, content, tmp_path):
    """And what is complete is left alone; another seed gives another clip."""
    threads = cv2.getNumThreads()
    options = argparse.Namespace(
        preset="source", clips=2, frames=5, size=[96, 64], moving=False, seed=0, jobs=1, out=tmp_path
    )
    whole = {name: data for name, data in _files(made[1]).items() if name.startswith("0001")}
    for name, data in whole.items():
        if "Condition/00000003" not in name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"half" if "Blur/RGB/00000003" in name else data)
    make_clip(1, find_content([content]), options)
    assert _files(tmp_path) == whole
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    row = make_clip(1, find_content([content]), options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == before
    assert np.array_equal(row, read_image(made[1] / "preview.png")[64:])
    options.seed, options.out = 1, tmp_path / "other"
    make_clip(1, find_content([content]), options)
    assert set(_files(options.out).values()).isdisjoint(whole.values())
    cv2.setNumThreads(threads)


def _exit(monkeypatch, capsys, command: list[str]) -> str:
    """The one line that a refused command prints; its exit code has to be 2."""
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and shown.err.startswith("error: ")
    return shown.err


def test_other_settings_are_refused(made, content, monkeypatch, capsys):
    before = _files(made[1])
    for change in (["--seed", "1"], ["--clips", "3"], ["--preset", "target_mid"], ["--size", "96", "96"]):
        text = _exit(monkeypatch, capsys, _command(content, made[1], *change))
        assert f"{made[1]}: holds a data set made with other settings" in text
    assert _files(made[1]) == before


def test_wrong_arguments(content, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    for few in (["--frames", "4"], ["--clips", "0"], ["--size", "96", "63"], ["--jobs", "0"]):
        assert "at least 1 clip, 5 frames" in _exit(monkeypatch, capsys, _command(content, out, *few))
    assert "no such file or folder" in _exit(monkeypatch, capsys, _command(tmp_path / "none", out))
    (tmp_path / "empty").mkdir()
    assert "no image" in _exit(monkeypatch, capsys, _command(tmp_path / "empty", out))
    assert not out.exists()


def test_frames_of_a_video_file_come_in_order(tmp_path):
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for level in range(8):
        writer.write(np.full((48, 64, 3), (0, 0, 30 * level), np.uint8))
    writer.release()
    frames = load_content(path, 5, np.random.default_rng(0))
    levels = [round(frame[..., 0].mean() / 30) for frame in frames]
    assert levels == list(range(levels[0], levels[0] + 5))
    assert max(frame[..., 2].mean() for frame in frames) < 5
    with pytest.raises(UserError, match="8 of the 9 frames from number 0 on can be decoded"):
        load_content(path, 9, np.random.default_rng(0))
