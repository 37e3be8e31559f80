"""Say what works on this machine, and what a configuration still lacks, before hours are spent.

Prints   versions, devices, memory and disk; the weights and videos that the configuration needs; small runs of every
         network on the device, compared with float32 on the CPU; the whole pipeline on a small clip
Usage    python scripts/check_setup.py [--config configs/bsd_2ms16ms.yaml] [--device cuda]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import torch

from common.config import Config
from common.config_loader import load_config
from common.runtime import distributed
from common.runtime.command_line import add_config_options
from common.runtime.entry import run
from common.runtime.memory import peak_memory
from scripts.preparation.machine import machine_lines, needs
from scripts.preparation.trial import Run, differences, grey_levels, modes, pipeline, runs


def main() -> None:
    """Check machine, files, networks and pipeline; exit code 2 where something does not work or is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser, "also say what this configuration needs")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    config = load_config(Config, options.config, options.overrides) if options.config else None
    device = distributed.start(options.device).device
    output = config.output if config is not None and config.output is not None else Path("outputs")
    print("\n".join(machine_lines(output)), flush=True)
    missing = wanting(config) if config is not None else []
    failed = trials(device)
    works = [mode.name for mode in modes(device) if mode.name not in failed]
    print(f"works on {device.type}: {', '.join(works) or 'nothing'}", end="")
    print(f"; does not: {', '.join(failed)}" if failed else "", end="")
    if config is not None:
        print(
            f"; {options.config.name}: {', '.join(missing) + ' missing' if missing else 'all there'}", end=""
        )
    print(flush=True)
    if failed or missing:
        # Without a further line: the last one says what works.
        sys.exit(2)


def wanting(config: Config) -> list[str]:
    """Print what the configuration needs; the keys of what is not there."""
    found = needs(config)
    for need in found:
        print(("there:   " if need.there else "missing: ") + need.line, flush=True)
    return [need.key for need in found if not need.there]


def trials(device: torch.device) -> list[str]:
    """Print each trial; the names of the modes that failed one."""
    failed: dict[str, None] = {}
    began, threads = time.monotonic(), torch.get_num_threads()
    # Networks this small leave more threads mostly waiting for each other.
    torch.set_num_threads(1)
    for part, mode, found in differences(device):
        good = isinstance(found, float) and found <= mode.bound
        words = f"differs by {found:.1e} (at most {mode.bound:g})" if isinstance(found, float) else found
        print(f"{'ok  ' if good else 'FAIL'} {device.type}, {mode.name}: {part.name} {words}", flush=True)
        if not good:
            failed[mode.name] = None
    torch.set_num_threads(threads)
    memory = peak_memory(device)
    print(
        f"networks: {time.monotonic() - began:.0f} s"
        + (f", peak memory {memory:.2f} GiB" if memory is not None else ""),
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        reference, *others = runs(device)
        for one in (reference, *others):
            problem = pipeline_problem(Path(folder), one, reference)
            if problem:
                failed[one.name if one.device == device.type else f"{one.name} on {one.device}"] = None
    return list(failed)


def pipeline_problem(folder: Path, one: Run, reference: Run) -> str:
    """Run a pipeline, compare its pictures with those of `reference` if that was another, and print both; what is
    wrong, or ""."""
    seconds, memory, problem = pipeline(folder, one)
    said = problem
    if not problem and one != reference and reference.output(folder).exists():
        levels = grey_levels(folder, one, reference)
        said = f"differs by {levels:.2f} grey levels (at most {one.mode.levels:g})"
        problem = said if not levels <= one.mode.levels else ""
    verdict = "FAIL" if problem else "ok  "
    measured = f"{seconds:.0f} s, {memory:.2f} GiB resident"
    print(f"{verdict} {one.device}, {one.name}: pipeline, {measured}{', ' * bool(said)}{said}", flush=True)
    return problem


if __name__ == "__main__":
    run(main)
