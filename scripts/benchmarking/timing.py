"""Measuring one form in a process of its own, the machine's convolution peak, and whole stages."""

import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from common.runtime import distributed
from scripts.benchmarking import units
from scripts.benchmarking.growth import growth
from scripts.benchmarking.workload import Workload
from scripts.evaluation.runner import LAUNCHER

ROOT = Path(__file__).resolve().parents[2]
PEAK_CHANNELS = 64
GIB = 2**30


def in_own_process(what: str, workload: Workload, device: str, precision: str) -> dict[str, Any]:
    """`figures(what, ...)` computed in another process, so that its peak memory is its own."""
    request = json.dumps(
        {"what": what, "workload": workload.as_dict(), "device": device, "precision": precision}
    )
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--one", request]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{what}: ended with code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def figures(what: str, workload: Workload, device_name: str, precision: str) -> dict[str, Any]:
    """Figures of one form: seconds per unit (median) and of the whole first run, floating-point operations
    per unit, peak memory in GiB above that of the libraries and data (on a GPU: what PyTorch allocated)."""
    with tempfile.TemporaryDirectory() as folder:
        device = chosen(device_name, released=what.endswith(":released"))
        given = units.Given(workload, device, precision, Path(folder))
        if what == "peak":
            return peak(workload, device)
        if what == "growth":
            return {"rows": list(growth(given))}
        run = (
            units.network_form(what.partition(":")[2], given)
            if what.startswith("network:")
            else (units.FORMS | units.COMPILED)[what](given)
        )
        before, counter = resident(), FlopCounterMode(display=False)
        # Operations of compiled code cannot be counted: a counter that looks on keeps the code from being
        # compiled.
        with contextlib.nullcontext() if what in units.COMPILED else counter:
            started = time.perf_counter()
            seconds = [run.seconds()]
            lasted = time.perf_counter() - started
        # The first run warms up and counts the operations; it is kept only where further ones would take too
        # long.
        if what in units.COMPILED:
            seconds = [run.seconds() for _ in range(workload.runs)]
        elif lasted < workload.patience:
            seconds = [
                run.seconds() for _ in range(max(1, min(workload.runs, int(workload.patience / lasted))))
            ]
        peak_bytes = torch.cuda.max_memory_allocated() if device.type == "cuda" else resident() - before
        return {
            "seconds": statistics.median(seconds),
            "first": lasted,
            "runs": len(seconds),
            "flops": counter.get_total_flops() / run.units,
            "gib": peak_bytes / GIB,
            "units": run.units,
            "parameters": run.parameters,
        }


def chosen(name: str, released: bool) -> torch.device:
    """The device asked for; on the CPU the released code's forms run without this project's settings of the
    process."""
    if released:
        return torch.device("cuda" if torch.cuda.is_available() and name != "cpu" else "cpu")
    return distributed.start(name).device


def resident() -> int:
    """The process's largest resident memory so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak(workload: Workload, device: torch.device) -> dict[str, float]:
    """FLOP/s of a 3 x 3 convolution of 64 channels at the frame size: fp32 NCHW, fp32 and bf16
    channels-last."""
    image = torch.rand(1, PEAK_CHANNELS, workload.height, workload.width, device=device)
    weight = torch.rand(PEAK_CHANNELS, PEAK_CHANNELS, 3, 3, device=device)
    operations = 2 * 9 * PEAK_CHANNELS**2 * workload.height * workload.width
    rates = {}
    for name, kind, layout in (
        ("nchw", torch.float32, torch.contiguous_format),
        ("fp32", torch.float32, torch.channels_last),
        ("bf16", torch.bfloat16, torch.channels_last),
    ):
        x, w = (part.to(kind).contiguous(memory_format=layout) for part in (image, weight))
        with torch.inference_mode():
            run = units.timed(lambda: F.conv2d(x, w, padding=1), device)
            run.seconds()
            rates[name] = operations / statistics.median(run.seconds() for _ in range(7))
    return rates


def stage(script: str, config: Path, processes: int, threads: int, *more: str) -> dict[str, float]:
    """Seconds and peak resident memory in GiB (of the largest process) of a stage run as a user would."""
    launcher = [str(LAUNCHER), str(processes)] if processes > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        bytes_file = Path(folder) / "bytes"
        command = [
            sys.executable,
            str(ROOT / "scripts" / "benchmarking" / "watched.py"),
            str(bytes_file),
            sys.executable,
            *launcher,
            str(ROOT / script),
            "--config",
            str(config),
            *more,
        ]
        started = time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)}
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(
                f"{script}: ended with code {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}"
            )
        return {"seconds": seconds, "gib": int(bytes_file.read_text()) / GIB}


def machine(device: torch.device) -> dict[str, Any]:
    """What it ran on: processor or GPU, cores, threads, versions."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith("flags")), "").split()
        processor = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor
        )
        processor += " with AMX" if "amx_bf16" in flags else ""
    except OSError:
        pass
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
    }
