"""Seconds per frame and peak memory of the deblurring networks at test time, as a Markdown table.

Each network (published architecture, seeded random weights) restores one clip in a process of its own, so that the
peak is its own. On the CPU the peak is the process's resident memory less that after loading the libraries; on a GPU
what PyTorch allocated.
Usage    python scripts/measure_networks.py [--size 640 480] [--frames 5] [--device cpu] [--precision fp32]
"""
import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import interrupts

if __name__ == "__main__":
    interrupts.end_at_once()

import torch
from tqdm import tqdm

from common import distributed
from common.cli import run
from common.distributed import mixed_precision, place
from common.images import pad_to_multiple
from DeblurringModel import models

NETWORKS = {"ESTRNN": ("ESTRNN", {}), "MMP-RNN": ("MMP_RNN", {}), "DSTNet": ("DSTNet", {}),
            "DSTNet large": ("DSTNet", {"num_feat": 64, "num_block": 30, "widen": True}),
            "Shift-Net s": ("Shift_Net", {"variant": "small"}), "Shift-Net +": ("Shift_Net", {"variant": "plus"})}


def main() -> None:
    """Measure every network in its own process and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("W", "H"), help="frame size")
    parser.add_argument("--frames", type=int, default=5, help="frames fed together")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: autocast")
    parser.add_argument("--network", choices=NETWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.network:
        print(json.dumps(measure(options)))
        return
    width, height = options.size
    rows = []
    for name in tqdm(NETWORKS, unit="network"):
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--network", name], check=True,
                              capture_output=True, text=True)
        rows.append((name, json.loads(done.stdout.splitlines()[-1])))
    print(f"{width} x {height}, {options.frames} frames fed together, {options.precision}, {rows[0][1]['device']}, "
          f"PyTorch {torch.__version__}")
    print("| network | parameters | frames restored | seconds a restored frame | peak memory, GiB |\n|---|---|---|---|---|")
    for name, row in rows:
        print(f"| {name} | {row['parameters'] / 1e6:.2f} M | {row['restored']} | {row['seconds']:.2f} | {row['gib']:.2f} |")


def measure(options: argparse.Namespace) -> dict:
    """Figures of one network: the faster of two runs, after one to warm up on a GPU."""
    device = distributed.start(options.device).device
    name, architecture = NETWORKS[options.network]
    torch.manual_seed(0)
    facts, network = models.spec(name), models.build(name, **architecture).eval()
    place(network, device)
    clip = torch.rand(1, options.frames, 3, options.size[1], options.size[0], device=device)
    clip = pad_to_multiple(clip, facts.multiple, facts.minimum)
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    cuda = device.type == "cuda"
    for _ in range(3 if cuda else 2):
        started = time.perf_counter()
        with torch.inference_mode(), mixed_precision(network, device, options.precision):
            restored = models.restore(network, facts, clip)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if cuda else (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {"parameters": sum(p.numel() for p in network.parameters()), "restored": restored.shape[1],
            "seconds": min(seconds) / restored.shape[1], "gib": peak / 2**30,
            "device": torch.cuda.get_device_name() if cuda else f"{processor()}, {torch.get_num_threads()} threads"}


def processor() -> str:
    """The processor's name as the operating system tells it."""
    try:
        names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    run(main)
