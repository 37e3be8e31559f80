"""deblurring.pairs aligned and both: pairs of the real blur with a borrowed, weighted target."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from test_pipeline import environment, killed, same_files
from tiny import one_thread  # noqa: F401, a fixture

from common.checkpoints import load_checkpoint, load_state, sha256
from common.config import DeblurringConfig
from common.errors import UserError
from common.images import read_image, write_image
from common.metrics import psnr
from common.runtime.distributed import World
from common.runtime.files import read_json
from common.training.frame_cache import FrameCache
from common.videos import Video
from DeblurringModel import deblur_finetune_DDP as finetuning
from DeblurringModel import losses
from DeblurringModel.fine_tuning import weighted_psnr
from DeblurringModel.pair_sources import aligned_pairs, main_offset
from DeblurringModel.pairs import NothingToLearn, Pair, Pairs, hold_out
from DeblurringModel.variants import how_adapted

HEIGHT, WIDTH, CROP = 40, 60, 16
FINETUNE = "DeblurringModel.deblur_finetune_DDP"
WEIGHTS = Path("out") / "deblurring" / "ESTRNN" / "weights"


def ramp(red: int) -> np.ndarray:
    """A picture whose green and blue tell row and column."""
    picture = np.full((HEIGHT, WIDTH, 3), red, np.uint8)
    picture[..., 1], picture[..., 2] = np.arange(HEIGHT)[:, None], np.arange(WIDTH)
    return picture


@pytest.fixture
def written(tmp_path: Path) -> tuple[Video, Path]:
    """A video of nine frames, and what was borrowed for it: much for frame 3, in its lower right part and
    from frame 5, a little for frame 4, too small a spot for frame 6, all of frame 0, which has no window."""
    frames = [tmp_path / "blur" / f"{index}.png" for index in range(9)]
    for index, path in enumerate(frames):
        write_image(path, ramp(index))
        weight, source = np.zeros((2, HEIGHT, WIDTH), np.uint8)
        if index == 0:
            weight[:], source[:] = 255, 129
        if index == 3:
            weight[12:, 30:], source[12:, 30:] = 255, 130
            weight[:5, :5], source[:5, :5] = 128, 127
        if index == 4:
            weight[:], source[:] = 100, 127
        if index == 6:
            weight[10:18, 10:18], source[10:18, 10:18] = 255, 127
        for kind, picture in (("picture", ramp(100 + index)), ("weight", weight), ("source", source)):
            write_image(tmp_path / "aligned" / "a" / kind / f"{index}.png", picture)
    return Video("a", tuple(frames), ()), tmp_path / "aligned"


def values(tensor: torch.Tensor) -> np.ndarray:
    return (tensor * 255).round().int().numpy()


def test_a_pair_is_the_real_window_and_what_was_borrowed(written: tuple[Video, Path]) -> None:
    video, aligned = written
    (pair,) = aligned_pairs(video, aligned, CROP)
    assert pair.window == video.frames[1:6] and pair.name == "a/3" and pair.source == "a/5"
    assert pair.target == aligned / "a" / "picture" / "3.png"
    assert pair.weight == aligned / "a" / "weight" / "3.png" and pair.box == (0, 0, HEIGHT, WIDTH)
    # For smaller crops the small spot is enough, for larger ones than the frame nothing is.
    assert [pair.name for pair in aligned_pairs(video, aligned, 10)] == ["a/3", "a/6"]
    assert aligned_pairs(video, aligned, HEIGHT + 4) == []
    (aligned / "a" / "weight" / "5.png").unlink()
    with pytest.raises(UserError, match=r"5\.png: missing; run python"):
        aligned_pairs(video, aligned, CROP)


def test_the_main_source_is_the_one_that_gave_most() -> None:
    source, weight = np.array([[0, 126, 126, 131]], np.uint8), np.array([[255, 40, 40, 200]], np.uint8)
    assert main_offset(source, weight) == 3
    assert main_offset(source, np.array([[255, 140, 140, 200]], np.uint8)) == -2


def test_crops_lie_where_the_weight_is(written: tuple[Video, Path]) -> None:
    """All places with half the weight or more, and the weight is cut and turned as the pictures are."""
    video, aligned = written
    pairs = Pairs(aligned_pairs(video, aligned, CROP), CROP, 7, FrameCache(0.1))
    windows, sharp, weight = pairs.batch(list(range(200)), 4)
    assert windows.shape == (200, 5, 3, CROP, CROP) and weight.shape == sharp.shape == (200, 1, 3, CROP, CROP)
    rows, columns = values(sharp)[:, 0, 1], values(sharp)[:, 0, 2]
    assert np.array_equal(values(windows)[:, 2, 1:], values(sharp)[:, 0, 1:])
    assert (values(sharp)[:, 0, 0] == 103).all() and (values(windows)[:, :, 0, 0, 0] == range(1, 6)).all()
    inside = (rows >= 12) & (columns >= 30)
    assert np.array_equal(values(weight)[:, 0, 0] == 255, inside)
    assert inside.mean((1, 2)).min() >= 0.5
    corners = {(r.min(), c.min()) for r, c in zip(rows, columns)}
    assert len(corners) > 100 and min(r for r, _ in corners) < 12 and min(c for _, c in corners) < 30
    # Judged by: the crop with the largest weight.
    _, middle, most = pairs.centre(0)
    assert most.min() == 1 and values(middle)[0, 0, 1].min() >= 12


def test_a_batch_of_both_has_a_weight_for_every_pair(written: tuple[Video, Path]) -> None:
    video, aligned = written
    reblurred = Pair(video.frames[2:7], video.frames[4], (0, 0, HEIGHT, WIDTH), "a/4")
    pairs = Pairs([reblurred, *aligned_pairs(video, aligned, CROP)], CROP, 7, FrameCache(0.1))
    _, sharp, weight = pairs.batch(list(range(40)), 4)
    plain = values(sharp)[:, 0, 0, 0, 0] == 4
    assert (
        0 < plain.sum() < 40 and (weight[plain] == 1).all() and (weight[~plain].flatten(1).amin(1) < 1).any()
    )
    # Without borrowed pairs there is no weight, and the same crops are drawn as ever.
    assert len(Pairs([reblurred], CROP, 7, FrameCache(0.1)).batch([0, 1], 2)) == 2


def test_one_and_more_processes_draw_the_same(written: tuple[Video, Path]) -> None:
    video, aligned = written
    made = aligned_pairs(video, aligned, 10)
    whole = Pairs(made, 10, 7, FrameCache(0.1)).batch(list(range(16, 24)), 8)
    for size in (2, 4):
        for rank in range(size):
            share = World(rank, size, torch.device("cpu")).share(list(range(16, 24)))
            part = Pairs(made, 10, 7, FrameCache(0.0)).batch(share, 8)
            assert all(torch.equal(one, two[rank::size]) for one, two in zip(part, whole, strict=True))


def test_the_weight_in_the_loss_by_hand() -> None:
    prediction, target = torch.tensor([0.1, 0.4, -0.3]), torch.tensor([0.0, 0.0, 0.1])
    weight = torch.tensor([1.0, 0.5, 0.0])
    prediction, target, weight = (part.reshape(1, 1, 1, 1, 3) for part in (prediction, target, weight))
    counted = losses.weighted(prediction, target, weight)
    # (0.1^2 + 0.2^2 + 0) / 3 and (0.1 + 0.2 + 0) / 3
    assert float(losses.clamped_mse(counted, target)) == pytest.approx(0.05 / 3)
    assert float(losses.mean_absolute_error(counted, target)) == pytest.approx(0.1)
    prediction.requires_grad_()
    losses.mean_squared_error(losses.weighted(prediction, target, weight), target).backward()
    # 2/3 w^2 d
    assert prediction.grad.flatten().tolist() == pytest.approx([0.2 / 3, 0.2 / 3, 0.0])
    assert losses.weighted(prediction, target) is prediction


def test_the_weight_in_the_psnr_by_hand() -> None:
    sharp, restored, weight = torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)
    weight[:, :2] = 1
    restored[:, :2], restored[:, 2:] = 10 / 255, 200 / 255
    assert weighted_psnr(restored, sharp, weight) == pytest.approx(20 * np.log10(25.5))
    whole = psnr(values(restored).astype(np.uint8).T, values(sharp).astype(np.uint8).T)
    assert weighted_psnr(restored, sharp) == pytest.approx(whole) and whole < 7


def test_what_shows_one_sharp_frame_is_held_out_together() -> None:
    def pair(name: str, source: str = "") -> Pair:
        weight = Path("weight.png") if source else None
        return Pair((Path("0.png"),) * 5, Path("0.png"), (0, 0, 8, 8), name, weight, source)

    sharp = [pair(f"a/{index}") for index in (3, 7, 11)]
    borrowed = [pair(f"a/{index}", f"a/{3 + index // 6 * 4}") for index in (2, 4, 5, 6, 8, 9)]
    seen = set()
    for seed in range(20):
        kept, held_out = hold_out(sharp + borrowed, seed)
        frames = {part.source or part.name for part in held_out}
        assert len(frames) == 1 and not frames & {part.source or part.name for part in kept}
        assert len(kept) + len(held_out) == 9
        seen |= frames
    assert seen == {"a/3", "a/7", "a/11"}
    with pytest.raises(NothingToLearn, match="a fifth of the sharp frames and needs at least 2, found 1"):
        hold_out([pair("a/1", "a/2"), pair("a/3", "a/2")], 0)


def test_the_table_says_what_was_learned_from() -> None:
    assert how_adapted(DeblurringConfig()) == "last epoch, label-free"
    assert how_adapted(DeblurringConfig(pairs="both")) == (
        "last epoch, label-free; reblurred and aligned pairs"
    )


# With the stages: in the tiny case frames of video b borrow enough, and of a they do not.


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny case after stages 1 to 3 and the borrowing. Not to be changed: take a copy."""
    folder = tmp_path_factory.mktemp("sources") / "case"
    config = tiny.make(folder, deblurring={"pairs": "both", "rehearsal": 1})
    for stage in ("RSDM", "DBCGM", "BlurringModel", FINETUNE):
        tiny.run(stage, config)
    return folder


