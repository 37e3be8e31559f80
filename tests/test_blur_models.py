"""Stage 3's models: the line blur from end to end, and the test that tells whether a model reads the
direction."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tiny import one_thread  # noqa: F401 (a fixture)

from BlurringModel.reblurring.direction import MESSAGE, DirectionTest, ignores_direction
from BlurringModel.reblurring.patches import Frame, Patch
from BlurringModel.reblurring.sampling import LineModel
from common.images import read_image, to_image, to_tensor
from common.regions_file import read_regions
from common.rendering.line_blur import line_blur
from common.videos import Video, find_videos

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Isotropic:
    """A stand-in that blurs by the length alone, alike in all directions."""

    multiple: int = 4

    def __call__(self, crops, seeds, windows, padded):
        across = crops.clone()
        across[:, 3], across[:, 4] = -crops[:, 4], crops[:, 3]
        both = [line_blur(part[:, :3], part[:, 3:]) for part in (crops, across)]
        return to_image((both[0] + both[1]) / 2)


def patch(length: float, texture: float = 60.0) -> Patch:
    rng = np.random.default_rng(0)
    image = np.clip(128 + texture * rng.standard_normal((96, 96, 3)), 0, 255).astype(np.uint8)
    condition = np.zeros((3, 96, 96), np.float32)
    condition[0], condition[2] = 1, length
    video = Video("v", tuple(Path(f"{number}.png") for number in range(5)), ())
    return Patch(Frame(video, 2, ((0, 0, 96, 96),)), 0, 2, (8, 8, 90, 90), image, lambda: condition, 0.0)


@pytest.mark.parametrize("model, said", [(Isotropic(), [MESSAGE]), (LineModel(CPU, 1.0, 32), [])])
def test_a_model_that_ignores_the_direction_is_called_so_once(model, said):
    lines: list[str] = []
    test = DirectionTest(model, 0, lines.append)
    for _ in range(3):
        test([patch(9.0)])
    assert lines == said


def test_nothing_is_said_of_patches_that_show_no_direction():
    """Hardly any blur, then nothing to be blurred, then a patch that tells."""
    lines: list[str] = []
    test = DirectionTest(Isotropic(), 0, lines.append)
    test([patch(0.0), patch(2.9)])
    test([patch(9.0, texture=0.0)])
    assert lines == []
    test([patch(0.0), patch(9.0)])
    assert lines == [MESSAGE]


def test_what_counts_as_ignoring_the_direction():
    sharp = np.full((8, 8, 3), 100, np.uint8)
    assert ignores_direction(sharp, sharp + 20, sharp + 20) is True
    assert ignores_direction(sharp, sharp + 20, sharp + 15) is False
    assert ignores_direction(sharp, sharp, sharp + 15) is None


def test_line_reblurs_the_regions_by_their_conditions(tmp_path):
    config = tiny.make(tmp_path, blurring={"model": "line", "weights": None, "margin": 4})
    for stage in ("RSDM", "DBCGM", "BlurringModel"):
        tiny.run(stage, config)
    videos = find_videos(tmp_path / "data")
    regions = read_regions(tmp_path / "out" / "rsdm" / "sharp_regions.json", videos)
    assert regions
    for region in regions:
        r0, c0, r1, c1 = region.box
        frame = read_image(region.video.frames[region.position])
        made = read_image(
            tmp_path / "out" / "blurring" / region.video.name / "reblur" / f"{region.frame}.png"
        )
        condition = np.load(
            tmp_path / "out" / "dbcgm" / "condition" / region.video.name / f"{region.frame}.npy"
        )
        assert condition[2, r0:r1, c0:c1].max() > 1
        whole = line_blur(to_tensor(frame)[None], torch.from_numpy(condition)[None])
        # The region is blurred with as much around it as its longest line reaches.
        expected = to_image(whole)[0][r0:r1, c0:c1].astype(int)
        assert np.abs(made[r0:r1, c0:c1] - expected).max() <= 1


def test_settings_of_id_blau_have_no_part_in_a_line_blur(tmp_path, capsys):
    config = tiny.make(tmp_path, blurring={"model": "line"})
    for stage in ("RSDM", "DBCGM", "BlurringModel"):
        tiny.run(stage, config)
    tiny.run("BlurringModel", config, "--set", "blurring.steps=2", "blurring.direction=axis")
    with pytest.raises(Exception, match="gamma"):
        tiny.run("BlurringModel", config, "--set", "blurring.gamma=2.2")


@pytest.mark.parametrize("window", ["all", "moved"])
def test_every_kind_of_window_can_be_blurred_along_lines(tmp_path, window):
    more = {"renoise": True, "moved": {"copies": 2, "blend_still": True}} if window == "moved" else {}
    config = tiny.make(
        tmp_path,
        rsdm={"border": 3},
        dbcgm={"frames": "all", "motion": True, "adapt_magnitude": False},
        blurring={"model": "line", "weights": None, "window": window, **more},
    )
    for stage in ("RSDM", "DBCGM", "BlurringModel"):
        tiny.run(stage, config)
    made = list((tmp_path / "out" / "blurring").glob("*/window/*/*/*.png"))
    assert made and len(made) % 5 == 0
