"""Frames, maps and flows that are needed again are made once, within a limit of memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
import torch

from common import videos
from common.config import DbcgmConfig
from common.images import read_image
from common.runtime.kept import Kept
from common.videos import FrameReader, find_videos
from DBCGM.frame import Inputs, NearFlows, frame_condition
from DBCGM.main import read_frames

KIB = 1 / 2**20


class Maker:
    """Makes arrays of 1 KiB and counts how often."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, key: int) -> np.ndarray:
        self.made.append(key)
        return np.full(256, key, np.float32)


def ask(kept: Kept, maker: Maker, keys: list[int]) -> None:
    for key in keys:
        assert kept(key, lambda key=key: maker(key))[0] == key


def test_the_longest_unused_makes_room():
    kept, maker = Kept(3 * KIB), Maker()
    ask(kept, maker, [1, 2, 3, 1, 4, 1, 3, 4, 2])
    assert maker.made == [1, 2, 3, 4, 2]


def test_without_eviction_what_is_kept_stays():
    kept, maker = Kept(2 * KIB, evicts=False), Maker()
    ask(kept, maker, [1, 2, 3, 3, 1, 2])
    assert maker.made == [1, 2, 3, 3]


@pytest.mark.parametrize("gib", [0, 0.5 * KIB])
def test_what_does_not_fit_is_made_every_time(gib):
    kept, maker = Kept(gib), Maker()
    ask(kept, maker, [1, 1, 2])
    assert maker.made == [1, 1, 2]


def test_many_threads():
    kept, maker = Kept(4 * KIB), Maker()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ask(kept, maker, [1, 2, 3, 4, 5, 6]), range(50)))
    assert len(kept._arrays) == 4 and kept._used == 4 * 1024


def test_frames_of_five_are_decoded_once(tmp_path, monkeypatch):
    """In order, as stage 2 walks; without memory each is decoded for every frame that it is a neighbour of."""
    tiny.write_video(tmp_path / "a")
    video, read = find_videos(tmp_path)[0], []
    monkeypatch.setattr(videos, "read_image", lambda path: read.append(path.name) or read_image(path))
    config = DbcgmConfig(trajectory="five_frame")
    positions = range(2, len(video.frames) - 2)
    for gib, most in ((1.0, 1), (0.0, 4)):
        read.clear()
        reader = FrameReader([video], Kept(gib))
        for position in positions:
            read_frames(config, reader, video, position)
        assert max(read.count(name) for name in set(read)) == most


class Counted:
    """A flow that says from which image to which it is, and counts."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def between(self, images: torch.Tensor, pairs: list[tuple[int, int]]) -> torch.Tensor:
        values = [(int(images[a].flatten()[0]), int(images[b].flatten()[0])) for a, b in pairs]
        self.pairs += values
        return torch.stack([torch.full((2, 8, 8), 1.0 + a) for a, _ in values])


def test_each_flow_of_five_frames_is_computed_once():
    flow, config = Counted(), DbcgmConfig(trajectory="five_frame", condition="dbcgm")
    near, found = NearFlows(flow, torch.device("cpu")), []
    frames = torch.arange(9, dtype=torch.uint8)[:, None, None, None].expand(9, 3, 8, 8)
    for position in range(2, 7):
        inputs = Inputs(("a", position), frames[position - 2 : position + 3], np.ones((8, 8), np.float32))
        found.append(frame_condition(config, near, inputs)[1])
    assert flow.pairs == [(t, t + 1) for t in range(8)]
    # A quarter of the sum of the four flows around each frame.
    assert [motion[0, 0, 0] for motion in found] == [position + 0.5 for position in range(2, 7)]


def test_flows_of_another_video_are_others():
    flow = Counted()
    near = NearFlows(flow, torch.device("cpu"))
    for name, first in (("a", 0), ("b", 100)):
        frames = (torch.arange(5) + first).to(torch.uint8)[:, None, None, None].expand(5, 3, 8, 8)
        near.five_frame(Inputs((name, 2), frames))
    assert len(flow.pairs) == 8
