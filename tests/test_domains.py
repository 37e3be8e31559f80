"""The benchmark's domains: what their cameras and hands do that the source's do not."""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import UserError
from common.rendering import camera
from common.rendering.camera import Shake
from common.rendering.clips import render_clip
from common.rendering.exposure import Layer, Sensor, expose
from common.rendering.presets import PRESETS, Preset
from scripts import make_synthetic_dataset
from scripts.evaluation.synthetic.cells import DOMAINS, UNSEEN

CLEAN = Sensor((1.0, 1.0), 11, True, 1.0, 0.0, 0.0)
SHAKE = Shake(1.0, 0.5, (0.1, 0.2), (0.0, 1.0), 0.0, 0.0, 0.0, 0.0)


def photograph() -> np.ndarray:
    """Grey, because H.264 halves the resolution of colours."""
    noise = np.repeat(np.random.default_rng(0).random((12, 16, 1), np.float32), 3, axis=2)
    return (cv2.resize(noise, (128, 96), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


def rendered(sensor: Sensor) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    preset = Preset(SHAKE, (20.0, 20.0), sensor, 0)
    return list(render_clip([photograph()], preset, 5, 48, 64, np.random.default_rng(1)))


def test_a_lamp_draws_a_streak() -> None:
    """Ten pixels of path spread a lamp's light; what was beyond white stays bright."""
    colour = np.zeros((21, 41, 3), np.float32)
    colour[9:12, 20] = 1
    paths = np.stack([np.array([[1, 0, x], [0, 1, 0], [0, 0, 1.0]]) for x in range(-5, 6)])[None]
    streaks = [
        expose(
            [Layer(colour, None, np.eye(3))],
            paths,
            [np.eye(3)],
            replace(CLEAN, raised=(factor, factor)),
            21,
            41,
            np.random.default_rng(0),
        )
        for factor in (1.0, 3.0)
    ]
    (usual, sharp, _), (raised, sharp_raised, _) = streaks
    assert usual[10, 16].max() == round(255 / 11) and raised[10, 16].max() == round(3 * 255 / 11)
    assert np.array_equal(sharp, sharp_raised) and sharp.max() == 255


@pytest.mark.parametrize(("kind", "quality"), [("jpeg", (20, 20)), ("h264", (40, 40))])
def test_the_blurry_clip_is_stored_and_the_sharp_one_is_not(kind: str, quality: tuple[int, int]) -> None:
    plain, stored = rendered(CLEAN), rendered(replace(CLEAN, stored=kind, quality=quality))
    assert len(stored) == 5
    for (blurry, sharp, condition), (kept, same, path) in zip(plain, stored, strict=True):
        assert np.array_equal(sharp, same) and np.array_equal(condition, path)
        assert kept.dtype == np.uint8 and kept.shape == blurry.shape
        assert 1 < np.abs(kept.astype(int) - blurry).mean() < 20


@pytest.mark.parametrize("length", [1.0, 2.0])
def test_rests_are_as_long_as_asked_for(length: float) -> None:
    path = camera.Path(replace(SHAKE, rest_interval=8.0, rest_length=length), np.random.default_rng(3), 160)
    times = np.linspace(0, 160, 160 * 16 + 1)
    speed = np.hypot(*np.diff(path(times)[:, :2], axis=0).T)
    assert (speed < 1e-9).mean() == pytest.approx(length / 8, abs=0.02)


def options(preset: str) -> argparse.Namespace:
    return argparse.Namespace(preset=preset, seed=5, frames=5, moving=False, size=[64, 48])


@pytest.mark.parametrize("name", [*DOMAINS, UNSEEN])
def test_a_domains_clips_differ(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second clip moves by itself, every third never rests."""
    seen = []

    def render(pictures: list[np.ndarray], preset: Preset, *_: object) -> None:
        seen.append((len(pictures), preset.shake.rest_interval > 0, preset.shake.rest > 0))

    monkeypatch.setattr(make_synthetic_dataset, "render_clip", render)
    monkeypatch.setattr(make_synthetic_dataset, "load_content", lambda _, count, __: [photograph()] * count)
    sources = [Path("a.jpg"), Path("b.mp4"), Path("c.jpg")]
    for clip in range(6):
        source = make_synthetic_dataset.content_of(clip, sources, options(name))
        make_synthetic_dataset.preset_frames(
            clip, source, sources, options(name), np.random.default_rng(clip)
        )
    assert [count for count, *_ in seen] == [1, 5] * 3
    assert [rests for _, *rests in seen] == [[True, True], [True, True], [False, False]] * 2


def test_other_presets_clips_stay_what_they_are() -> None:
    assert not any(PRESETS[name].varied for name in PRESETS if name not in (*DOMAINS, UNSEEN))
    sources = [Path("a.jpg"), Path("b.mp4"), Path("c.jpg")]
    order = make_synthetic_dataset.numpy_generator(5, "order").permutation(3)
    chosen = [make_synthetic_dataset.content_of(clip, sources, options("target_mid")) for clip in range(3)]
    assert chosen == [sources[index] for index in order]


def test_an_odd_size_is_refused_for_h264() -> None:
    wrong = argparse.Namespace(
        preset="phone", clips=1, frames=5, size=(65, 64), jobs=1, moving=False, sharp="scene"
    )
    with pytest.raises(UserError, match="phone: needs an even width and height, for H.264"):
        make_synthetic_dataset.check(wrong)
