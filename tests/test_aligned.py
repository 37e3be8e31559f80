"""Borrowing from sharp neighbours: measured kernels, alignment, weights, the walk over a shot."""

import dataclasses

import cv2
import numpy as np
import pytest

from common.metrics import psnr
from common.rendering import alignment, kernels, neighbours
from DeblurringModel.aligned import fusion, targets, warping
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
    found = kernels.kernels_between(kernels.spectra(sharp), kernels.spectra(blurry), noise=0.5)
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


def laid_out(spread):
    """A blurry frame with its sharp neighbour, the measured blur replaced by `spread` (pixels; a number, or for a
    place a wider one)."""
    frame = alignment.prepared(view(texture(), kernel=STROKE))
    laid = alignment.align(frame, view(texture()))
    blocks = np.full(laid.kernels.spread.shape, 2.0, np.float32)
    blocks[...] = spread
    return frame, dataclasses.replace(laid, kernels=dataclasses.replace(laid.kernels, spread=blocks))


def test_guard_leaves_a_blurred_frame_alone():
    frame, laid = laid_out(2.0)
    assert guard(frame, laid, np.ones((HEIGHT, WIDTH), np.float32)).min() > 0.99


def test_guard_takes_nothing_for_a_frame_that_is_hardly_blurred():
    frame, laid = laid_out(0.45)
    assert guard(frame, laid, np.ones((HEIGHT, WIDTH), np.float32)).max() == 0


def test_guard_takes_nothing_where_the_blur_is_far_wider_than_elsewhere():
    frame, laid = laid_out(2.0)
    laid.kernels.spread[2, 2] = 12.0
    lowered = guard(frame, laid, np.ones((HEIGHT, WIDTH), np.float32))
    assert lowered.min() == 0 and np.median(lowered) > 0.99


def test_guard_lowers_what_is_explained_by_chance():
    """A place in the middle of much that is not explained; the same weight counts in full where all is."""
    frame, laid = laid_out(2.0)
    speck = np.zeros((HEIGHT, WIDTH), np.float32)
    speck[80:84, 100:104] = 1
    assert guard(frame, laid, speck).max() < 0.3


def test_what_is_explained_by_chance_is_not_offered():
    """Two pictures that have nothing in common: here and there they fit all the same."""
    frame, neighbour = view(texture(3), kernel=STROKE, noise=1), view(texture(), 3.0, 1.0, noise=1, seed=1)
    prepared = alignment.prepared(frame)
    trusted, _ = alignment.trust(prepared, alignment.align(prepared, neighbour))
    assert trusted.max() > 0.4
    assert offered(frame, neighbour).weight.max() < 0.15


def filmed(camera, place, things, scene=None, frames=6, shutter=0.7, noise=1.0):
    """(blurry frame, sharp frame, around the object) of each moment.

    A camera at camera(t) films `scene` (by default the texture), and in front of it the object things(t) at place(t).
    """
    scene, made = texture() if scene is None else scene, []

    def moment(t):
        light = (view(scene, *camera(t)).astype(np.float32) / 255) ** 2.2
        own = (things(t).astype(np.float32) / 255) ** 2.2
        where = np.float32([[1, 0, place(t)[0]], [0, 1, place(t)[1]]])
        alpha = cv2.warpAffine(np.ones(own.shape[:2], np.float32), where, (WIDTH, HEIGHT))
        own = cv2.warpAffine(own, where, (WIDTH, HEIGHT))
        return light * (1 - alpha[..., None]) + own * alpha[..., None], alpha

    def recorded(light):
        return (255 * light.clip(0, 1) ** (1 / 2.2)).clip(0, 255)

    for t in range(frames):
        parts = np.linspace(-shutter / 2, shutter / 2, 15)
        blurry = recorded(np.mean([moment(t + part)[0] for part in parts], axis=0))
        blurry += noise * np.random.default_rng(t).normal(size=blurry.shape)
        sharp, alpha = moment(t)
        around = cv2.dilate((alpha > 0.1).astype(np.uint8), np.ones((13, 13))) > 0
        made.append((alignment.to_bytes(blurry), alignment.to_bytes(recorded(sharp)), around))
    return made


def resting(t):
    """A way that rests at every third frame and is fast between."""
    return t + 2.7 * np.sin(2 * np.pi * t / 3) / (2 * np.pi)


THING, OTHER = texture(5)[:50, :60], texture(6)[:50, :60]


def changing(t):
    share = 0.5 + 0.5 * np.cos(t)
    return (THING * share + OTHER * (1 - share)).astype(np.uint8)


