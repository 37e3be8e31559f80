"""Stages really run, as a user runs them: the demo, a short clip with the published networks, growing data
sets."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from common.config import Config
from common.config_loader import load_config
from common.images import read_image
from common.layout import BASELINE, FUSED, Layout
from common.metrics import psnr
from scripts.benchmarking import content, timing
from scripts.benchmarking.workload import QUICK, Workload

STAGES = {
    "stage 1, RSDM": ("RSDM/main.py",),
    "stage 2, DBCGM": ("DBCGM/main.py",),
    "stage 3, ID-Blau": ("BlurringModel/main.py",),
    "stage 4, fine-tuning": ("DeblurringModel/deblur_finetune_DDP.py",),
    "stage 4, inference": ("DeblurringModel/deblur_inference.py", "--variant", "adapted"),
}
FUSION = {"stage 4, borrowing and fusion": ("DeblurringModel/deblur_inference.py", "--variant", FUSED)}
CLIP_REGIONS, CLIP_STEPS = 2, 10
SIZES = ((640, 480), (1280, 720))
Said = Callable[[str], object]


def write_case(folder: Path, workload: Workload, videos: int, frames: int) -> Path:
    """Videos, weights and a configuration in `folder`; returns the configuration. Two regions a video at
    places drawn by seed (random weights find none), so the threshold search is not part of it."""
    for number in range(videos):
        content.video(folder / "data" / f"video{number}", workload, frames)
    content.write_weights(folder / "weights", workload)
    config: dict[str, Any] = {
        "base": str(timing.ROOT / "configs" / "default.yaml"),
        "output": "output",
        "dataset": {"root": "data"},
        "rsdm": {
            "weights": "weights/bme.pth",
            **workload.bme,
            "patches": "random",
            "min_size": workload.box,
            # In so few frames the usual border leaves two, and both regions fell into one: nothing to divide.
            "border": 2,
            "ratio": (CLIP_REGIONS + 0.5) / frames,
            "batch_size": 2,
        },
        "dbcgm": {"weights": "weights/raft.pth", "flow": workload.flow, "iterations": workload.updates},
        "blurring": {
            "weights": "weights/diffusion.pth",
            "architecture": workload.unet,
            "margin": workload.margin,
            "steps": min(CLIP_STEPS, workload.steps),
            "batch_size": 1,
        },
        "deblurring": {
            "weights": "weights/estrnn.pth",
            "architecture": workload.estrnn,
            "crop_size": workload.crop,
            "batch_size": workload.windows,
            "epochs": 2,
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def stages(
    config: Path,
    processes: int,
    threads: int,
    device: str,
    output: Path,
    said: Said,
    more_stages: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> dict[str, dict[str, float]]:
    """All stages in order, and `more_stages` after them; seconds and GiB of each."""
    results = {}
    for name, (script, *more) in {**STAGES, **more_stages}.items():
        said(f"{name}, {processes} process(es)")
        results[name] = timing.stage(
            script, config, processes, threads, *more, "--set", f"output={output}", f"runtime.device={device}"
        )
    return results


def scaling(workload: Workload, device: str, processes: int, said: Said) -> dict[str, Any]:
    """The clip in one process and in several, one thread each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_case(folder, workload, 1, workload.clip)
        return {
            str(count): stages(config, count, 1, device, folder / f"output{count}", said)
            for count in (1, processes)
        }


def demo(workload: Workload, device: str, threads: int, said: Said) -> dict[str, Any]:
    """The bundled clip with the bundled networks, and what bf16 changes there: PSNR of the unadapted
    network's frames."""
    config = timing.ROOT / "configs" / "demo.yaml"
    quick = (
        ["blurring.moved.copies=1", "deblurring.min_steps=0", "deblurring.epochs=1"]
        if workload == QUICK
        else []
    )
    with tempfile.TemporaryDirectory() as name:
        folder, result = Path(name), {}
        for stage, (script, *more) in STAGES.items():
            said(f"demo, {stage}")
            result[stage] = timing.stage(
                script,
                config,
                1,
                threads,
                *more,
                "--set",
                f"output={folder / 'output'}",
                f"runtime.device={device}",
                *quick,
            )
        return {"stages": result} | _precisions(config, folder, device, threads, said)


