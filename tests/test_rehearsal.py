"""What fine-tuning takes from the unadapted network: pairs to rehearse (deblurring.rehearsal) and targets
(deblurring.targets)."""

from pathlib import Path

import numpy as np
import pytest
import tiny
from tiny import one_thread  # noqa: F401, a fixture

from common.config import DeblurringConfig
from common.errors import UserError
from common.images import read_image, write_image
from common.regions_file import Region
from common.videos import Video
from DeblurringModel import deblur_finetune_DDP as finetuning
from DeblurringModel.fine_tuning import chosen_pairs
from DeblurringModel.pair_sources import pairs_of, restores_regions
from DeblurringModel.pairs import Pair, rehearsal_pairs


def written(folder: Path) -> Video:
    """A video of seven grey frames of 60 x 48 pixels."""
    frames = tuple(folder / "blur" / f"{index}.png" for index in range(7))
    for path in frames:
        write_image(path, np.full((48, 60, 3), 128, np.uint8))
    return Video("a", frames, ())


def test_the_window_is_the_video_and_the_target_the_unadapted_result(tmp_path: Path) -> None:
    """In the whole frame: its colours are not all in the region."""
    video, box = written(tmp_path), (8, 4, 40, 44)
    pairs = rehearsal_pairs([Region(video, 2, box), Region(video, 4, box)], Path("rehearsal"), 2)
    assert [pair.name for pair in pairs] == ["a/2", "a/2", "a/4", "a/4"]
    assert pairs[2].window == video.frames[2:7] and pairs[2].target == Path("rehearsal/a/4.png")
    assert {pair.box for pair in pairs} == {(0, 0, 48, 60)}
    assert not rehearsal_pairs([Region(video, 2, box)], Path("rehearsal"), 0)


def test_a_frame_with_a_held_out_patch_is_not_rehearsed(tmp_path: Path) -> None:
    """Nor is another patch of it, whose rehearsal shows the whole frame."""
    video, boxes = written(tmp_path), [(0, 0, 32, 32), (8, 20, 40, 52)]
    regions = [Region(video, position, box) for position in (2, 3, 4) for box in boxes]
    made = [Pair(video.frames[:5], video.frames[2], region.box, f"a/{region.frame}") for region in regions]
    config = DeblurringConfig(select="best_pairs", rehearsal=3)
    learned, held_out = chosen_pairs(config, regions, made, tmp_path / "rehearsal", seed=1)
    (hidden,) = {pair.name for pair in held_out}
    rehearsed = [pair for pair in learned if "rehearsal" in pair.target.parts]
    assert {pair.name for pair in rehearsed} == {"a/2", "a/3", "a/4"} - {hidden}
    assert len(rehearsed) == 2 * 2 * 3


@pytest.mark.parametrize(
    "settings, restores",
    [
        ({}, False),
        ({"targets": "restored"}, True),
        ({"targets": "restored", "pairs": "both"}, True),
        ({"targets": "restored", "pairs": "aligned"}, False),
        ({"targets": "restored", "pairs": "ground_truth"}, False),
        ({"rehearsal": 1, "pairs": "aligned"}, True),
        ({"rehearsal": 1, "pairs": "ground_truth"}, False),
    ],
)
def test_frames_with_regions_are_restored_where_they_are_needed(settings: dict, restores: bool) -> None:
    assert restores_regions(DeblurringConfig(**settings)) == restores


@pytest.mark.parametrize("targets", ["sharp", "restored"])
def test_the_target_of_a_reblurred_pair(tmp_path: Path, targets: str) -> None:
    video = written(tmp_path)
    write_image(tmp_path / "blurring/a/reblur/2.png", np.zeros((48, 60, 3), np.uint8))
    config = DeblurringConfig(targets=targets)
    regions, restored = [Region(video, 2, (8, 4, 40, 44))], tmp_path / "rehearsal"
    (pair,) = pairs_of(config, regions, tmp_path / "blurring", restored, [])
    assert pair.target == (video.frames[2] if targets == "sharp" else restored / "a" / "2.png")
    assert pair.window[2] == tmp_path / "blurring/a/reblur/2.png"


def test_targets_are_restored_before_they_are_learned(tmp_path: Path) -> None:
    config = tiny.make(tmp_path, deblurring={"targets": "restored"})
    for stage in ("RSDM", "DBCGM", "BlurringModel", "DeblurringModel"):
        tiny.run(stage, config)
    network = tmp_path / "out" / "deblurring" / "ESTRNN"
    frames = {path.relative_to(network / "rehearsal") for path in (network / "rehearsal").glob("*/*.png")}
    assert frames
    for name in frames:
        assert (network / "rehearsal" / name).read_bytes() == (network / "baseline" / name).read_bytes()
    with pytest.raises(UserError, match="targets"):
        tiny.run("DeblurringModel", config, "--set", "deblurring.targets=sharp")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The tiny case, fine-tuned strongly: without rehearsal, and with so much that little else is seen."""
    folder = tmp_path_factory.mktemp("rehearsal")
    config = tiny.make(folder, deblurring={"min_steps": 60, "learning_rate": 3e-4})
    for stage in ("RSDM", "DBCGM", "BlurringModel"):
        tiny.run(stage, config)
    folders = {}
    for count in (0, 20):
        tiny.run("DeblurringModel", config, "--overwrite", "--set", f"deblurring.rehearsal={count}")
        folders[count] = folder / f"with_{count}"
        (folder / "out" / "deblurring" / "ESTRNN").rename(folders[count])
    return folders


def test_only_frames_with_regions_are_restored_beforehand(adapted: dict[int, Path]) -> None:
    """And they are the baseline's."""
    assert not (adapted[0] / "rehearsal").exists()
    rehearsed = sorted((adapted[20] / "rehearsal").glob("*/*.png"))
    assert 0 < len(rehearsed) < len(tiny.VIDEOS) * tiny.FRAMES
    for path in rehearsed:
        assert path.read_bytes() == (adapted[20] / "baseline" / path.parent.name / path.name).read_bytes()


def test_the_network_stays_near_itself_on_sharp_frames(adapted: dict[int, Path]) -> None:
    def moved(folder: Path) -> float:
        return float(
            np.mean(
                [
                    np.square(
                        read_image(folder / "adapted" / path.parent.name / path.name).astype(float)
                        - read_image(path)
                    ).mean()
                    for path in (adapted[20] / "rehearsal").glob("*/*.png")
                ]
            )
        )

    assert moved(adapted[20]) < 0.5 * moved(adapted[0])


def test_no_rehearsal_of_a_patch_that_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny.make(tmp_path, deblurring={"select": "best_pairs", "rehearsal": 1})
    for stage in ("RSDM", "DBCGM", "BlurringModel"):
        tiny.run(stage, config)
    seen = []
    original = finetuning.Pairs
    monkeypatch.setattr(
        finetuning, "Pairs", lambda pairs, *more: (seen.append(pairs), original(pairs, *more))[1]
    )
    tiny.run("DeblurringModel", config)
    learned, held_out = seen
    assert any("rehearsal" in pair.target.parts for pair in learned)
    assert not any("rehearsal" in pair.target.parts for pair in held_out)
    assert not {(pair.name, pair.box) for pair in learned} & {(pair.name, pair.box) for pair in held_out}
    shown = {pair.name for pair in learned if "rehearsal" in pair.target.parts}
    assert not shown & {pair.name for pair in held_out}
