"""Every network through the code of stage 4: fine-tuning, restoring, loading, and custom networks."""

import argparse
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import torch
import yaml
from tiny import one_thread  # noqa: F401 (a fixture)

from common.checkpoints import load_checkpoint, load_into
from common.config import Config
from common.config_loader import load_config
from common.errors import UserError
from common.images import pad_to_multiple, read_image, to_image, to_tensor, write_image
from common.regions_file import Region
from common.runtime.distributed import World
from common.stage import Stage
from common.training.frame_cache import FrameCache
from common.videos import Video, find_videos
from DeblurringModel import losses, models
from DeblurringModel.deblur_finetune_DDP import finetune_on
from DeblurringModel.inference.restoring import clips_of, restored_frames
from DeblurringModel.pair_sources import pairs_of
from DeblurringModel.pairs import Pairs, reblurred_pairs

README = tiny.ROOT / "DeblurringModel" / "README.md"
CPU = World(0, 1, torch.device("cpu"))

SMALL = {
    "ESTRNN": {"n_features": 4, "n_blocks": 1},
    "MMP_RNN": {"n_features": 4, "n_blocks_a": 1, "n_blocks_b": 1},
    "DSTNet": {"num_feat": 8, "num_block": 1},
    "Shift_Net": {
        "variant": "small",
        "width": 4,
        "growth": 2,
        "fusion_width": 16,
        "shift_steps": 2,
        "unets": 1,
    },
    "Window_UNet": {"channels": [4, 6, 8], "blocks": 1, "middle": 1},
}
PUBLISHED = {
    "ESTRNN": {},
    "MMP_RNN": {},
    "DSTNet": {},
    "DSTNet large": {"num_feat": 64, "num_block": 30, "widen": True},
    "Shift_Net plus": {"variant": "plus"},
    "Shift_Net small": {"variant": "small"},
}
LAYOUTS: dict[str, Callable[[dict], dict]] = {
    "ESTRNN": lambda state: tiny.authors_layout("ESTRNN", state),
    "MMP_RNN": lambda state: tiny.authors_layout("MMPRNN", state),
    "DSTNet": lambda state: {"params": state},
    "Shift_Net": lambda state: {"params": state},
    "Window_UNet": lambda state: {"model_state": state},
}


def save_as_published(name: str, network: torch.nn.Module, path: Path) -> Path:
    torch.save(LAYOUTS[name](network.state_dict()), path)
    return path


def stage_for(name: str, folder: Path, videos: list[Video], *overrides: str) -> Stage:
    """Stage 4 with small random weights of a built-in network."""
    torch.manual_seed(3)
    weights = save_as_published(name, models.build(name, **SMALL[name]), folder / f"{name}.pth")
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "base": str(tiny.ROOT / "configs" / "default.yaml"),
                "output": "out",
                "deblurring": {"model": name, "architecture": SMALL[name], "weights": weights.name},
                "runtime": {"device": "cpu", "workers": 0},
            }
        )
    )
    return Stage(load_config(Config, path, overrides), CPU, videos, folder / "out", argparse.Namespace())


@pytest.fixture
def video(tmp_path: Path) -> Video:
    """Seven frames of 100 x 132 pixels."""
    tiny.write_video(tmp_path / "data" / "a", (100, 132), frames=7)
    return find_videos(tmp_path / "data")[0]


# Built-in networks


def test_all_networks_are_tried() -> None:
    assert set(models.names()) == set(SMALL) == set(LAYOUTS)


@pytest.mark.parametrize("name", SMALL)
def test_fine_tuning_lowers_the_adaptation_loss(name: str, video: Video, tmp_path: Path) -> None:
    stage = stage_for(
        name,
        tmp_path,
        [video],
        "deblurring.batch_size=2",
        "deblurring.crop_size=32",
        "deblurring.epochs=25",
        "deblurring.learning_rate=2e-3",
    )
    config, spec = stage.config.deblurring, models.spec(name)
    blurring = stage.output / "blurring"
    for position in (2, 3):
        write_image(
            blurring / "a" / "reblur" / f"{8 + position}.png",
            cv2.blur(read_image(video.frames[position]), (1, 9)),
        )
    regions = [Region(video, position, (4, 8, 40, 48)) for position in (2, 3)]
    folder = tmp_path / "weights"
    finetune_on(
        stage,
        regions,
        pairs_of(stage.config.deblurring, regions, stage.layout.blurring, Path(), []),
        [video],
        folder,
        name,
    )

    stored = load_checkpoint(folder / "last.pth")
    assert stored["step"] == 25 and stored["network"] == name and stored["architecture"] == SMALL[name]
    before, after = (models.build(name, **SMALL[name]).eval() for _ in range(2))
    load_into(before, config.weights)
    load_into(after, folder / "last.pth")
    windows, sharp = Pairs(reblurred_pairs(regions, blurring), 32, 7, FrameCache(1.0)).batch(
        list(range(4)), 4
    )
    with torch.no_grad():
        values = [
            float(
                spec.adaptation_loss(
                    models.restore(net, spec, windows)[:, 2 - spec.past :][:, :1] + spec.low,
                    sharp + spec.low,
                )
            )
            for net in (before, after)
        ]
    print(f"{name}: {values[0]:.5f} -> {values[1]:.5f}")
    assert values[1] < 0.98 * values[0]
    for (key, old), new in zip(before.named_parameters(), after.parameters()):
        assert old.requires_grad or torch.equal(old, new), key