@pytest.fixture
def case(prepared: Path, tmp_path: Path) -> Path:
    """The configuration of a copy that is not fine-tuned yet."""
    shutil.copytree(prepared, tmp_path / "case")
    shutil.rmtree(tmp_path / "case" / WEIGHTS)
    return tmp_path / "case" / "config.yaml"


def learned(monkeypatch: pytest.MonkeyPatch, config: Path, *arguments: str) -> list[list[Pair]]:
    """The lists of pairs that a fine-tuning makes: those to learn from, then those held out."""
    seen, original = [], finetuning.Pairs
    monkeypatch.setattr(
        finetuning, "Pairs", lambda pairs, *more: (seen.append(pairs), original(pairs, *more))[1]
    )
    tiny.run(FINETUNE, config, *arguments)
    return seen


def test_both_learns_from_both_and_says_where_nothing_is_borrowed(
    case: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (pairs,) = learned(monkeypatch, case)
    assert "a: no aligned pair, no frame borrows enough for a crop of 32 pixels; " in capsys.readouterr().out
    borrowed = [pair for pair in pairs if pair.weight is not None]
    assert {pair.name.split("/")[0] for pair in borrowed} == {"b"}
    others = len(pairs) - len(borrowed)
    regions = read_json(case.parent / "out" / "rsdm" / "sharp_regions.json")["sharp_regions"]
    assert others == 2 * len(regions)
    # Recorded: made again with another reach, this training's pairs would be others.
    aligned = case.parent / WEIGHTS.parent / "aligned" / "settings.json"
    assert read_json(case.parent / WEIGHTS / "settings.json")["aligned"] == sha256(aligned)
    reach = ("--set", "deblurring.aligned.reach=1")
    with pytest.raises(UserError, match="aligned.reach: 6 -> 1"):
        tiny.run(FINETUNE, case, *reach)
    shutil.rmtree(aligned.parent)
    with pytest.raises(UserError, match="weights: made with other settings: aligned: "):
        tiny.run(FINETUNE, case, *reach)


def test_aligned_alone_needs_neither_regions_nor_reblurred_frames(
    case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("blurring", "dbcgm", "rsdm"):
        shutil.rmtree(case.parent / "out" / folder)
    (pairs,) = learned(monkeypatch, case, "--set", "deblurring.pairs=aligned", "deblurring.rehearsal=0")
    assert len(pairs) == 2 and all(pair.weight is not None for pair in pairs)


def test_no_aligned_pair_anywhere_is_one_line(case: Path) -> None:
    alone = ("--set", "dataset.videos=[a]", "deblurring.pairs=aligned", "--overwrite")
    with pytest.raises(NothingToLearn) as caught:
        tiny.run(FINETUNE, case, *alone)
    assert str(caught.value) == (
        "deblurring.pairs: aligned, but in no video there is one: no frame borrows enough for a crop of 32 pixels "
        "from its neighbours; use both or reblurred, or raise deblurring.aligned.reach"
    )
    assert not (case.parent / WEIGHTS / "last.pth").exists()


def test_one_network_a_video_where_there_is_something_to_learn_from(
    case: Path, capsys: pytest.CaptureFixture
) -> None:
    tiny.run("DeblurringModel", case, "--set", "deblurring.pairs=aligned", "deblurring.scope=video")
    assert "a: no aligned pair, restored with the unadapted network" in capsys.readouterr().out
    folder = case.parent / WEIGHTS.parent
    assert [path.parent.name for path in folder.glob("weights/*/last.pth")] == ["b"]
    same = [
        (folder / "adapted" / video / "10.png").read_bytes()
        == (folder / "baseline" / video / "10.png").read_bytes()
        for video in tiny.VIDEOS
    ]
    assert same == [True, False]


def test_nothing_is_learned_where_nothing_was_borrowed(case: Path) -> None:
    """Other targets where the weight is 0 end in the same network, where it is more than half in another."""
    folder, ends = case.parent / WEIGHTS.parent, []
    alone = ("--set", "deblurring.pairs=aligned", "deblurring.rehearsal=0")
    for low, high in ((0, 0), (0, 1), (128, 256)):
        for weight in (folder / "aligned" / "b" / "weight").iterdir():
            target = weight.parents[1] / "picture" / weight.name
            picture, trust = read_image(target).copy(), read_image(weight)
            picture[(trust >= low) & (trust < high)] ^= 64
            write_image(target, picture)
        shutil.rmtree(folder / "weights", ignore_errors=True)
        tiny.run(FINETUNE, case, *alone)
        ends.append(flat(load_checkpoint(folder / "weights" / "last.pth")["model_state"]))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_held_out_pairs_choose_and_are_not_shown(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, held_out = learned(monkeypatch, case, "--set", "deblurring.select=best_pairs")
    frames = {pair.source or pair.name for pair in held_out}
    assert frames and not frames & {pair.source or pair.name for pair in kept}
    log = (case.parent / WEIGHTS / "log.csv").read_text()
    assert "psnr_held_out" in log and (case.parent / WEIGHTS / "best.pth").exists()


def test_a_killed_fine_tuning_goes_on(case: Path) -> None:
    """Borrowing is killed too: it begins anew."""
    folder, longer = case.parent / WEIGHTS.parent, ("--set", "deblurring.epochs=30")
    tiny.run("DeblurringModel", case, *longer, "--overwrite")
    uninterrupted = folder.rename(case.parent / "uninterrupted")
    killed(case, "DeblurringModel", folder, "aligned/*/weight/*.png", *longer)
    assert len(list(folder.glob("aligned/*/weight/*.png"))) < 2 * tiny.FRAMES
    killed(case, "DeblurringModel", folder, "weights/last.pth", *longer)
    stored = load_checkpoint(folder / "weights" / "last.pth")
    assert 0 < stored["step"] < stored["epochs"] * stored["steps_per_epoch"]
    tiny.run("DeblurringModel", case, *longer)
    same_files(uninterrupted, folder)


def test_two_processes_learn_what_one_learns(case: Path, prepared: Path) -> None:
    shutil.rmtree(case.parent / WEIGHTS.parent)
    script = tiny.ROOT / "DeblurringModel" / "deblur_finetune_DDP.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    result = subprocess.run(
        [*command, str(script), "--config", str(case)], env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-4000:]
    one, two = prepared / WEIGHTS.parent, case.parent / WEIGHTS.parent
    names = sorted(path.relative_to(one) for path in (one / "aligned").rglob("*.png"))
    assert len(names) == 6 * tiny.FRAMES
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    start = flat(load_state(prepared / "weights" / "estrnn.tar"))
    ends = [flat(load_checkpoint(folder / "weights" / "last.pth")["model_state"]) for folder in (one, two)]
    assert float((ends[0] - ends[1]).norm() / (ends[0] - start).norm()) < 1e-4


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in state.values()])
