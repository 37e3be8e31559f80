"""How videos are cut for inference, which rectangles are reblurred, and what fine-tuning reads."""

import itertools
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from BlurringModel.id_blau.diffusion import seeded_draws
from BlurringModel.reblurring.crops import SNAP, Box, context_crop, crop_draws, merge_overlapping
from common.errors import UserError
from common.images import write_image
from common.regions_file import Region
from common.runtime.distributed import World
from common.training.frame_cache import FrameCache
from common.videos import Video
from DeblurringModel.inference.clips import Clip, cut
from DeblurringModel.pairs import Pairs, reblurred_pairs, true_pairs


def test_windows_of_the_released_code():
    """Five frames in, the middle one out, the first and last two frames left out."""
    assert cut(7, 2, 2, 5, "drop") == [
        Clip((0, 1, 2, 3, 4), ((0, 2),)),
        Clip((1, 2, 3, 4, 5), ((0, 3),)),
        Clip((2, 3, 4, 5, 6), ((0, 4),)),
    ]


def test_mirror_stands_on_the_first_and_the_last_frame():
    """The frame itself is not repeated: ... 2 1 0 1 2 ..."""
    clips = cut(5, 2, 2, 5, "mirror")
    assert [clip.inputs for clip in clips] == [
        (2, 1, 0, 1, 2),
        (1, 0, 1, 2, 3),
        (0, 1, 2, 3, 4),
        (1, 2, 3, 4, 3),
        (2, 3, 4, 3, 2),
    ]
    assert [clip.outputs for clip in clips] == [((0, position),) for position in range(5)]


def test_last_clip_is_moved_back():
    """As long as the others; frame 7 has its result already."""
    clips = cut(10, 0, 0, 4, "mirror")
    assert [clip.inputs for clip in clips] == [(0, 1, 2, 3), (4, 5, 6, 7), (6, 7, 8, 9)]
    assert [clip.outputs for clip in clips] == [
        ((0, 0), (1, 1), (2, 2), (3, 3)),
        ((0, 4), (1, 5), (2, 6), (3, 7)),
        ((2, 8), (3, 9)),
    ]


def test_overlap_is_read_but_not_delivered():
    clips = cut(8, 0, 0, 5, "mirror", overlap=1)
    assert [clip.inputs for clip in clips] == [(0, 1, 2, 3), (2, 3, 4, 5, 6), (4, 5, 6, 7)]
    assert [[position for _, position in clip.outputs] for clip in clips] == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_video_shorter_than_a_clip():
    assert cut(6, 0, 0, 30, "mirror") == [Clip(tuple(range(6)), tuple((index, index) for index in range(6)))]
    assert cut(6, 0, 0, 30, "drop", overlap=2) == cut(6, 0, 0, 30, "mirror")
    assert cut(6, 2, 2, 52, "drop") == [Clip(tuple(range(6)), ((0, 2), (1, 3)))]


