"""Small runs of every network and of the whole pipeline on a device, compared with float32 on the CPU."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from BlurringModel.id_blau.diffusion import GaussianDiffusion, linear_betas
from BlurringModel.id_blau.unet import UNet
from common.flow import raft_network
from common.images import read_image, write_image
from common.layout import BASELINE
from common.runtime.distributed import mixed_precision, place
from common.runtime.memory import out_of_memory
from common.runtime.precision import computes_bf16
from common.videos import sorted_frames
from DeblurringModel import models
from RSDM.bme.model import BlurMagnitudeEstimator
from scripts.benchmarking.content import seeded
from scripts.evaluation.runner import LAUNCHER, ROOT, last_error

CLIP = ROOT / "assets" / "demo" / "walk"
FRAMES, HEIGHT, WIDTH = 8, 160, 192
GIB = 1 << 30
STAGES = ("RSDM", "DBCGM", "BlurringModel", "DeblurringModel")
SMALL = {
    "ESTRNN": {"n_features": 16, "n_blocks": 3},
    "MMP_RNN": {"n_features": 8, "n_blocks_a": 2, "n_blocks_b": 1},
    "DSTNet": {"num_feat": 16, "num_block": 2},
    "Shift_Net": {"variant": "small", "width": 8, "growth": 4, "fusion_width": 16, "unets": 1},
    "Window_UNet": {"channels": [16, 32], "blocks": 1, "middle": 1},
}
BLURRED, UNADAPTED = "blurring/*/reblur/*.png", f"deblurring/*/{BASELINE}/*/*.png"
BOUNDS = {"fp32": 1e-3, "tf32": 2e-2, "bf16": 1e-1}
"""Largest relative difference (of the root mean square) from float32 on the CPU that a result may have. Random weights
amplify rounding more than trained ones."""
LEVELS = {"fp32": 0.5, "tf32": 1.0, "bf16": 2.0}
"""Largest difference in grey levels of 255 (root mean square) from the pictures that the whole pipeline makes in
float32 on the CPU."""


@dataclass(frozen=True)
class Mode:
    """A way to compute: `runtime.precision`, `runtime.tf32`, `runtime.compile`."""

    name: str
    precision: str = "fp32"
    tf32: bool = False
    compile: bool = False

    @property
    def bound(self) -> float:
        return BOUNDS["tf32" if self.tf32 else self.precision]

    @property
    def levels(self) -> float:
        return LEVELS["tf32" if self.tf32 else self.precision]


def modes(device: torch.device) -> list[Mode]:
    """Those that make a difference on `device`."""
    found = [Mode("fp32")]
    if computes_bf16(device):
        found.append(Mode("bf16", precision="bf16"))
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8:
        found.append(Mode("TF32", tf32=True))
    return [*found, Mode("compiled", compile=True)]


@dataclass(frozen=True)
class Part:
    """A network with seeded weights and the pictures it is tried on."""

    name: str
    network: nn.Module
    given: tuple[Tensor, ...]
    compile: bool = False
    """Whether it is tried compiled: those that take seconds for it. A recurrent network takes minutes."""
    single: bool = False
    """Whether the stage computes it in float32 whatever runtime.precision says."""
    train: bool = False
    """Whether the gradient of a loss is compared, as fine-tuning needs it, in place of the output."""


def parts() -> Iterator[Part]:
    """One at a time: the networks of the four stages, small, in float32 on the CPU."""
    generator = torch.Generator().manual_seed(0)

    def noise(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    bme = seeded(lambda: BlurMagnitudeEstimator("resnet10_slim", 16)).eval()
    yield Part("BME", bme, (noise(2, 3, 128, 128),), compile=True)
    raft = seeded(lambda: raft_network("raft_small")).eval()
    yield Part("RAFT", raft, (noise(1, 3, 128, 128) * 2 - 1, noise(1, 3, 128, 128) * 2 - 1), single=True)
    unet = seeded(lambda: UNet(base_channels=16, channel_mults=[1, 2], num_res_blocks=1, time_dim=32))
    diffusion = seeded(lambda: GaussianDiffusion(unet, linear_betas())).eval()
    yield Part("ID-Blau", diffusion.model, (noise(2, 9, 64, 64) - 0.5, torch.tensor([1001, 1])), compile=True)
    for name, architecture in SMALL.items():
        network = seeded(lambda: models.build(name, **architecture))
        clip = noise(1, 6, 3, 64, 64)
        yield Part(name, network.eval(), (clip,))
        yield Part(f"{name}, gradient", network.train(), (clip,), train=True)


def differences(device: torch.device) -> Iterator[tuple[Part, Mode, float | str]]:
    """For each part and mode its relative difference, or the error in one line."""
    for part in parts():
        expected = _result(part, part.network, torch.device("cpu"), Mode("fp32"))
        state = {name: value.clone() for name, value in part.network.state_dict().items()}
        for mode in modes(device):
            if (mode.compile and not part.compile) or (mode.precision == "bf16" and part.single):
                continue
            part.network.load_state_dict(state)
            try:
                found = _result(part, part.network, device, mode)
                yield part, mode, relative(found, expected)
            except Exception as error:
                if not isinstance(error, (RuntimeError, OSError)) and not out_of_memory(error):
                    raise
                yield part, mode, " ".join(str(error).split())[:200] or type(error).__name__
            finally:
                part.network.to("cpu")
                gc.collect()


def relative(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of what is expected."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def _result(part: Part, network: nn.Module, device: torch.device, mode: Mode) -> Tensor:
    network = place(network, device)
    # Compiled beside it: the network itself stays as it is for the next mode.
    call = torch.compile(network) if mode.compile else network
    given = [value.to(device) for value in part.given]
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode.tf32
    network.zero_grad(set_to_none=True)
    with torch.set_grad_enabled(part.train), mixed_precision(network, device, mode.precision):
        output = call(*given)
    output = output[-1] if isinstance(output, (list, tuple)) else output
    if not part.train:
        return output.float().cpu()
    output.float().square().mean().backward()
    gradients = [value.grad.flatten() for value in network.parameters() if value.grad is not None]
    return torch.cat(gradients).float().cpu()


@dataclass(frozen=True)
class Run:
    """One run of the whole pipeline: `mode` on `device` ("cpu", "cuda"), in so many processes."""

    device: str
    mode: Mode
    processes: int = 1

    @property
    def name(self) -> str:
        return f"{self.mode.name}, {self.processes} processes" if self.processes > 1 else self.mode.name

    def output(self, folder: Path) -> Path:
        """Where its results lie below the `folder` of all runs."""
        return folder / f"{self.device}_{self.mode.name}_{self.processes}"


def runs(device: torch.device) -> list[Run]:
    """The pipelines to run: float32 on the CPU, which the others are compared with, then each precision on `device`,
    and two processes where there are two devices."""
    found = [Run("cpu", Mode("fp32"))]
    found += [Run(device.type, mode) for mode in modes(device) if not mode.compile]
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        found.append(Run(device.type, Mode("fp32"), 2))
    return list(dict.fromkeys(found))


def pipeline(folder: Path, run: Run) -> tuple[float, float, str]:
    """Run the four stages with the bundled networks on a part of the bundled clip: (seconds, GiB of resident memory of
    the largest process, "" or the error's line). `folder` is for the data and results."""
    _write_clip(folder / "data" / "walk")
    mode, peak = run.mode, folder / "bytes"
    settings = [
        f"dataset.root={folder / 'data'}",
        f"output={run.output(folder)}",
        f"runtime.device={run.device}",
        f"runtime.precision={mode.precision}",
        f"runtime.tf32={str(mode.tf32).lower()}",
        "rsdm.min_size=64",
        "deblurring.crop_size=64",
        "deblurring.batch_size=2",
        "deblurring.min_steps=4",
        "deblurring.epochs=1",
    ]
    watched = [
        sys.executable,
        str(ROOT / "scripts" / "benchmarking" / "watched.py"),
        str(peak),
        sys.executable,
    ]
    launcher = [str(LAUNCHER), str(run.processes)] if run.processes > 1 else []
    start, most = time.monotonic(), 0.0
    for stage in STAGES:
        command = [*watched, *launcher, str(ROOT / stage / "main.py")]
        command += ["--config", str(ROOT / "configs" / "demo.yaml"), "--set", *settings]
        # More threads mostly wait for each other with networks this small.
        single = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=single)
        most = max(most, int(peak.read_text()) / GIB)
        if done.returncode:
            return time.monotonic() - start, most, f"{stage}/main.py: {last_error(done.stderr)}"
    return time.monotonic() - start, most, ""


def grey_levels(folder: Path, run: Run, reference: Run) -> float:
    """Root mean square difference in grey levels between what two pipelines made: the regions that stage 3 blurred and
    the frames that the unadapted network restored, those that both have.

    Not what the adapted network restores: in the first steps of Adam every gradient counts alike however small it is,
    so that rounding is amplified. Gradients are compared network by network (`differences`).
    """
    errors = []
    for name in (BLURRED, UNADAPTED):
        mine, other = run.output(folder), reference.output(folder)
        both = [(path, mine / path.relative_to(other)) for path in sorted(other.glob(name))]
        errors += [
            np.square(read_image(path).astype(np.float64) - read_image(same)).mean()
            for path, same in both
            if same.exists()
        ]
    return float(np.sqrt(np.mean(errors))) if errors else float("inf")


def _write_clip(folder: Path) -> None:
    for kind in ("Blur", "Sharp"):
        for path in sorted_frames(CLIP / kind / "RGB")[:FRAMES]:
            write_image(
                folder / kind / "RGB" / path.name, np.ascontiguousarray(read_image(path)[:HEIGHT, :WIDTH])
            )