@pytest.mark.parametrize("things", [lambda t: THING, changing], ids=["steady", "changing"])
def test_an_object_that_moves_by_itself_is_not_made_worse(things):
    """The camera moves as well: the scene is borrowed, the object stays what it is or becomes better."""
    made = filmed(
        lambda t: (5 * resting(t), 2 * resting(t)), lambda t: (60 + 9 * np.sin(1.3 * t), 50 + 6 * t), things
    )
    gains = []
    for (blurry, sharp, around), borrowed in zip(made, walked([blurry for blurry, *_ in made])):
        result = fused(blurry, borrowed)
        gains.append(psnr(result, sharp) - psnr(blurry, sharp))
        here = [picture[around][None] for picture in (result, blurry, sharp)]
        assert psnr(here[0], here[2]) > psnr(here[1], here[2]) - 0.3
    assert min(gains) > -0.1 and max(gains) > 3


@pytest.mark.parametrize("things", [lambda t: THING, changing], ids=["steady", "changing"])
def test_a_still_camera_with_a_moving_object_changes_nothing_for_the_worse(things):
    made = filmed(lambda t: (0, 0), lambda t: (60 + 8 * resting(t), 50), things)
    for (blurry, sharp, _), borrowed in zip(made, walked([blurry for blurry, *_ in made])):
        assert psnr(fused(blurry, borrowed), sharp) > psnr(blurry, sharp) - 0.02


def test_an_object_before_a_smooth_wall_is_not_made_worse():
    """The object alone makes frames sharper than others, so that there are sharper ones to borrow from."""
    wall = cv2.GaussianBlur(texture(), (0, 0), 6)
    made = filmed(lambda t: (0, 0), lambda t: (60 + 8 * resting(t), 50), changing, wall)
    blurry = [frame for frame, *_ in made]
    energies = dict(enumerate(map(neighbours.edge_energy, blurry)))
    assert any(neighbours.candidates(position, energies, 6) for position in energies)
    for (frame, sharp, around), borrowed in zip(made, walked(blurry)):
        here = [picture[around][None] for picture in (fused(frame, borrowed), frame, sharp)]
        assert psnr(here[0], here[2]) > psnr(here[1], here[2]) - 0.1


def test_a_network_looks_at_what_was_borrowed_once_more():
    frame, picture, restored, again = (np.full((40, 80, 3), grey, np.uint8) for grey in (100, 60, 120, 80))
    weight = np.full((40, 80), 255, np.uint8)
    weight[:, 40:] = 51
    share = weight[..., None] / 255
    over = alignment.to_bytes(share * picture + (1 - share) * frame)
    fused = fusion.fuse(frame, over, weight, restored, again)
    # Of the change from 60 to 80, SECOND_LOOK times the weight; the rest is the network's 120.
    assert (fused[:, :20] == round(60 + fusion.SECOND_LOOK * 20)).all()
    assert (fused[:, 60:] == round(0.2 * (60 + fusion.SECOND_LOOK * 20) + 0.8 * 120)).all()


def test_less_is_borrowed_where_the_network_is_as_near():
    """A half-trusted picture counts in full beside a blurry result, and hardly beside one that is as good."""
    sharp, blurry = view(texture()), view(texture(), kernel=STROKE)
    off = np.random.default_rng(2).normal(size=sharp.shape[:2]).astype(np.float32)
    off = cv2.GaussianBlur(off, (0, 0), 3.0)
    borrowed = alignment.to_bytes(sharp + (off / off.std() * 5)[..., None])
    weight = np.full(sharp.shape[:2], 0.7, np.float32)
    over = alignment.to_bytes(weight[..., None] * borrowed + (1 - weight[..., None]) * blurry)
    left = {
        name: fusion.still_gained(blurry, over, weight, result).mean()
        for name, result in (("blurry", blurry), ("sharp", sharp))
    }
    assert left["blurry"] > 0.95 and left["sharp"] < 0.4
    small = (weight * 255).round().astype(np.uint8)
    fused = fusion.fuse(blurry, over, small, sharp, None)
    plain = alignment.to_bytes(over + (1 - weight[..., None]) * (sharp.astype(np.float32) - blurry))
    assert psnr(fused, sharp) > psnr(plain, sharp) + 2


def test_where_nothing_is_borrowed_the_networks_result_is_unchanged():
    frame, restored = view(texture()), view(texture(1))
    nothing = np.zeros(frame.shape[:2], np.uint8)
    assert np.array_equal(fusion.fuse(frame, frame, nothing, restored, None), restored)
    assert np.array_equal(fusion.fuse(frame, frame, nothing, restored, restored), restored)