@pytest.mark.parametrize("name", SMALL)
def test_every_frame_is_restored_at_its_size_and_under_its_name(
    name: str, video: Video, tmp_path: Path
) -> None:
    stage, spec = stage_for(name, tmp_path, [video]), models.spec(name)
    network = models.build(name, **SMALL[name]).eval()
    load_into(network, stage.config.deblurring.weights)
    clips = clips_of(video, spec, 0, 0, "mirror")
    restored = {
        video.frames[position].name: picture
        for position, picture in restored_frames(
            network, spec, video, clips, stage.config, stage.world.device, stage.say
        )
    }
    assert set(restored) == {path.name for path in video.frames}
    # The same by hand: the video mirrored at its ends, each output taken from its place.
    frames = [to_tensor(read_image(path)) for path in video.frames]
    mirrored = [frames[abs(p) if p < 7 else 12 - p] for p in range(-spec.past, 7 + spec.future)]
    clip = pad_to_multiple(torch.stack(mirrored)[None], spec.multiple)
    with torch.no_grad():
        if name == "ESTRNN":
            output = torch.cat([network(clip[:, p : p + 5] + spec.low) for p in range(7)], dim=1)
        else:
            output = network(clip + spec.low)
    for index, path in enumerate(video.frames):
        expected = to_image(output[0, index, :, :100, :132] - spec.low)
        assert restored[path.name].shape == (100, 132, 3)
        assert np.abs(restored[path.name].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("case", PUBLISHED)
def test_a_file_laid_out_as_published_loads_strictly(case: str, tmp_path: Path) -> None:
    name = case.split()[0]
    torch.manual_seed(0)
    source = models.build(name, **PUBLISHED[case])
    path = save_as_published(name, source, tmp_path / "published.pth")
    torch.manual_seed(1)
    network = models.build(name, **PUBLISHED[case])
    load_into(network, path)
    expected = source.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())
    first = next(iter(expected))
    incomplete = {f"{key}_x" if key == first else key: value for key, value in expected.items()}
    torch.save(LAYOUTS[name](incomplete), path)
    with pytest.raises(UserError, match=re.escape(f"missing 1 ({first}); unexpected 1 ({first}_x)")):
        load_into(network, path)


@pytest.mark.parametrize("name", SMALL)
def test_specification_holds_for_the_network(name: str) -> None:
    spec, network = models.spec(name), models.build(name, **SMALL[name]).eval()
    frames = spec.past + spec.future + 3
    size = max(spec.minimum, spec.multiple)
    with torch.no_grad():
        output = network(torch.zeros(1, frames, 3, size, size + spec.multiple))
        assert output.shape == (1, 3, 3, size, size + spec.multiple)
        with pytest.raises(ValueError):
            network(torch.zeros(1, frames, 3, size + 1, size))
        if spec.past + spec.future:
            with pytest.raises(ValueError):
                network(torch.zeros(1, spec.past + spec.future, 3, size, size))


# What is stated about a network


@pytest.mark.parametrize("name", ["Nothing", "", ":Net", "file.py:", "file.py:not a name"])
def test_unknown_network(name: str) -> None:
    with pytest.raises(ValueError, match="deblurring.model: expected ESTRNN, MMP_RNN, DSTNet, Shift_Net, "):
        models.spec(name)