def _precisions(config: Path, folder: Path, device: str, threads: int, said: Said) -> dict[str, Any]:
    """The bundled clip as the unadapted network restores it in float32 and in bf16: mean PSNR in dB of each against
    the ground truth, and of the two against each other."""
    pictures, inference = {}, STAGES["stage 4, inference"][0]
    model = load_config(Config, config).deblurring.model
    for precision in ("fp32", "bf16"):
        said(f"demo, restored in {precision}")
        timing.stage(
            inference,
            config,
            1,
            threads,
            "--variant",
            BASELINE,
            "--set",
            f"output={folder / precision}",
            f"runtime.precision={precision}",
            f"runtime.device={device}",
        )
        pictures[precision] = Layout(folder / precision).network(model).variant(BASELINE)
    sharp = sorted((timing.ROOT / "assets" / "demo").glob("*/Sharp/RGB/*.png"))

    def restored(precision: str, path: Path) -> np.ndarray:
        return read_image(pictures[precision] / path.parts[-4] / path.name)

    metrics = {
        precision: float(np.mean([psnr(restored(precision, path), read_image(path)) for path in sharp]))
        for precision in pictures
    }
    between = np.mean([psnr(*(restored(precision, path) for precision in pictures)) for path in sharp])
    return {"frames": len(sharp), "psnr": metrics, "between": float(between)}


def memory(workload: Workload, device: str, threads: int, said: Said) -> Iterator[tuple[str, dict[str, Any]]]:
    """Peak memory of each stage: the published networks on one video of `workload.frames` frames (two DDIM
    steps and two flow updates, on which memory does not depend); and tiny networks on one and on four videos
    of a fifth of that."""
    few = Workload(**{**workload.as_dict(), "updates": 2, "steps": 2})
    tiny = Workload(**{**QUICK.as_dict(), "width": workload.width, "height": workload.height})
    for label, networks, videos, frames in (
        ("published networks", few, 1, workload.frames),
        ("tiny networks", tiny, 1, workload.frames // 5),
        ("tiny networks", tiny, 4, workload.frames // 5),
    ):
        with tempfile.TemporaryDirectory() as name:
            config = write_case(Path(name), networks, videos, max(8, frames))
            yield (
                f"{label}, {videos} x {max(8, frames)} frames",
                stages(config, 1, threads, device, Path(name) / "output", said),
            )


def sizes(workload: Workload, device: str, threads: int, said: Said) -> Iterator[tuple[str, dict[str, Any]]]:
    """Peak memory of each stage on `workload.clip` frames of several sizes, with the bundled configuration and with the
    published networks (as in `memory`). The frames of a quick workload are a quarter as wide and high."""
    for width, height in SIZES:
        part = 4 if workload == QUICK else 1
        sized = {"width": width // part, "height": height // part, "updates": 2, "steps": 2}
        case = Workload(**{**workload.as_dict(), **sized})
        for label, write in (("bundled", write_bundled), ("published", write_published)):
            with tempfile.TemporaryDirectory() as name:
                config = write(Path(name), case)
                output = Path(name) / "output"
                yield (
                    f"{label}, {case.width} x {case.height}",
                    stages(config, 1, threads, device, output, said, FUSION),
                )


def write_published(folder: Path, workload: Workload) -> Path:
    """The case with the workload's networks and one video of `workload.clip` frames."""
    return write_case(folder, workload, 1, workload.clip)


def write_bundled(folder: Path, workload: Workload) -> Path:
    """The same with the configuration of the demo, and one epoch of fine-tuning. Regions are drawn at random: how much
    memory they take depends on their size alone."""
    content.video(folder / "data" / "video", workload, workload.clip)
    config = {
        "base": str(timing.ROOT / "configs" / "demo.yaml"),
        "output": "output",
        "dataset": {"root": "data"},
        "rsdm": {"patches": "random", "min_size": min(128, workload.height)},
        "deblurring": {"epochs": 1, "min_steps": 0, "crop_size": min(96, workload.height // 32 * 32)},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
