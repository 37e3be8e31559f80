"""What one changes without touching a stage: own flow, estimator, score, loss; optimiser; the ablation's table."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tiny import one_thread  # noqa: F401, a fixture

from common.checkpoints import load_state
from common.config import Config
from common.config_loader import load_config
from common.errors import UserError
from common.flow import load_flow
from common.runtime import plugins
from common.stage import section_settings
from DeblurringModel import models
from scripts.evaluation import ablation

OWN = '''
import numpy as np
import torch
from torch import nn


class Right:
    """Everything moves by the difference of the two images' means to the right."""

    def __call__(self, first, second):
        flow = torch.zeros(len(first), 2, *first.shape[2:])
        flow[:, 0] = (second.mean() - first.mean())
        return flow


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, first, second):
        return torch.ones(len(first), 2, *first.shape[2:]) * self.scale


class Wrong:
    def __call__(self, first, second):
        return first


class Edges(nn.Module):
    """The less a picture differs from the one shifted by a pixel, the longer its blur."""

    def forward(self, images):
        return 0.5 - 4 * (images - images.roll(1, -1)).abs().mean(dim=1, keepdim=True)


class Half(nn.Module):
    def forward(self, images):
        return images[:, :1, ::2]


def left(frame, magnitude):
    """The left half is sharp, whatever the picture shows."""
    score = np.full(magnitude.shape, 0.9, np.float32)
    score[:, : magnitude.shape[1] // 2] = 0.0
    return score


def scalar(frame, magnitude):
    return 0.5


def nothing(prediction, target):
    return 0 * prediction.sum()
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_own_things_are_found_by_file_and_by_module(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plugins.load(f"{own}:nothing", "k")(torch.ones(2), None) == 0
    monkeypatch.syspath_prepend(own.parent)
    assert plugins.load("own:nothing", "k").__module__ == "own"


@pytest.mark.parametrize(
    "text, name, message",
    [
        (None, "own.py:A", "own.py does not exist"),
        ("class B: pass", "own.py:A", "own.py has no class A, or function of that name"),
        ("import nothing_of_that_name", "own.py:A", "own.py cannot be imported (No module named"),
        ("def f(:", "own.py:A", "own.py cannot be imported (invalid syntax"),
        (None, "nowhere.at_all:A", "module nowhere.at_all cannot be imported"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(tmp_path: Path, text: str | None, name: str, message: str) -> None:
    if text is not None:
        (tmp_path / "own.py").write_text(text)
    with pytest.raises(ValueError) as caught:
        plugins.load(f"{tmp_path}/{name}" if name.startswith("own") else name, "section.key")
    assert str(caught.value).startswith("section.key: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["dbcgm.flow", "rsdm.estimator", "rsdm.score", "deblurring.loss"])
def test_the_key_takes_a_file_relative_to_the_configuration(tmp_path: Path, key: str) -> None:
    section, name = key.split(".")
    path = tmp_path / "c.yaml"
    path.write_text(f"{section}: {{{name}: mine.py:Thing}}")
    assert getattr(getattr(load_config(Config, path), section), name) == f"{tmp_path / 'mine.py'}:Thing"
    with pytest.raises(UserError, match=f"{key}: expected one of .*path/to/file.py:Name, found 'word'$"):
        load_config(Config, path, [f"{key}=word"])


def test_own_files_count_by_their_content(own: Path, tmp_path: Path) -> None:
    """Not by their place: a folder of results can be moved, and a file that changed makes other results."""
    empty = tmp_path / "c.yaml"
    empty.write_text("")

    def record(path: Path) -> str:
        return section_settings(load_config(Config, empty, [f"dbcgm.flow={path}:Right"]).dbcgm)["flow"]

    (tmp_path / "sub").mkdir()
    copy = tmp_path / "sub" / "own.py"
    copy.write_text(OWN)
    assert record(own) == record(copy) and record(own).startswith("own.py:Right ")
    copy.write_text(OWN + "\n")
    assert record(own) != record(copy)
    assert section_settings(load_config(Config, empty).dbcgm)["flow"] == "raft_large"


def test_own_flow(own: Path, tmp_path: Path) -> None:
    images = torch.stack([torch.full((3, 20, 24), value, dtype=torch.uint8) for value in (10, 13, 11)])
    flow = load_flow(f"{own}:Right")
    assert flow.between(images, [(0, 1), (1, 2), (2, 0)])[:, 0, 0, 0].tolist() == [3, -2, -1]
    assert flow(images[:1], images[1:2]).shape == (1, 2, 20, 24)
    torch.save({"scale": torch.tensor([2.5])}, tmp_path / "w.pth")
    scaled = load_flow(f"{own}:Scaled", tmp_path / "w.pth")
    assert scaled(images[:1], images[1:2]).unique().tolist() == [2.5]
    with pytest.raises(
        UserError, match=r"^dbcgm.flow: .*own.py:Wrong has to return finite values \(1, 2, 20, 24\)"
    ):
        load_flow(f"{own}:Wrong").between(images, [(0, 1)])
    with pytest.raises(UserError, match="^dbcgm.weights: .*own.py:Right is no torch module"):
        load_flow(f"{own}:Right", tmp_path / "w.pth")
    with pytest.raises(UserError, match="^dbcgm.flow: .*own.py has no class Absent"):
        load_flow(f"{own}:Absent")


def test_own_score_chooses_and_magnitudes_stay(own: Path, tmp_path: Path) -> None:
    config = tiny.make(tmp_path)
    maps = {}
    for score in ("magnitude", f"{own}:left"):
        tiny.run("RSDM", config, "--overwrite", "--set", f"rsdm.score={score}")
        paths = sorted((tmp_path / "out" / "rsdm" / "magnitude").rglob("*.npy"))
        maps[score] = {path: np.load(path).tobytes() for path in paths}
    assert len(maps["magnitude"]) == len(tiny.VIDEOS) * tiny.FRAMES
    assert maps["magnitude"] == maps[f"{own}:left"]
    regions = json.loads((tmp_path / "out" / "rsdm" / "sharp_regions.json").read_text())["sharp_regions"]
    assert regions
    for region in regions:
        assert region["bbox"][1] == 0 and region["bbox"][3] == tiny.SIZE[1] // 2
    tiny.run("DBCGM", config)
    with pytest.raises(UserError, match="^rsdm.score: .*own.py:scalar has to return finite values"):
        tiny.run("RSDM", config, "--overwrite", "--set", f"rsdm.score={own}:scalar")


def test_own_estimator_needs_no_weights(own: Path, tmp_path: Path) -> None:
    config = tiny.make(tmp_path, rsdm={"weights": None, "estimator": f"{own}:Edges"})
    tiny.run("RSDM", config)
    found = np.load(tmp_path / "out" / "rsdm" / "magnitude" / "a" / "8.npy")
    assert found.shape == tiny.SIZE and found.dtype == np.float32 and 0 < found.std()
    with pytest.raises(UserError, match="^rsdm.estimator: has to return"):
        tiny.run("RSDM", config, "--overwrite", "--set", f"rsdm.estimator={own}:Half")
    with pytest.raises(UserError, match="^rsdm.weights is not set"):
        tiny.run("RSDM", config, "--overwrite", "--set", "rsdm.estimator=bme")


def test_losses_by_name() -> None:
    facts = models.spec("ESTRNN")
    assert models.adaptation_loss(None, facts) is facts.adaptation_loss
    given = torch.full((1, 1, 3, 4, 4), 0.5), torch.full((1, 1, 3, 4, 4), 0.25)
    values = {
        name: float(models.adaptation_loss(name, facts)(*given)) for name in ("l1", "mse", "charbonnier")
    }
    assert values == pytest.approx({"l1": 0.25, "mse": 0.0625, "charbonnier": (0.0625 + 1e-6) ** 0.5})
    assert float(models.adaptation_loss("psnr", facts)(*given)) == pytest.approx(
        10 * np.log10(0.0625), abs=1e-4
    )


def test_own_loss_and_the_optimiser_reach_the_training(own: Path, tmp_path: Path) -> None:
    """A loss without a slope: Adam leaves the weights, AdamW's decay makes them smaller."""
    config = tiny.make(tmp_path, deblurring={"loss": f"{own}:nothing"})
    for stage in ("RSDM", "DBCGM", "BlurringModel"):
        tiny.run(stage, config)
    source = load_state(tmp_path / "weights" / "estrnn.tar")
    last = tmp_path / "out" / "deblurring" / "ESTRNN" / "weights" / "last.pth"
    sizes = {}
    for optimizer, decay in (("adam", 0.0), ("adamw", 10.0)):
        more = f"deblurring.optimizer={optimizer}", f"deblurring.weight_decay={decay}"
        tiny.run("DeblurringModel.deblur_finetune_DDP", config, "--overwrite", "--set", *more)
        found = load_state(last)
        sizes[optimizer] = sum(float(value.abs().sum()) for value in found.values())
        assert all(torch.equal(value, source[name]) for name, value in found.items()) == (optimizer == "adam")
    assert sizes["adamw"] < sizes["adam"]


def test_weight_decay_needs_adamw(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("")
    with pytest.raises(UserError) as caught:
        load_config(Config, tmp_path / "c.yaml", ["deblurring.weight_decay=0.1"])
    assert str(caught.value) == "deblurring.weight_decay: 0.1 needs deblurring.optimizer adamw, found null"


def test_the_ablation_has_a_cell_for_every_patch_and_condition() -> None:
    choices = {
        name: type(section).__dataclass_fields__[name].metadata["choices"]
        for section, name in ((Config().rsdm, "patches"), (Config().dbcgm, "condition"))
    }
    assert tuple(ablation.PATCHES) == choices["patches"]
    assert tuple(ablation.CONDITIONS) == choices["condition"]
    assert len(set(ablation.CELLS)) == 6 and ablation.METHOD in ablation.CELLS
    assert len({ablation.label(*cell) for cell in ablation.CELLS}) == 6
