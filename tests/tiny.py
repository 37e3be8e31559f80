"""A complete small case: two videos, random weights laid out as published, a configuration that uses them.

The four stages run on it in seconds. Nothing is learned well; every path through the stages is taken.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import vectors
import yaml

from BlurringModel.id_blau.diffusion import GaussianDiffusion, linear_betas
from BlurringModel.id_blau.unet import UNet
from common.images import pad_to_multiple, to_tensor, write_image
from common.runtime import locks
from common.videos import sorted_frames
from DeblurringModel.ESTRNN.identity import start_as_identity
from DeblurringModel.ESTRNN.model import ESTRNN
from RSDM.bme.model import BlurMagnitudeEstimator

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("RSDM", "DBCGM", "BlurringModel", "DeblurringModel")
FRAMES = 8
SIZE = (64, 72)
ODD_SIZE = (61, 73)
VIDEOS = ("a", "b")
BLUR_LENGTHS = (9, 3, 7, 2, 5, 2, 3, 9)
"""Moments that each frame's exposure averages; never one alone, so that no frame equals its ground truth."""

BME = {"backbone": "resnet10_slim", "width": 8}
UNET = {"base_channels": 8, "channel_mults": [1, 2], "num_res_blocks": 1, "time_dim": 16}
ESTRNN_SMALL = {"n_features": 12, "n_blocks": 1}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For test files that import it: results in this process equal those of processes with one thread bit by
    bit, and networks this small leave threads mostly waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(folder: Path, size: tuple[int, int] = SIZE, **sections: Mapping) -> Path:
    """Data set, weights and configuration in `folder`; returns the configuration's path.

    size: (height, width) of the frames. sections: changes of the configuration, a mapping per section.
    """
    for number, name in enumerate(VIDEOS):
        write_video(folder / "data" / name, size, number)
    write_weights(folder / "weights", sorted_frames(folder / "data" / VIDEOS[0] / "Blur" / "RGB"))
    return write_config(folder, **sections)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case after all four stages, for test files that import it. Not to be changed: take a copy."""
    folder = tmp_path_factory.mktemp("finished") / "case"
    config = make(folder)
    for stage in STAGES:
        run(stage, config)
    return folder


def write_config(folder: Path, name: str = "config.yaml", **sections: Mapping) -> Path:
    """The configuration `folder/name` for what `make` wrote there."""
    content = {
        "base": str(ROOT / "configs" / "default.yaml"),
        "output": "out",
        "dataset": {"root": "data"},
        "rsdm": {
            "weights": "weights/bme.pth",
            **BME,
            "ratio": 0.25,
            # At the first threshold boxes are smaller than the frame.
            "initial_threshold": 0.3,
            "min_size": 32,
            "border": 2,
            "batch_size": 1,
        },
        "dbcgm": {"flow": "dis", "magnitude_offset": 1.0},
        "blurring": {
            "weights": "weights/id_blau.pth",
            "architecture": UNET,
            "steps": 3,
            "margin": 4,
            "batch_size": 1,
        },
        "deblurring": {
            "weights": "weights/estrnn.tar",
            "architecture": ESTRNN_SMALL,
            "epochs": 2,
            "batch_size": 2,
            "crop_size": 32,
        },
        "runtime": {"device": "cpu", "workers": 1},
    }
    for section, changes in sections.items():
        content[section] = {**content[section], **changes}
    path = folder / name
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def run(stage: str, config: Path, *arguments: str) -> None:
    """The stage's main() in this process, as if called by `python <stage>/main.py --config <config> ...`; a
    name with a dot is a module of its own."""
    module = importlib.import_module(stage if "." in stage else f"{stage}.main")
    before = sys.argv
    sys.argv = [stage, "--config", str(config), *map(str, arguments)]
    try:
        module.main()
    finally:
        sys.argv = before
        locks.release()


def write_video(folder: Path, size: tuple[int, int] = SIZE, number: int = 0, frames: int = FRAMES) -> None:
    """<folder>/{Blur,Sharp}/RGB/<frame>.png: a smooth texture that moves left and up, every other frame less
    blurred than its neighbours. Frame names have no leading zeros, so their order is not alphabetical."""
    height, width = size
    reach = 2 * frames + max(BLUR_LENGTHS)
    slope = 1 + number % 2
    scene = texture(f"tiny/{number}", height + reach, width + slope * reach)
    for index in range(frames):
        length = BLUR_LENGTHS[index % len(BLUR_LENGTHS)]
        moments = range(2 * index, 2 * index + length)
        exposures = np.stack([scene[t : t + height, slope * t : slope * t + width] for t in moments])
        name = f"{8 + index}.png"
        write_image(folder / "Blur" / "RGB" / name, exposures.mean(axis=0).round().astype(np.uint8))
        write_image(folder / "Sharp" / "RGB" / name, exposures[length // 2])


def texture(name: str, height: int, width: int) -> np.ndarray:
    """A coloured picture uint8 (height, width, 3) with detail at several scales, the finest in places."""

    def noise(cell: int, channels: int) -> np.ndarray:
        coarse = vectors.normal(f"{name}/{cell}", height // cell + 2, width // cell + 2, channels).numpy()
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    where = (1 + np.tanh(2 * noise(48, 1)[..., None])) / 2
    picture = 0.5 + 0.1 * where * noise(3, 3) + 0.1 * noise(12, 3) + 0.1 * noise(24, 3)
    return (255 * picture).round().clip(0, 255).astype(np.uint8)


def write_weights(folder: Path, frames: Sequence[Path]) -> None:
    """Random weights of the three networks in `folder`, each laid out as its published file; see `estimator`
    for the `frames`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(estimator(frames).state_dict(), folder / "bme.pth")
    torch.save(
        {"model_state": diffusion_state(), "args": argparse.Namespace(device=torch.device("cuda"), epoch=3)},
        folder / "id_blau.pth",
    )
    torch.manual_seed(2)
    network = ESTRNN(**ESTRNN_SMALL)
    start_as_identity(network)
    torch.save(authors_layout("ESTRNN", network.state_dict()), folder / "estrnn.tar")


