"""Frames restored in tiles, and in smaller ones where memory does not suffice."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tiny import one_thread  # noqa: F401, a fixture

from common.config import Config
from common.config_loader import load_config
from common.errors import UserError
from common.runtime.memory import Splitter, halving, out_of_memory, peak_memory
from common.stage import stage_of
from DeblurringModel.inference import restoring
from DeblurringModel.inference.restoring import clips_of, restored_frames
from DeblurringModel.inference.tiles import blend, tiles
from DeblurringModel.variants import load_network, model_spec


@pytest.mark.parametrize(
    "height, width, side, overlap, multiple",
    [
        (100, 130, 48, 8, 4),
        (97, 131, 48, 12, 16),
        (64, 64, 40, 10, 8),
        (33, 300, 64, 0, 4),
        (48, 49, 48, 4, 4),
    ],
)
def test_tiles_cover_and_overlap(height, width, side, overlap, multiple):
    places = tiles(height, width, side, overlap, multiple)
    covered = np.zeros((height, width), int)
    for r0, c0, r1, c1 in places:
        assert r0 % multiple == c0 % multiple == 0
        assert (
            0 < r1 - r0 <= side + multiple and 0 < c1 - c0 <= side + multiple and r1 <= height and c1 <= width
        )
        covered[r0:r1, c0:c1] += 1
    assert covered.min() == 1 and len(set(places)) == len(places)
    rows = sorted({(r0, r1) for r0, _, r1, _ in places})
    assert all(before[1] - after[0] >= overlap for before, after in zip(rows, rows[1:]))


def test_no_tile_is_the_frame():
    assert tiles(97, 131, 0, 32, 8) == tiles(97, 131, 131, 32, 8) == [(0, 0, 97, 131)]
    with pytest.raises(ValueError, match="more than twice the overlap 20, got 40"):
        tiles(100, 100, 40, 20, 4)


def test_blended_tiles_of_a_picture_are_the_picture():
    picture, places = torch.rand(2, 3, 97, 131), tiles(97, 131, 48, 12, 4)
    parts = [picture[..., r0:r1, c0:c1] for r0, c0, r1, c1 in places]
    torch.testing.assert_close(blend(parts, places, 12), picture)


def test_weights_fall_off_linearly():
    places = [(0, 0, 8, 20), (0, 12, 8, 32)]
    blended = blend([torch.zeros(8, 20), torch.ones(8, 20)], places, 8)
    np.testing.assert_allclose(blended[3, 12:20], (np.arange(8) + 0.5) / 8, rtol=1e-6)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A stage over the tiny case; its network looks at few pixels around each."""
    return stage_of(load_config(Config, tiny.make(tmp_path_factory.mktemp("tiles"))), None)


def restored(stage, **settings) -> list[np.ndarray]:
    """The first video's frames with other settings of deblurring."""
    changed = stage_of(
        load_config(
            Config,
            Path(stage.output.parent / "config.yaml"),
            [f"deblurring.{key}={value}" for key, value in settings.items()],
        ),
        None,
    )
    spec, video = model_spec(changed.config), changed.videos[0]
    network = load_network(changed.config, changed.config.deblurring.weights, changed.world.device).eval()
    clips = clips_of(video, spec, 0, 0, "mirror")
    restored = restored_frames(network, spec, video, clips, changed.config, changed.world.device, changed.say)
    return [picture for _, picture in restored]


def test_tiles_give_what_whole_frames_give(stage):
    whole, parts = restored(stage), restored(stage, tile=48, tile_overlap=12)
    difference = np.abs(np.array(whole).astype(int) - np.array(parts))
    # The attention of ESTRNN's fusion averages over what it is given, so a tile is not exactly a part of the
    # frame.
    assert len(parts) == tiny.FRAMES and difference.max() <= 3 and difference.mean() < 0.3


def test_tiles_shrink_where_memory_does_not_suffice(stage, monkeypatch, capsys):
    whole, part = restored(stage, tile=36), restoring.Restorer._part
    monkeypatch.setattr(restoring, "LEAST_TILE", 16)

    def limited(self, clip, place):
        if place[3] - place[1] > 36:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return part(self, clip, place)

    monkeypatch.setattr(restoring.Restorer, "_part", limited)
    np.testing.assert_array_equal(restored(stage), whole)
    said = capsys.readouterr().out
    assert said.count("not enough memory") == 1 and "with 72, going on with 36" in said


def test_values_that_are_not_finite_are_refused(stage, monkeypatch):
    monkeypatch.setattr(
        restoring.Restorer,
        "_tiled",
        lambda self, clip, height, width, side: torch.full((1, 3, height, width), torch.nan),
    )
    with pytest.raises(UserError, match="ESTRNN returned values that are not finite"):
        restored(stage)


def test_halving():
    said = []

    def work(size):
        if size > 3:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        return f"done with {size}"

    assert halving(work, 12, 1, "batch", said.append) == ("done with 3", 3) and len(said) == 2
    with pytest.raises(UserError, match="batch: not enough memory even with 4"):
        halving(work, 16, 4, "batch", said.append)
    with pytest.raises(RuntimeError, match="another fault"):
        halving(lambda size: (_ for _ in ()).throw(RuntimeError("another fault")), 4, 1, "batch", said.append)
    assert not out_of_memory(RuntimeError("another fault")) and out_of_memory(MemoryError())


def test_batches_are_split_and_the_size_is_kept():
    said, sizes = [], []

    def work(part):
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return np.array(part) * 10

    split = Splitter("rsdm.batch_size", said.append)
    np.testing.assert_array_equal(split(work, [1, 2, 3, 4, 5]), [10, 20, 30, 40, 50])
    np.testing.assert_array_equal(split(work, [6, 7, 8]), [60, 70, 80])
    assert (
        sizes == [5, 2, 2, 1, 2, 1]
        and len(said) == 1
        and "rsdm.batch_size: not enough memory with 5" in said[0]
    )


def test_peak_memory_grows_with_what_is_used():
    before = peak_memory(torch.device("cpu"))
    held = torch.ones(int((before + 0.25) * 2**28))
    assert peak_memory(torch.device("cpu")) > before and len(held)
