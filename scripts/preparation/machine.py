"""What a machine has, and which files a configuration needs, as text."""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from common.config import Config
from common.errors import UserError
from common.flow import RAFT
from common.formats.raft_weights import TORCHVISION
from common.runtime.plugins import is_own
from common.runtime.precision import computes_bf16
from common.runtime.provenance import library_versions
from common.videos import find_videos
from scripts.preparation.published_weights import WEIGHTS

GIB = 1 << 30


def machine_lines(folder: Path) -> list[str]:
    """Versions, devices, memory and disk; `folder` is where results would be written."""
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    while not folder.exists():
        folder = folder.parent
    lines = [
        f"Python {platform.python_version()}, {versions}",
        f"cpu: {cores} cores, {_memory()}, {_arithmetic(torch.device('cpu'))}",
    ]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        tf32 = "TF32" if facts.major >= 8 else "no TF32"
        arithmetic = _arithmetic(torch.device("cuda", index))
        lines.append(f"cuda:{index}: {facts.name}, {facts.total_memory / GIB:.1f} GiB, {arithmetic}, {tf32}")
    if not torch.cuda.is_available():
        lines.append("cuda: none that PyTorch finds")
    return [*lines, f"disk: {shutil.disk_usage(folder).free / GIB:.1f} GiB free at {folder.resolve()}"]


def _memory() -> str:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        whole, free = (os.sysconf(name) * page / GIB for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return "memory unknown"
    return f"{whole:.1f} GiB of memory, {free:.1f} of it unused"


def _arithmetic(device: torch.device) -> str:
    return "bf16" if computes_bf16(device) else "no bf16 of its own (float32 is used in its place)"


@dataclass(frozen=True)
class Need:
    """A file or folder that a configuration needs: the key that names it, whether it is there, and a line."""

    key: str
    there: bool
    line: str


def needed_weights(config: Config) -> dict[str, Path | None]:
    """The weights files that the four stages read, by their keys. torchvision's own is not among them: the stage
    that needs it downloads it."""
    files = {
        "rsdm.weights": config.rsdm.weights,
        "blurring.weights": config.blurring.weights,
        "deblurring.weights": config.deblurring.weights,
    }
    if is_own(config.rsdm.estimator) and config.rsdm.weights is None:
        del files["rsdm.weights"]
    if config.blurring.model != "id_blau":
        del files["blurring.weights"]
    flow = config.dbcgm
    if flow.flow in RAFT and flow.weights != TORCHVISION and flow.condition != "random":
        files["dbcgm.weights"] = flow.weights
    return files


def needs(config: Config) -> list[Need]:
    """What the configuration's four stages read from outside: weights and the videos."""
    found = [_file_need(key, path) for key, path in needed_weights(config).items()]
    return [*found, _videos_need(config)]


def _file_need(key: str, path: Path | None) -> Need:
    if path is None:
        return Need(key, False, f"{key}: not set")
    if path.is_file():
        return Need(key, True, f"{key}: {path}, {path.stat().st_size / (1 << 20):.1f} MiB")
    name = next((name for name, known in WEIGHTS.items() if path.as_posix().endswith(known.place)), None)
    advice = f"; python scripts/fetch_weights.py {name}" if name else ""
    return Need(key, False, f"{key}: {path} is missing{advice}")


def _videos_need(config: Config) -> Need:
    data, key = config.dataset, "dataset.root"
    if data.root is None:
        return Need(key, False, f"{key}: not set")
    try:
        videos = find_videos(data.root, data.blur, data.sharp, data.videos, data.min_frames)
    except UserError as error:
        return Need(key, False, f"{key}: {error}")
    frames, true = sum(len(video.frames) for video in videos), sum(bool(video.sharp) for video in videos)
    return Need(
        key, True, f"{key}: {data.root}, {len(videos)} videos, {frames} frames, {true} with ground truth"
    )
