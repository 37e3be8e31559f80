"""Windows made of one sharp frame at another moment of its video, the noise they get, and what stage 3
writes."""

import numpy as np
import pytest
import tiny
from tiny import one_thread  # noqa: F401, a fixture

from BlurringModel.reblurring.moments import (
    blend_still,
    moments,
    moved,
    moving_condition,
    patch_motion,
    poses,
)
from BlurringModel.reblurring.noise import noise_level, with_noise_of, without_noise
from common.checkpoints import load_state, save_checkpoint
from common.errors import UserError
from common.images import read_image, write_image
from common.metrics import psnr
from common.regions_file import read_regions
from common.videos import find_videos
from DeblurringModel.pairs import reblurred_pairs

BOX = (8, 16, 72, 96)


def field(a=0.0, b=0.0, x=0.0, c=0.0, d=0.0, y=0.0) -> np.ndarray:
    return np.array([[a, b, x], [c, d, y]])


def dense(affine: np.ndarray, height: int = 80, width: int = 112) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.tensordot(affine, np.stack([columns, rows, np.ones_like(rows)]), axes=1).astype(np.float32)


def test_moments_have_a_whole_window():
    assert moments({1, 2, 3, 4, 5, 6, 9, 10, 11, 12}) == [3, 4]
    assert moments(range(1, 5)) == []


@pytest.mark.parametrize("affine", [field(), field(x=3.5, y=-2.0), field(0.01, -0.02, 4.0, 0.02, 0.01, -1.0)])
def test_affine_motion_is_recovered(affine):
    np.testing.assert_allclose(patch_motion(dense(affine), BOX), affine, atol=1e-4)


def test_a_passing_object_does_not_matter():
    affine, motion = field(x=5.0, y=1.0), dense(field(x=5.0, y=1.0))
    motion[:, 20:40, 30:60] += 9.0
    np.testing.assert_allclose(patch_motion(motion, BOX), affine, atol=1e-4)


def test_poses_follow_the_motion():
    """Between frames the content moves by the mean of their motions; the middle frame stays."""
    steps = [1.0, 3.0, 5.0, 3.0, 1.0]
    placed = [pose[0, 2] for pose in poses([field(x=step) for step in steps])]
    np.testing.assert_allclose(placed, [-6.0, -4.0, 0.0, 4.0, 6.0])