@pytest.mark.parametrize(
    "interface, words",
    [
        ({"futur": 1}, "unknown key 'futur'; known are loss, low, past"),
        ({"module": 1}, "unknown key 'module'"),
        ({"past": "2"}, "past: expected a whole number, found '2'"),
        ({"past": 1.0}, "past: expected a whole number, found 1.0"),
        ({"future": True}, "future: expected a whole number, found True"),
        ({"past": 3}, "past: expected 0 to 2, found 3"),
        ({"future": -1}, "future: expected 0 to 2, found -1"),
        ({"multiple": 0}, "multiple: expected 1 to inf, found 0"),
        ({"clip_length": 0}, "clip_length: expected 1 to inf, found 0"),
        ({"low": "zero"}, "low: expected a number, found 'zero'"),
        ({"low": float("nan")}, "low: expected -inf to inf, found nan"),
        ({"learning_rate": -1e-4}, "learning_rate: expected 0 to inf"),
        ({"loss": "l3"}, "loss: expected one of l1, mse, charbonnier, psnr, found 'l3'"),
    ],
)
def test_impossible_interface(interface: dict, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        models.spec("own.py:Net", interface)


def test_interface_changes_what_it_names_and_nothing_else() -> None:
    plain, changed = (
        models.spec("Shift_Net"),
        models.spec("Shift_Net", {"clip_length": 20, "loss": "charbonnier"}),
    )
    assert (changed.clip_length, changed.adaptation_loss) == (20, losses.colour_charbonnier)
    assert (changed.past, changed.learning_rate, changed.module) == (
        plain.past,
        plain.learning_rate,
        plain.module,
    )
    own = models.spec("own.py:Net", {"low": -1, "past": 2})
    assert (own.low, own.past, own.future, own.multiple, own.clip_length) == (-1, 2, 0, 1, 5)


@pytest.mark.parametrize("low", [-0.5, 0.0, -1.0])
@pytest.mark.parametrize("interface", [{}, {"loss": "mse"}])
def test_squared_error_clamps_to_the_range_of_the_network(low: float, interface: dict) -> None:
    """A loss that clamps to another range sees no error, and gives no gradient, where a picture is bright."""
    loss = models.spec("own.py:Net", {"low": low, **interface}).adaptation_loss
    prediction = torch.full((1, 1, 3, 4, 4), low + 0.9, requires_grad=True)
    value = loss(prediction, torch.full_like(prediction, low + 0.8))
    assert value.item() == pytest.approx(0.01, rel=1e-4)
    value.backward()
    assert (prediction.grad > 0).all()
    assert loss(torch.full((1, 1, 3, 4, 4), low + 1.5), torch.full((1, 1, 3, 4, 4), low + 1)).item() == 0


def test_estrnn_keeps_its_published_losses() -> None:
    spec = models.spec("ESTRNN")
    given = torch.tensor([-0.9, 0.2, 0.7]).reshape(1, 1, 3, 1, 1), torch.zeros(1, 1, 3, 1, 1)
    assert spec.adaptation_loss(*given).item() == pytest.approx((0.25 + 0.04 + 0.25) / 3)
    assert spec.training_loss is losses.colour_charbonnier


def test_wrong_number_of_frames_is_refused() -> None:
    spec, clip = models.spec("own.py:Net", {"past": 2, "future": 2}), torch.zeros(1, 7, 3, 8, 8)
    assert models.checked(clip[:, 2:-2], clip, spec).shape[1] == 3
    for wrong in (clip, clip[:, :1], clip[:, 2:-2, :, :4], clip[0]):
        with pytest.raises(
            UserError, match="deblurring.interface: with past 2 and future 2 Net has to return"
        ):
            models.checked(wrong, clip, spec)


def test_channel_order_is_that_of_the_weights() -> None:
    picture = torch.rand(1, 5, 3, 4, 4)
    spec = models.spec("own.py:Net", {"low": -0.5})
    for order, kept in (("rgb", 0), ("bgr", 2)):

        def first_channel(clip: torch.Tensor) -> torch.Tensor:
            return torch.cat([clip[:, :, :1], torch.full_like(clip[:, :, 1:], -0.5)], dim=2)

        restored = models.restore(first_channel, spec, picture, order)
        expected = torch.zeros_like(picture)
        expected[:, :, kept] = picture[:, :, kept]
        assert torch.allclose(restored, expected, atol=1e-6)


# Custom networks

OWN = '''
import dataclasses
import torch
from torch import nn


@dataclasses.dataclass
class Facts:
    width: int


class Middle(nn.Module):
    """Reads five frames in [-1, 0] and restores the middle one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.facts = Facts(width)
        self.mix = nn.Conv3d(3, width, (5, 3, 3), padding=(0, 1, 1))
        self.out = nn.Conv3d(width, 3, 1)

    def encode(self, x):
        raise AssertionError("a name that means something else here")

    decode = encode

    def forward(self, clip):
        assert clip.max() <= 0 and clip.shape[-1] % 8 == 0 and clip.shape[-2] % 8 == 0
        clip = clip.transpose(1, 2)
        return (clip[:, :, 2:-2] + 0.1 * self.out(torch.tanh(self.mix(clip)))).transpose(1, 2)
'''


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case after stages 1 to 3, frames of an odd size. Not to be changed: take a copy."""
    folder = tmp_path_factory.mktemp("own") / "case"
    config = tiny.make(folder, tiny.ODD_SIZE)
    for stage in tiny.STAGES[:3]:
        tiny.run(stage, config)
    return folder


@pytest.fixture
def case(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(prepared, tmp_path / "case")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "case"


def check_results(folder: Path, name: str) -> None:
    output = folder / "out" / "deblurring" / name
    for video in tiny.VIDEOS:
        for kind in ("baseline", "adapted"):
            sizes = [read_image(path).shape[:2] for path in (output / kind / video).iterdir()]
            assert sizes == [tiny.ODD_SIZE] * tiny.FRAMES
    assert (output / "metrics.json").exists()
    assert (output / "baseline/a/8.png").read_bytes() != (output / "adapted/a/8.png").read_bytes()


def test_own_network_in_a_file_runs_stage_4(case: Path) -> None:
    (case / "networks").mkdir()
    # Named like a package of this project, which it must not replace.
    (case / "networks" / "common.py").write_text(OWN)
    model = f"{case}/networks/common.py:Middle"
    torch.save(models.build(model, width=4).state_dict(), case / "networks" / "middle.pth")
    (case / "own.yaml").write_text(
        yaml.safe_dump(
            {
                "base": "config.yaml",
                "deblurring": {
                    "model": "networks/common.py:Middle",
                    "architecture": {"width": 4},
                    "weights": "networks/middle.pth",
                    "interface": {
                        "low": -1.0,
                        "past": 2,
                        "future": 2,
                        "multiple": 8,
                        "minimum": 16,
                        "clip_length": 7,
                    },
                },
            }
        )
    )
    tiny.run("DeblurringModel", case / "own.yaml")
    check_results(case, "Middle")


def test_own_network_of_a_package_and_a_wrong_interface(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = case / "own_networks_for_this_test"
    package.mkdir()
    (package / "middle.py").write_text(OWN)
    monkeypatch.syspath_prepend(case)
    model = f"{package.name}.middle:Middle"
    torch.save(models.build(model, width=4).state_dict(), case / "middle.pth")
    settings = (
        "--set",
        f"deblurring.model={model}",
        "deblurring.architecture={width: 4}",
        f"deblurring.weights={case}/middle.pth",
    )
    with pytest.raises(
        UserError, match=r"deblurring.interface: with past 0 and future 0 Middle has to return"
    ):
        tiny.run(
            "DeblurringModel", case / "config.yaml", *settings, "deblurring.interface={low: -1, multiple: 8}"
        )
    tiny.run(
        "DeblurringModel",
        case / "config.yaml",
        *settings,
        "deblurring.interface={low: -1, past: 2, future: 2, multiple: 8}",
    )
    check_results(case, "Middle")


@pytest.mark.skipif(not README.exists(), reason="there is no DeblurringModel/README.md")
def test_own_network_of_the_readme_runs_stage_4(case: Path) -> None:
    example = re.search(
        r"<!-- own-network -->(.*?)<!-- /own-network -->", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert example, "DeblurringModel/README.md has no own-network example between its markers"
    code, settings = (
        re.search(rf"```{language}\n(.*?)```", example[1], re.DOTALL)[1] for language in ("python", "yaml")
    )
    section = yaml.safe_load(settings)["deblurring"]
    file, _, class_name = section["model"].rpartition(":")
    (case / file).parent.mkdir(parents=True, exist_ok=True)
    (case / file).write_text(code)
    torch.manual_seed(4)
    network = models.build(f"{case / file}:{class_name}", **section.get("architecture", {}))
    (case / section["weights"]).parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), case / section["weights"])
    (case / "readme.yaml").write_text(f"base: config.yaml\n{settings}")
    tiny.run("DeblurringModel", case / "readme.yaml")
    check_results(case, class_name)


def test_another_network_starts_without_the_keywords_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "deblurring:\n  architecture: {n_blocks: 4}\n  interface: {clip_length: 9}\n"
    )
    (tmp_path / "more.yaml").write_text("base: base.yaml\ndeblurring: {architecture: {n_features: 12}}")
    (tmp_path / "other.yaml").write_text(
        "base: more.yaml\ndeblurring: {model: DSTNet, architecture: {num_feat: 8}}"
    )
    more, other = (load_config(Config, tmp_path / name).deblurring for name in ("more.yaml", "other.yaml"))
    assert (more.architecture, more.interface) == ({"n_blocks": 4, "n_features": 12}, {"clip_length": 9})
    assert (other.architecture, other.interface) == ({"num_feat": 8}, {})
