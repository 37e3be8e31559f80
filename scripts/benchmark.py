"""What each stage costs, against the released code's way of computing it, on this machine.

Prints Markdown: the machine and its convolution peak; each stage's unit (published architectures, seeded
random weights, 640 x 480); the stages of a standard workload as count x unit (150 frames, 12 threshold steps,
30 regions of 256 x 256 with a margin of 32); the stages really run on a short clip, in one process and in
two; how the cost grows; and the demo. Every unit is measured in a process of its own.
Usage    python scripts/benchmark.py [--device cpu|cuda] [--json FILE] [--parts units stages scaling growth demo]
         python scripts/benchmark.py --parts networks   all deblurring networks; takes as long again
         python scripts/benchmark.py --parts compile    what runtime.compile changes; minutes
         python scripts/benchmark.py --parts memory     150 frames and several videos; takes as long again
         python scripts/benchmark.py --parts sizes      memory at 640 x 480 and 1280 x 720; takes as long again
         python scripts/benchmark.py --quick            tiny networks and frames: seconds
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import torch
from tqdm import tqdm

from common.errors import UserError
from common.runtime.entry import run
from common.runtime.files import write_json
from scripts.benchmarking import clip, tables, timing, units
from scripts.benchmarking.workload import QUICK, STANDARD, Workload

PARTS = ("units", "stages", "scaling", "growth", "demo")
MORE_PARTS = ("networks", "compile", "memory", "sizes")
TITLES = {
    "units": "Units",
    "stages": "Stages",
    "networks": "Deblurring networks, 5 frames fed together",
    "compile": "torch.compile",
    "scaling": "Stages really run: {clip} frames, 2 regions, 10 DDIM steps, 2 fine-tuning steps, one thread a process",
    "growth": "How the cost grows",
    "demo": "The demo as configured (bf16 where the device computes in it)",
    "memory": "Memory",
    "sizes": "Memory of the process, {clip} frames",
}


def main() -> None:
    """Measure the parts asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument(
        "--parts", nargs="+", choices=(*PARTS, *MORE_PARTS), default=PARTS, help="what to measure"
    )
    parser.add_argument("--processes", type=int, default=2, help="processes of the part scaling")
    parser.add_argument("--quick", action="store_true", help="tiny networks and frames")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        request = json.loads(options.one)
        print(
            json.dumps(
                timing.figures(
                    request["what"], Workload(**request["workload"]), request["device"], request["precision"]
                )
            )
        )
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device: cuda asked for, but PyTorch finds no CUDA device here; use auto or cpu")
    workload = QUICK if options.quick else STANDARD
    figures = collect(options, workload)
    report(figures, workload, options.parts)
    if options.json:
        write_json(options.json, figures | {"workload": workload.as_dict()})


def collect(options: argparse.Namespace, workload: Workload) -> dict[str, Any]:
    """All figures of the parts asked for."""
    threads, bar = torch.get_num_threads(), tqdm(unit="measurement", dynamic_ncols=True)

    def said(what: str) -> None:
        bar.set_description(what)
        bar.update()

    def one(what: str, precision: str = "fp32") -> dict[str, Any]:
        said(f"{what} {precision}")
        return timing.in_own_process(what, workload, options.device, precision)

    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    figures: dict[str, Any] = {"machine": timing.machine(device), "peak": one("peak")}
    if {"units", "stages"} & set(options.parts):
        figures["units"] = {what: one(what) for what in units.FORMS}
        figures["units"] |= {
            what.replace("ours", "bf16"): one(what, "bf16") for what in units.FORMS if what.endswith("ours")
        }
    if "networks" in options.parts:
        figures["networks"] = {
            name: {precision: one(f"network:{name}", precision) for precision in ("fp32", "bf16")}
            for name in (units.TINY_NETWORKS if options.quick else units.NETWORKS)
        }
    if "compile" in options.parts:
        figures["compile"] = {
            what.partition(":")[0]: {
                precision: {
                    form: one(what.replace("compiled", form), precision) for form in ("ours", "compiled")
                }
                for precision in ("fp32", "bf16")
            }
            for what in units.COMPILED
        }
    if "scaling" in options.parts:
        figures["scaling"] = clip.scaling(workload, options.device, options.processes, said)
    if "growth" in options.parts:
        figures["growth"] = one("growth")
    if "demo" in options.parts:
        figures["demo"] = clip.demo(workload, options.device, threads, said)
    if "memory" in options.parts:
        figures["memory"] = dict(clip.memory(workload, options.device, threads, said))
    if "sizes" in options.parts:
        figures["sizes"] = dict(clip.sizes(workload, options.device, threads, said))
    bar.close()
    return figures


def report(figures: dict[str, Any], workload: Workload, parts: list[str]) -> None:
    """Print the tables."""
    printers = {
        "units": lambda: tables.units(figures, workload),
        "stages": lambda: tables.stages(figures, workload),
        "networks": lambda: tables.networks(figures),
        "compile": lambda: tables.compile(figures, workload),
        "scaling": lambda: tables.scaling(figures),
        "growth": lambda: tables.growth(figures),
        "demo": lambda: tables.demo(figures),
        "memory": lambda: tables.memory(figures["memory"]),
        "sizes": lambda: tables.memory(figures["sizes"]),
    }
    print(tables.machine(figures))
    for part in (*PARTS, *MORE_PARTS):
        if part in parts:
            print(f"\n### {TITLES[part].format(clip=workload.clip)}\n\n{printers[part]()}")
    if {"units", "stages"} & set(parts):
        print(f"\n{tables.RELEASED}")


if __name__ == "__main__":
    run(main)