def test_poses_of_a_rotation_compose():
    turn = field(0.0, -0.05, 2.0, 0.05, 0.0, -1.0)
    first, second, third = poses([turn] * 3)
    step = np.vstack([turn + np.eye(2, 3), [0, 0, 1]])
    np.testing.assert_allclose(third, step)
    np.testing.assert_allclose(first @ step, np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(second, np.eye(3))


def test_content_moves_with_its_pose():
    image = np.zeros((20, 30, 3), np.uint8)
    image[5, 7] = 255
    pose = np.eye(3)
    pose[:2, 2] = 4, 2
    assert moved(image, pose)[7, 11].tolist() == [255] * 3
    assert moved(image, np.eye(3)) is image


def test_condition_of_a_motion():
    magnitude = np.full((80, 112), 6.0, np.float32)
    condition = moving_condition(field(x=3.0, y=-4.0), magnitude)
    assert condition.dtype == np.float32 and condition.shape == (3, 80, 112)
    np.testing.assert_allclose(condition[:, 10, 10], [0.6, -0.8, 6.0], rtol=1e-6)
    assert not moving_condition(field(), magnitude)[:2].any()


def test_what_is_not_blurred_is_kept():
    blurred, still = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    kept = blend_still(blurred, still, np.array([[0.0, 0.5], [1.0, 7.0]]))
    assert kept.dtype == np.uint8 and kept[..., 0].tolist() == [[200, 150], [100, 100]]


def test_noise_is_brought_to_the_level_and_no_further():
    rng = np.random.default_rng(1)
    flat = np.full((128, 128, 3), 120, np.uint8)
    noisy = with_noise_of(flat, 5.0, rng)
    assert noise_level(noisy) == pytest.approx(5.0, rel=0.1)
    assert noise_level(with_noise_of(noisy, 8.0, rng)) == pytest.approx(8.0, rel=0.1)
    assert np.array_equal(with_noise_of(noisy, 2.0, rng), noisy)


def test_noise_is_removed_and_content_kept():
    clean = tiny.texture("noise", 64, 80)
    noisy = np.clip(clean + np.random.default_rng(2).normal(0, 6, clean.shape), 0, 255).astype(np.uint8)
    assert psnr(without_noise(noisy, 6.0), clean) > psnr(noisy, clean) + 2
    assert without_noise(noisy, 0.0) is noisy


# Stages 2 to 4 with each kind of window


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One folder in which stages 1 and 2 have run with everything that the windows need."""
    folder = tmp_path_factory.mktemp("windows")
    config = tiny.make(
        folder, rsdm={"border": 3}, dbcgm={"frames": "all", "motion": True, "adapt_magnitude": False}
    )
    for stage in ("RSDM", "DBCGM"):
        tiny.run(stage, config)
    return folder


@pytest.mark.parametrize(
    "window, copies, moved_keys", [("all", 1, {}), ("moved", 2, {"copies": 2, "blend_still": True})]
)
def test_whole_windows_are_written_and_learned_from(made, window, copies, moved_keys):
    config = tiny.write_config(
        made,
        f"{window}.yaml",
        rsdm={"border": 3},
        dbcgm={"frames": "all", "motion": True, "adapt_magnitude": False},
        blurring={"window": window, "renoise": True, "moved": moved_keys},
    )
    for stage in ("BlurringModel", "DeblurringModel"):
        tiny.run(stage, config, "--overwrite")
    for ori in sorted((made / "out" / "blurring").glob("*/ori/*.png")):
        video, name = ori.parents[1], ori.stem
        windows = sorted((video / "window" / name).iterdir())
        assert [path.name for path in windows] == [str(copy) for copy in range(copies)]
        for made_window in windows:
            pictures = [read_image(made_window / f"{index}.png") for index in range(5)]
            assert len({picture.tobytes() for picture in pictures}) == 5
        assert np.array_equal(read_image(windows[0] / "2.png"), read_image(video / "reblur" / ori.name))
    log = (made / "out" / "deblurring" / "ESTRNN" / "weights" / "log.csv").read_text()
    assert log.count("\n") > 1


def test_a_clean_target_is_the_patch_without_noise(tmp_path):
    config = tiny.make(
        tmp_path,
        rsdm={"border": 3},
        dbcgm={"frames": "all", "motion": True, "adapt_magnitude": False},
        blurring={"window": "moved", "renoise": True, "moved": {"denoise_target": True}},
    )
    rng = np.random.default_rng(0)
    for video in find_videos(tmp_path / "data"):
        for frame in video.frames:
            image = read_image(frame)
            write_image(frame, np.clip(image + 6 * rng.standard_normal(image.shape), 0, 255).astype(np.uint8))
    for stage in ("RSDM", "DBCGM", "BlurringModel"):
        tiny.run(stage, config)
    regions = read_regions(tmp_path / "out" / "rsdm" / "sharp_regions.json", find_videos(tmp_path / "data"))
    pairs = reblurred_pairs(regions, tmp_path / "out" / "blurring")
    assert len(pairs) == len(regions)
    for pair, region in zip(pairs, regions):
        r0, c0, r1, c1 = region.box
        target, original = read_image(pair.target), read_image(region.video.frames[region.position])
        assert noise_level(target[r0:r1, c0:c1]) < 0.7 * noise_level(original[r0:r1, c0:c1])
        assert np.abs(target.astype(int) - original).mean() < 5
        inside = np.zeros(original.shape[:2], bool)
        for other in regions:
            if (other.video, other.position) == (region.video, region.position):
                inside[other.box[0] : other.box[2], other.box[1] : other.box[3]] = True
        assert np.array_equal(target[~inside], original[~inside])


@pytest.mark.parametrize(
    "made_with, window, message",
    [
        ({"frames": "selected"}, "all", "blurring.window: all needs the condition"),
        ({"frames": "all", "motion": False}, "moved", "blurring.window: moved needs five successive"),
    ],
)
def test_what_stage_2_has_not_made_is_named(tmp_path, made_with, window, message):
    """What the configuration asks for now is not what stage 2 was run with."""
    config = tiny.make(tmp_path, dbcgm=made_with)
    for stage in ("RSDM", "DBCGM"):
        tiny.run(stage, config)
    config = tiny.write_config(
        tmp_path,
        rsdm={"border": 3},
        dbcgm={"frames": "all", "motion": True, "adapt_magnitude": False},
        blurring={"window": window},
    )
    with pytest.raises(UserError) as caught:
        tiny.run("BlurringModel", config)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "blurring").exists()


def test_weights_that_predict_the_other_thing_are_refused(tmp_path):
    config = tiny.make(tmp_path)
    for stage in ("RSDM", "DBCGM"):
        tiny.run(stage, config)
    path = tmp_path / "weights" / "id_blau.pth"
    save_checkpoint({"model_state": load_state(path), "prediction": "image"}, path)
    with pytest.raises(
        UserError, match="^blurring.prediction: .* was trained to predict the image, found noise$"
    ):
        tiny.run("BlurringModel", config)
    tiny.run("BlurringModel", config, "--set", "blurring.prediction=image")


def test_weights_that_were_given_the_direction_in_another_way_are_refused(tmp_path):
    config = tiny.make(tmp_path)
    for stage in ("RSDM", "DBCGM"):
        tiny.run(stage, config)
    path = tmp_path / "weights" / "id_blau.pth"
    save_checkpoint({"model_state": load_state(path), "direction": "axis"}, path)
    with pytest.raises(
        UserError, match="^blurring.direction: .* was trained with the direction as axis, found vector$"
    ):
        tiny.run("BlurringModel", config)
    tiny.run("BlurringModel", config, "--set", "blurring.direction=axis")