@pytest.mark.parametrize("borders", ["mirror", "drop"])
@pytest.mark.parametrize("past, future", [(0, 0), (2, 2), (0, 1), (3, 1)])
def test_every_cut(borders, past, future):
    """Each wanted frame once and in order, from its own place in the clip, with the promised context."""
    mode = "reflect" if borders == "mirror" else "constant"
    for frames, length, overlap in itertools.product(range(5, 24), range(1, 15), range(3)):
        if length - past - future - 2 * overlap < 1:
            continue
        wanted = list(range(frames)) if borders == "mirror" else list(range(past, frames - future))
        clips = cut(frames, past, future, length, borders, overlap)
        assert [position for clip in clips for _, position in clip.outputs] == wanted
        assert len(clips) == -(-len(wanted) // (length - past - future - 2 * overlap))
        line = np.pad(np.arange(frames), (past, future), mode)
        for clip in clips:
            restored = len(clip.inputs) - past - future
            assert 0 < restored and len(clip.inputs) <= length
            start = clip.outputs[0][1] - clip.outputs[0][0]
            assert list(clip.inputs) == line[start : start + past + restored + future].tolist()
            for index, position in clip.outputs:
                assert clip.inputs[past + index] == position
                assert index >= min(overlap, position - wanted[0])
                assert restored - 1 - index >= min(overlap, wanted[-1] - position)
        if not overlap and len(wanted) >= length - past - future:
            assert {len(clip.inputs) for clip in clips} == {length}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((10, 2, 2, 4, "mirror"), "expected a clip length of at least 5, got 4"),
        ((10, 0, 0, 0, "drop"), "expected a clip length of at least 1, got 0"),
        ((10, 2, 2, 8, "drop", 2), "expected a clip length of at least 9, got 8"),
        ((4, 2, 2, 5, "drop"), "expected more than 4 frames, got 4"),
    ],
)
def test_impossible_cuts(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        cut(*arguments)


def test_smallest_possible_cuts():
    clips = cut(3, 2, 2, 5, "mirror")
    assert [clip.inputs for clip in clips] == [(2, 1, 0, 1, 2), (1, 0, 1, 2, 1), (0, 1, 2, 1, 0)]
    assert cut(5, 2, 2, 5, "drop") == [Clip((0, 1, 2, 3, 4), ((0, 2),))]
    # Two mirrors that face each other.
    assert [clip.inputs for clip in cut(2, 2, 2, 5, "mirror")] == [(0, 1, 0, 1, 0), (1, 0, 1, 0, 1)]
    assert cut(1, 2, 2, 5, "mirror") == [Clip((0,) * 5, ((0, 0),))]


@pytest.mark.parametrize(
    "boxes, merged",
    [
        ([], []),
        ([(0, 0, 4, 4)], [(0, 0, 4, 4)]),
        ([(0, 0, 4, 4), (0, 0, 4, 4)], [(0, 0, 4, 4)]),
        ([(0, 0, 4, 4), (3, 3, 6, 8)], [(0, 0, 6, 8)]),
        ([(0, 0, 9, 9), (3, 3, 4, 4)], [(0, 0, 9, 9)]),
        # Maxima are exclusive: these touch and share no pixel.
        ([(0, 0, 4, 4), (0, 4, 4, 8), (4, 0, 8, 4)], [(0, 0, 4, 4), (0, 4, 4, 8), (4, 0, 8, 4)]),
        # A chain; and a box that only the bounding box of two others reaches.
        ([(0, 0, 4, 4), (6, 6, 9, 9), (3, 3, 7, 7)], [(0, 0, 9, 9)]),
        ([(0, 0, 10, 2), (8, 0, 10, 10), (1, 7, 3, 9)], [(0, 0, 10, 10)]),
    ],
)
def test_overlapping_boxes(boxes, merged):
    for order in itertools.permutations(boxes):
        assert sorted(merge_overlapping(order)) == merged


def test_merged_boxes_are_disjoint_and_no_larger_than_needed():
    rng = np.random.default_rng(0)
    for _ in range(50):
        low = rng.integers(0, 50, (8, 2))
        boxes: list[Box] = [
            (int(r), int(c), int(r + h), int(c + w))
            for (r, c), (h, w) in zip(low, rng.integers(1, 14, (8, 2)))
        ]
        merged = merge_overlapping(boxes)
        painted = np.zeros((70, 70), int)
        for r0, c0, r1, c1 in merged:
            painted[r0:r1, c0:c1] += 1
            inside = [box for box in boxes if r0 <= box[0] and c0 <= box[1] and box[2] <= r1 and box[3] <= c1]
            assert (r0, c0, r1, c1) == (*np.min(inside, axis=0)[:2], *np.max(inside, axis=0)[2:])
        assert painted.max() == 1
        assert all((painted[r0:r1, c0:c1] == 1).all() for r0, c0, r1, c1 in boxes)


def test_context_crop():
    """A box of 100 x 130 with 8 pixels on each side, grown to 128 x 160 about the middle, moved at edges."""
    assert context_crop((100, 200, 200, 330), 8, 540, 960) == (86, 185, 214, 345)
    assert context_crop((0, 830, 100, 960), 8, 540, 960) == (0, 800, 128, 960)
    assert context_crop((10, 0, 80, 50), 500, 90, 200) == (0, 0, 90, 200)


def test_context_crops_lie_in_the_frame_and_hold_the_box():
    rng = np.random.default_rng(0)
    for _ in range(500):
        height, width = (int(side) for side in rng.integers(20, 300, 2))
        (r0, r1), (c0, c1) = (
            sorted(rng.choice(side + 1, 2, replace=False).tolist()) for side in (height, width)
        )
        margin = int(rng.integers(0, 50))
        top, left, bottom, right = context_crop((r0, c0, r1, c1), margin, height, width)
        for start, stop, low, high, size in ((r0, r1, top, bottom, height), (c0, c1, left, right, width)):
            assert 0 <= low <= max(0, start - margin) and min(size, stop + margin) <= high <= size
            asked = min(size, stop + margin) - max(0, start - margin)
            assert high - low == min(size, -(-asked // SNAP) * SNAP)


WINDOWS: list[Box] = [(0, 0, 16, 20), (5, 7, 21, 27), (24, 30, 40, 50)]


def test_noise_of_a_window_is_a_part_of_the_frame():
    """So a region is blurred alike alone and with its whole frame."""
    shape = torch.Size((3, 3, 16, 20))
    draw = crop_draws([11, 12, 11], WINDOWS, 40, 50)
    for k in (0, 1, 7):
        noise = draw(k, shape)
        assert noise.shape == shape and noise.dtype == torch.float32 and noise.is_contiguous()
        for item, seed, (r0, c0, r1, c1) in zip(noise, (11, 12, 11), WINDOWS):
            frame = seeded_draws([seed])(k, torch.Size((1, 3, 40, 50)))
            assert torch.equal(item, frame[0, :, r0:r1, c0:c1])
            whole = crop_draws([seed], [(0, 0, 40, 50)], 40, 50)(k, torch.Size((1, 3, 40, 50)))
            assert torch.equal(whole, frame)
    # Two windows of one frame that overlap agree where they do.
    first, second = (
        crop_draws([3], [window], 40, 50)(0, torch.Size((1, 3, 16, 20))) for window in WINDOWS[:2]
    )
    assert torch.equal(first[..., 5:, 7:], second[..., :11, :13])


def test_noise_does_not_depend_on_the_batch():
    seeds, shape = [11, 12, 13], torch.Size((3, 3, 16, 20))
    together = crop_draws(seeds, WINDOWS, 40, 50)(4, shape)
    for order in itertools.permutations(range(3)):
        draw = crop_draws([seeds[i] for i in order], [WINDOWS[i] for i in order], 40, 50)
        assert torch.equal(draw(4, shape), together[list(order)])
    for i in range(3):
        assert torch.equal(
            crop_draws([seeds[i]], [WINDOWS[i]], 40, 50)(4, torch.Size((1, 3, 16, 20)))[0], together[i]
        )
    assert not torch.equal(crop_draws(seeds, WINDOWS, 40, 50)(5, shape), together)
    assert not torch.equal(crop_draws([11, 12, 14], WINDOWS, 40, 50)(4, shape)[2], together[2])


HEIGHT, WIDTH, CROP = 50, 70, 16
REBLURRED = 100
NAMES = [str(number) for number in (2, 3, 5, 8, 10, 11, 20, 21)]


def _picture(mark: int) -> np.ndarray:
    """Red is the mark, green the row, blue the column: a crop tells where it comes from."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[..., 0] = mark
    picture[..., 1], picture[..., 2] = np.mgrid[:HEIGHT, :WIDTH]
    return picture


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> tuple[Path, dict[str, Video]]:
    """Stage 3's folder and two videos; frame i is marked i (second video: 50 + i), reblurred 100 more."""
    root = tmp_path_factory.mktemp("videos")
    made = {}
    for name, base in (("a", 0), ("b", 50)):
        for mark, frame in enumerate(NAMES, start=base):
            write_image(root / name / f"{frame}.png", _picture(mark))
            write_image(root / "blurring" / name / "reblur" / f"{frame}.png", _picture(REBLURRED + mark))
        made[name] = Video(name, tuple(root / name / f"{frame}.png" for frame in NAMES), ())
    return root / "blurring", made


def _regions(videos: dict[str, Video]) -> list[Region]:
    """Five regions; one is just as large as a crop."""
    return [
        Region(videos["a"], 2, (0, 0, 30, 40)),
        Region(videos["a"], 5, (34, 54, 50, 70)),
        Region(videos["b"], 3, (10, 20, 50, 60)),
        Region(videos["a"], 3, (7, 0, 23, 70)),
        Region(videos["b"], 4, (0, 0, 50, 70)),
    ]


@pytest.fixture
def pairs(videos) -> Pairs:
    return Pairs(reblurred_pairs(_regions(videos[1]), videos[0]), CROP, 7, FrameCache(0.1))


def _values(tensor: torch.Tensor) -> np.ndarray:
    return (tensor * 255).round().int().numpy()


def _mark(region: Region) -> int:
    return region.position + (50 if region.video.name == "b" else 0)


def test_window_and_target(videos, pairs):
    """Reblurred in the middle, original neighbours around it, the original as the target; all one crop."""
    regions = {_mark(region): region for region in _regions(videos[1])}
    windows, sharp = pairs.batch(list(range(60)), 6)
    assert windows.shape == (60, 5, 3, CROP, CROP) and sharp.shape == (60, 1, 3, CROP, CROP)
    assert windows.dtype == sharp.dtype == torch.float32
    orientations, corners = set(), set()
    for window, (target,) in zip(_values(windows), _values(sharp)):
        mark = target[0, 0, 0]
        r0, c0, r1, c1 = regions[mark].box
        marks = mark - 2, mark - 1, REBLURRED + mark, mark + 1, mark + 2, mark
        for frame, red in zip((*window, target), marks, strict=True):
            assert (frame[0] == red).all()
            assert np.array_equal(frame[1:], target[1:])
        rows, columns = target[1], target[2]
        assert np.ptp(rows) == np.ptp(columns) == CROP - 1
        assert r0 <= rows.min() and rows.max() < r1 and c0 <= columns.min() and columns.max() < c1
        corners.add((mark, rows.min(), columns.min()))
        # Which of the eight flips and turns: the coordinates run along or across, up or down.
        orientations.add(
            tuple(
                np.sign(
                    [
                        rows[-1, 0] - rows[0, 0],
                        rows[0, -1] - rows[0, 0],
                        columns[-1, 0] - columns[0, 0],
                        columns[0, -1] - columns[0, 0],
                    ]
                )
            )
        )
        assert len(np.unique(rows * WIDTH + columns)) == CROP * CROP
    assert len(orientations) == 8
    assert len(corners) > 40


def test_crops_reach_every_edge_of_a_region(videos):
    region = Region(videos[1]["a"], 2, (3, 5, 3 + CROP + 2, 5 + CROP + 1))
    _, sharp = Pairs(reblurred_pairs([region], videos[0]), CROP, 7, FrameCache(0.1)).batch(
        list(range(100)), 1
    )
    values = _values(sharp)
    assert {(int(target[1].min()), int(target[2].min())) for (target,) in values} == set(
        itertools.product((3, 4, 5), (5, 6))
    )


def test_sample_depends_on_its_number_alone(videos, pairs):
    """Whatever the number of processes, after a restart, and without a cache."""
    windows, sharp = pairs.batch(list(range(16, 24)), 8)
    for size in (1, 2, 4, 8):
        again = Pairs(reblurred_pairs(_regions(videos[1]), videos[0]), CROP, 7, FrameCache(0.0))
        for rank in range(size):
            share = World(rank, size, torch.device("cpu")).share(list(range(16, 24)))
            part = again.batch(share, 8)
            assert torch.equal(part[0], windows[rank::size]) and torch.equal(part[1], sharp[rank::size])
    other = Pairs(reblurred_pairs(_regions(videos[1]), videos[0]), CROP, 8, FrameCache(0.1)).batch(
        list(range(16, 24)), 8
    )
    assert not torch.equal(other[1], sharp)


def test_epochs_cover_all_regions(videos, pairs):
    """Five regions in batches of two: three steps, the last of them filled up from the front of the epoch."""
    marks = sorted(map(_mark, _regions(videos[1])))
    assert [pairs.steps_per_epoch(size) for size in (1, 2, 5, 6, 8)] == [5, 3, 1, 1, 1]
    sharp = _values(pairs.batch(list(range(60)), 2)[1])[:, 0, 0, 0, 0].reshape(10, 6)
    for epoch in sharp:
        assert sorted(epoch[:5]) == marks
        assert epoch[5] == epoch[0]
    assert len({tuple(epoch) for epoch in sharp}) > 5


def test_pairs_of_the_ground_truth():
    """The ceiling: each box once per video, in every frame that has a whole window."""
    frames = tuple(Path(f"blur/{index}.png") for index in range(7))
    sharp = tuple(Path(f"sharp/{index}.png") for index in range(7))
    video, box = Video("a", frames, sharp), (0, 0, 30, 40)
    pairs = true_pairs([Region(video, 2, box), Region(video, 4, box)])
    assert [pair.target for pair in pairs] == list(sharp[2:5])
    assert [pair.window for pair in pairs] == [frames[0:5], frames[1:6], frames[2:7]]
    with pytest.raises(UserError, match="ground_truth needs ground truth .*, b has none"):
        true_pairs([Region(Video("b", frames, ()), 2, box)])


def test_more_places_than_regions(videos):
    pairs = Pairs(reblurred_pairs(_regions(videos[1])[:2], videos[0]), CROP, 7, FrameCache(0.1))
    _, sharp = pairs.batch(list(range(8)), 8)
    assert sorted(Counter(_values(sharp)[:, 0, 0, 0, 0].tolist()).items()) == [(2, 4), (5, 4)]
    # The same region again, at another place or turned.
    assert len({target.numpy().tobytes() for target in sharp}) > 4


def _refused(regions: list[Region], blurring: Path, crop: int = CROP) -> str:
    """The message, at the start or with the first batches; it has to be one line."""
    with pytest.raises(UserError) as caught:
        Pairs(reblurred_pairs(regions, blurring), crop, 7, FrameCache(0.1)).batch([0, 1], 2)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("position", [0, 1, 6, 7])
def test_region_at_the_end_of_a_video(videos, position):
    region = Region(videos[1]["a"], position, (0, 0, 30, 30))
    message = _refused([*_regions(videos[1]), region], videos[0])
    assert message.startswith(f"sharp_regions.json: a/{NAMES[position]} has no two neighbours on both sides")


def test_region_smaller_than_the_crop(videos):
    for box in ((0, 0, 15, 30), (0, 0, 30, 15)):
        message = _refused([Region(videos[1]["a"], 2, box)], videos[0])
        assert message.startswith(
            f"deblurring.crop_size: 16 is larger than a region of a/5 ({box[3]} x {box[2]} pixels)"
        )


def test_missing_and_wrong_frames(videos, tmp_path):
    regions = _regions(videos[1])[:1]
    assert _refused(regions, tmp_path) == (
        f"{tmp_path}: no reblurred frame of a/5; run python BlurringModel/main.py first"
    )
    shutil.copytree(videos[0], tmp_path, dirs_exist_ok=True)
    path = tmp_path / "a" / "reblur" / "5.png"
    write_image(path, _picture(0)[:-1])
    assert _refused(regions, tmp_path).startswith(f"{path}: is 70 x 49 pixels, which does not fit the video")
    path.write_bytes(b"")
    assert _refused(regions, tmp_path).startswith(f"{path}: ")
    outside = Region(videos[1]["a"], 3, (0, 40, 30, 71))
    assert "which does not fit the video or its regions" in _refused([outside], videos[0])
