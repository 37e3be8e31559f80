"""Borrowing from sharp neighbours: measured kernels, alignment, weights, the walk over a shot."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from common.metrics import psnr
from common.rendering import alignment, kernels, neighbours
from DeblurringModel.aligned import targets, warping
from DeblurringModel.aligned.guard import guard

HEIGHT, WIDTH = 160, 208
STROKE = np.eye(11, dtype=np.float32) / 11


def texture(seed=0, height=HEIGHT + 80, width=WIDTH + 80):
    """A picture with detail of every size, uint8 RGB."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128, np.float32)
    for size in (1.5, 4, 10, 30):
        waves = cv2.GaussianBlur(rng.normal(size=(height, width, 3)).astype(np.float32), (0, 0), size)
        picture += waves / waves.std() * 22
    return picture.clip(5, 250).round().astype(np.uint8)


def view(picture, x=0.0, y=0.0, kernel=None, noise=0.0, seed=0):
    """What a camera moved by (x, y) pixels sees of `picture`, through a shutter that `kernel` describes."""
    light = (picture.astype(np.float32) / 255) ** 2.2
    if kernel is not None:
        light = cv2.filter2D(light, -1, kernel)
    moved = cv2.warpAffine(
        light, np.float32([[1, 0, -40 - x], [0, 1, -40 - y]]), (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC
    )
    grey = 255 * moved.clip(0, 1) ** (1 / 2.2)
    grey = grey + noise * np.random.default_rng(seed).normal(size=grey.shape)
    return grey.clip(0, 255).round().astype(np.uint8)


def offered(frame, neighbour):
    return warping.offer(alignment.prepared(frame), neighbour)


def fused(frame, borrowed):
    weight = borrowed.weight[..., None]
    return alignment.to_bytes(frame * (1 - weight) + borrowed.picture * weight)


def walked(frames, reach=6):
    return [
        borrowed for _, borrowed in targets.borrow(frames.__getitem__, len(frames), range(len(frames)), reach)
    ]


def test_blocks_make_the_picture_again():
    for height, width in ((160, 208), (96, 97), (145, 190)):
        picture = np.random.default_rng(1).uniform(0, 255, (height, width)).astype(np.float32)
        blocks = kernels.cut(picture)
        assert blocks.shape[:2] == kernels.shape(height, width)
        assert np.abs(kernels.paste(blocks, height, width) - picture).max() < 1e-3


def test_a_known_kernel_is_found():
    stroke = np.zeros((31, 31), np.float32)
    # Nine pixels along a diagonal, their middle two to the right of the centre and one below.
    for step in range(-4, 5):
        stroke[16 + step, 17 + step] = 1 / 9
    sharp = alignment.to_grey(view(texture()))
    blurry = cv2.filter2D(sharp, -1, cv2.flip(stroke, -1), borderType=cv2.BORDER_REFLECT_101)
    found = kernels.measure(kernels.spectra(sharp), kernels.spectra(blurry), noise=0.5)
    # The blocks that lie inside the picture.
    inner = np.s_[1:3, 1:4]
    assert found.values.sum((2, 3)) == pytest.approx(1, abs=1e-4)
    assert found.centre[inner] == pytest.approx(
        np.broadcast_to([2.0, 1.0], (*found.spread[inner].shape, 2)), abs=0.3
    )
    assert found.spread[inner] == pytest.approx(np.sqrt(2 * np.mean(np.arange(-4, 5) ** 2)), rel=0.08)
    likeness = (found.values[inner] * stroke).sum((2, 3)) / np.linalg.norm(stroke)
    assert (likeness / np.linalg.norm(found.values[inner], axis=(2, 3)) > 0.7).all()
    # Blurred by it, without its shift, the sharp picture is the blurry one moved back.
    again = kernels.blur(sharp, found)
    back = cv2.warpAffine(blurry, np.float32([[1, 0, -2], [0, 1, -1]]), (WIDTH, HEIGHT))
    assert np.abs(again - back)[24:-24, 24:-24].mean() < 1.5


def test_the_noise_of_a_picture_is_found():
    picture = alignment.to_grey(view(texture()))
    noisy = picture + 4 * np.random.default_rng(0).normal(size=picture.shape).astype(np.float32)
    assert kernels.noise_level(noisy) == pytest.approx(4, rel=0.2)


def test_a_neighbour_seen_elsewhere_gives_the_known_picture():
    scene = texture()
    frame, known = view(scene, kernel=STROKE, noise=1), view(scene)
    given = offered(frame, view(scene, 7.3, -4.6, noise=1, seed=1))
    inner = np.s_[16:-16, 16:-16]
    assert psnr(frame[inner], known[inner]) < 24
    assert psnr(alignment.to_bytes(given.picture)[inner], known[inner]) > 31
    assert given.weight[inner].mean() > 0.9
    # Beyond the neighbour's border there is nothing to borrow.
    assert given.weight[:, :5].max() == 0 and given.weight[-2:].max() == 0


def test_nothing_is_borrowed_where_something_stands_in_front():
    scene, neighbour = texture(), view(texture(), 5.0, 2.0)
    neighbour[50:110, 70:140] = texture(5)[:60, :70]
    given = offered(view(scene, kernel=STROKE), neighbour)
    # What stands in front in the neighbour is this much to the right and below in the frame.
    assert given.weight[58:106, 81:139].mean() < 0.03
    assert given.weight[20:40, 20:180].mean() > 0.8
    borrowed = warping.blend(view(scene, kernel=STROKE), [given])
    hidden = np.s_[58:106, 81:139]
    before = psnr(view(scene, kernel=STROKE)[hidden], view(scene)[hidden])
    assert psnr(fused(view(scene, kernel=STROKE), borrowed)[hidden], view(scene)[hidden]) > before - 0.1


def test_a_step_in_brightness_is_matched():
    scene = texture()
    frame = view(scene, kernel=STROKE)
    # Three quarters of the light.
    darker = alignment.to_bytes(view(scene, 3.0, 1.0) * 0.75 ** (1 / 2.2))
    given = offered(frame, darker)
    inner = np.s_[16:-16, 16:-16]
    assert abs(given.picture[inner].mean() - view(scene)[inner].mean()) < 1
    assert given.weight[inner].mean() > 0.8
    assert psnr(alignment.to_bytes(given.picture)[inner], view(scene)[inner]) > 30


def test_identical_frames_change_nothing():
    frame = view(texture(), kernel=STROKE)
    for borrowed in walked([frame] * 5):
        assert np.array_equal(borrowed.picture, frame) and borrowed.weight.max() == 0
        assert (borrowed.source == -1).all()


def test_a_clip_without_sharp_moments_changes_nothing():
    scene = texture()
    frames = [view(scene, 4.0 * index, kernel=STROKE, noise=1.5, seed=index) for index in range(5)]
    for frame, borrowed in zip(frames, walked(frames)):
        assert np.array_equal(fused(frame, borrowed), frame)


def test_pure_noise_changes_nothing():
    rng = np.random.default_rng(3)
    frames = [rng.normal(128, 10, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8) for _ in range(4)]
    for frame, borrowed in zip(frames, walked(frames)):
        assert np.array_equal(fused(frame, borrowed), frame)


def test_frames_without_room_for_a_block_change_nothing():
    frames = [view(texture(), kernel=STROKE)[:40], view(texture())[:40]]
    assert all(borrowed.weight.max() == 0 for borrowed in walked(frames))


def test_a_shot_borrows_from_its_sharp_frame():
    scene = texture()
    frames = [
        view(scene, 5.0 * index, kernel=None if index == 2 else STROKE, noise=1, seed=index)
        for index in range(5)
    ]
    for index, (frame, borrowed) in enumerate(zip(frames, walked(frames))):
        if index == 2:
            assert borrowed.weight.max() == 0
            continue
        known = view(scene, 5.0 * index)
        assert set(np.unique(borrowed.source)) == {-1, 2}
        assert psnr(fused(frame, borrowed), known) > psnr(frame, known) + 5


def test_the_walk_reads_every_frame_once_and_depends_on_no_other():
    scene = texture()
    frames = [view(scene, 3.0 * index, kernel=None if index == 4 else STROKE) for index in range(9)]
    read = []

    def reading(position):
        read.append(position)
        return frames[position]

    every = dict(targets.borrow(reading, 9, range(9), 2))
    assert read == list(range(9))
    assert [position for position, borrowed in every.items() if borrowed.weight.max() > 0] == [2, 3, 5, 6]
    read.clear()
    ((position, alone),) = targets.borrow(reading, 9, [6], 2)
    assert position == 6 and read == [4, 5, 6, 7, 8]
    assert np.array_equal(alone.picture, every[6].picture) and np.array_equal(alone.weight, every[6].weight)


def test_candidates_are_the_sharper_frames_within_reach():
    energies = {0: 9.0, 1: 1.04, 2: 5.0, 3: 1.0, 4: 3.0, 5: 4.0, 6: 6.0, 9: 100.0}
    assert neighbours.candidates(3, energies, 3) == [0, 6, 2]
    assert neighbours.candidates(3, energies | {4: 30.0, 2: 1.5}, 3) == [4, 0, 6]
    assert neighbours.candidates(3, energies | {4: 3.0, 2: 1.5}, 3) == [0, 6, 5, 4]
    assert neighbours.candidates(3, energies, 1) == [2, 4]
    assert neighbours.candidates(9, energies, 6) == []


def test_another_flow_can_be_passed():
    scene = texture()
    motion = np.float32([-6.0, 3.0])

    def known(first, second):
        still = kernels.noise_level(first - second) < 0.1
        assert first.shape == second.shape == (HEIGHT, WIDTH) and not still
        return np.broadcast_to(known.answers.pop(0), (HEIGHT, WIDTH, 2)).astype(np.float32)

    known.answers = [motion, -motion]
    none = lambda first, second: np.zeros((HEIGHT, WIDTH, 2), np.float32)  # noqa: E731
    given = warping.offer(alignment.prepared(view(scene, kernel=STROKE)), view(scene, 6.0, -3.0), known, none)
    inner = np.s_[16:-16, 16:-16]
    assert psnr(alignment.to_bytes(given.picture)[inner], view(scene)[inner]) > 35


def guarded(frame, neighbour, **changed):
    """(what `trust` says, what is left of it) with the measured kernels' fields changed."""
    prepared = alignment.prepared(frame)
    laid = alignment.align(prepared, neighbour)
    laid = replace(laid, kernels=replace(laid.kernels, **changed))
    weight, _ = alignment.trust(prepared, laid)
    return weight, guard(prepared, laid, weight)


def test_what_is_explained_by_chance_is_not_taken():
    # Two pictures that have nothing in common: here and there they fit all the same.
    frame, neighbour = view(texture(3), kernel=STROKE, noise=1), view(texture(), 3.0, 1.0, noise=1, seed=1)
    assert guarded(frame, neighbour)[0].max() > 0.4
    assert offered(frame, neighbour).weight.max() < 0.15


def test_a_blur_far_wider_than_the_frames_is_not_trusted():
    scene = texture()
    frame, neighbour = view(scene, kernel=STROKE, noise=1), view(scene, 3.0, 1.0, noise=1, seed=1)
    usual = np.median(alignment.align(alignment.prepared(frame), neighbour).kernels.spread)
    spread = np.full(kernels.shape(HEIGHT, WIDTH), usual)
    spread[1, 1] = 2.2 * (usual + 1)
    trusted, left = guarded(frame, neighbour, spread=spread)
    middle = np.s_[46:51, 46:51]
    assert trusted[middle].min() > 0.8 and left[middle].max() == 0
    # A block further nothing is lost.
    assert left[96:140, 96:190] == pytest.approx(trusted[96:140, 96:190])


def test_where_no_blur_is_found_nothing_is_taken():
    scene = texture()
    frame, neighbour = view(scene, kernel=STROKE, noise=1), view(scene, 3.0, 1.0, noise=1, seed=1)
    trusted, left = guarded(frame, neighbour, spread=np.zeros(kernels.shape(HEIGHT, WIDTH), np.float32))
    assert trusted.mean() > 0.8 and left.max() == 0


def shot(scene, camera, place, count=6, shutter=0.7):
    """Blurry and sharp frames, and where a small object that moves in front of the scene is in each of them.

    camera, place: time in frames -> x and y, pixels.
    """
    scene, thing = (
        (picture.astype(np.float32) / 255) ** 2.2 for picture in (texture(), texture(5)[:50, :60])
    )

    def moment(time):
        x, y = place(time)
        moved = np.float32([[1, 0, x], [0, 1, y]])
        there = cv2.warpAffine(np.ones((50, 60), np.float32), moved, (WIDTH, HEIGHT))[..., None]
        u, v = camera(time)
        behind = cv2.warpAffine(
            scene, np.float32([[1, 0, -40 - u], [0, 1, -40 - v]]), (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC
        )
        return behind * (1 - there) + cv2.warpAffine(thing, moved, (WIDTH, HEIGHT)) * there, there[..., 0]

    blurry, sharp, where = [], [], []
    for index in range(count):
        moments = [moment(index + part)[0] for part in np.linspace(-0.5, 0.5, 15) * shutter]
        now, there = moment(index)
        noise = np.random.default_rng(index).normal(size=now.shape)
        for light, level, frames in ((np.mean(moments, axis=0), 1.0, blurry), (now, 0.0, sharp)):
            grey = 255 * light.clip(0, 1) ** (1 / 2.2) + level * noise
            frames.append(grey.clip(0, 255).round().astype(np.uint8))
        where.append(cv2.dilate((there > 0.1).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0)
    return blurry, sharp, where


def with_rests(time):
    """Runs on by one a frame on average, and rests every third frame."""
    return time + 0.9 * 3 / (2 * np.pi) * np.sin(2 * np.pi * time / 3)


def gains(blurry, sharp, where):
    """dB that borrowing gains in each frame, whole and where the object is: two rows."""
    found = []
    for frame, known, there, borrowed in zip(blurry, sharp, where, walked(blurry)):
        result = fused(frame, borrowed)
        found.append(
            [
                psnr(result[part][None], known[part][None]) - psnr(frame[part][None], known[part][None])
                for part in (np.ones_like(there), there)
            ]
        )
    return np.array(found).T


def test_an_object_that_moves_by_itself_before_a_moving_camera_loses_nothing():
    whole, inside = gains(
        *shot(
            texture(),
            lambda time: (5 * with_rests(time), 2 * with_rests(time)),
            lambda time: (60 + 9 * np.sin(1.3 * time), 50 + 6 * time),
        )
    )
    assert whole.max() > 3 and whole.min() > -0.1 and inside.min() > -0.1


def test_an_object_that_moves_before_a_still_camera_loses_nothing():
    # Before a smooth wall it is the object alone that makes frames sharper than others.
    wall = cv2.GaussianBlur(texture(), (0, 0), 6)
    whole, inside = gains(*shot(wall, lambda time: (0, 0), lambda time: (60 + 8 * with_rests(time), 50)))
    assert whole.min() > -0.1 and inside.min() > -0.1