def authors_layout(name: str, state: Mapping[str, torch.Tensor]) -> dict:
    """What ESTRNN's and MMP-RNN's authors store: weights behind two wrappers, the name as `model`."""
    return {
        "epoch": 1,
        "model": name,
        "state_dict": {f"module.model.{key}": value for key, value in state.items()},
        "register_dict": {"train": {"loss": [0.5]}},
        "optimizer": {},
        "scheduler": {},
    }


def diffusion_state() -> dict[str, torch.Tensor]:
    """Random ID-Blau of 100 steps; the U-Net's keys start with `model.module.`, the schedule's are bare."""
    torch.manual_seed(1)
    diffusion = GaussianDiffusion(UNet(**UNET), linear_betas(100, beta_T=0.1))
    return {
        key.replace("model.", "model.module.", 1) if key.startswith("model.") else key: value
        for key, value in diffusion.state_dict().items()
    }


def estimator(frames: Sequence[Path]) -> BlurMagnitudeEstimator:
    """A BME that measures detail: on the way through its finest level random edge filters are summed, and the
    less they find the larger is the magnitude. Over `frames` it has mean 0.3 and deviation 0.1. The weights
    of the coarser levels are random, and come to nothing."""
    network = vectors.fill(BlurMagnitudeEstimator(**BME)).eval()
    fusion, join, half = network.aff, network.cm_0.conv[0], BME["width"] // 2
    ramp = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    with torch.no_grad():
        network.div_2[0].weight -= network.div_2[0].weight.mean(dim=(1, 2, 3), keepdim=True)
        for layer in (fusion.conv0, fusion.conv0_1x1, fusion.conv0_out, join, network.Up, network.classifier):
            layer.bias.zero_()
            layer.weight.fill_(1)
        fusion.conv0_1x1.weight[:, BME["width"] :] = 0
        join.weight[:, :half] = 0
        network.Up.weight.copy_(ramp.outer(ramp).expand_as(network.Up.weight))
        for block in network.decoder_0.main:
            block.main[4].weight.zero_()
            block.main[4].bias.zero_()
        output = network(
            pad_to_multiple(torch.stack([to_tensor(cv2.imread(str(path))) for path in frames]), 8)
        )
        scale = -0.1 / output.std()
        network.classifier.weight *= scale
        network.classifier.bias.copy_(0.3 - scale * output.mean())
    return network
