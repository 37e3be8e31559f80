"""The synthetic benchmark: does adaptation help on footage that no training saw, by how much, and which part
of it?

Called by scripts/eval_synthetic.sh, whose --help explains it.

Reads    assets/footage/benchmark (stills and pieces of video), a configuration (default configs/demo.yaml)
Writes   OUT/data/<domain>                  rendered clips of three cameras
         OUT/runs/<domain>/...              what the four stages write, shared where settings are equal
         OUT/results/<domain>.json          PSNR of every clip, result and seed
         OUT/synthetic.md, .csv, .json      the tables
Usage    python scripts/eval_synthetic.py --tables 1,2 --seeds 3
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from common.errors import UserError
from common.runtime.command_line import add_config_options
from common.runtime.entry import run
from common.runtime.locks import hold
from scripts.evaluation.runner import ROOT
from scripts.evaluation.synthetic.cells import DOMAINS, TABLES, UNSEEN
from scripts.evaluation.synthetic.runs import BASELINE, INPUT, QUICK_FRAMES, QUICK_STEPS, Benchmark
from scripts.evaluation.synthetic.tables import write_tables

_QUICK = (
    f"deblurring.min_steps={QUICK_STEPS}",
    "deblurring.epochs=1",
    "deblurring.learning_rate=1.0e-4",
    "deblurring.crop_size=64",
    "rsdm.ratio=0.2",
    "blurring.moved.copies=1",
)
"""With one epoch the least number of steps is what counts: ten epochs, of the ceiling's pairs above all, are
many more. So few steps do not make up for the damage that the first ones do at the full learning rate;
smaller crops buy more steps in the same time. Fewer pairs keep stage 3 short."""


NAMES = tuple(dict.fromkeys(cell.name for table in TABLES.values() for cell in table))


def main() -> None:
    """Render, run, measure, write."""
    options = parse()
    hold(options.output)
    bench = Benchmark(options)
    results = []
    for domain in options.domains:
        bench.render(domain)
        results += [bench.result(domain, INPUT, 0), bench.result(domain, BASELINE, 0)]
        for number in options.tables:
            for cell in bench.rows(number):
                if bench.lacks_weights(cell):
                    print(f"{cell.label}: missing, no {bench.rival_weights(cell)}", flush=True)
                    continue
                results += [bench.result(domain, cell, seed) for seed in bench.seeds(number)]
    write_tables(bench, list({(r.domain, r.cell, r.variant, r.seed): r for r in results}.values()))


def parse() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"Table 1 alone, one seed, {QUICK_FRAMES} frames a clip, fewer pairs, {QUICK_STEPS} steps; shows "
        "that everything runs, not what can be gained",
    )
    parser.add_argument(
        "--tables",
        type=_numbers,
        default=None,
        help=f"tables, separated by commas (default all: {','.join(map(str, TABLES))})",
    )
    parser.add_argument(
        "--domains",
        type=lambda text: text.split(","),
        default=list(DOMAINS),
        help=f"domains, separated by commas (default {','.join(DOMAINS)}; {UNSEEN} "
        "is to be run once, when everything is decided)",
    )
    parser.add_argument(
        "--cells",
        type=lambda text: text.split(","),
        default=[],
        help="names of the rows to make, separated by commas (scripts/evaluation/synthetic/cells.py); default: all",
    )
    parser.add_argument("--seeds", type=int, default=None, help="seeds for Tables 1 and 2 (default 3)")
    parser.add_argument(
        "--output",
        type=Path,
        default=None,
        help="folder for everything (default outputs/eval_synthetic, with --quick another)",
    )
    parser.add_argument(
        "--rivals",
        type=Path,
        default=ROOT / "weights" / "rivals",
        help="folder with the weights of the rivals in Table 3, meta_transfer.pth and reblurring_loss.pth (default "
        "weights/rivals); rows without weights say missing",
    )
    add_config_options(parser, "settings and weights", ROOT / "configs" / "demo.yaml")
    options = parser.parse_args()
    complete(options)
    return options


def complete(options: argparse.Namespace) -> None:
    """Fill in the defaults that depend on --quick. Raises UserError for names that do not exist."""
    options.tables = options.tables or ([1] if options.quick else list(TABLES))
    if options.output is None:
        options.output = ROOT / "outputs" / ("eval_synthetic_quick" if options.quick else "eval_synthetic")
    options.seeds = options.seeds or (1 if options.quick else 3)
    for wrong, name, known in (
        ([n for n in options.tables if n not in TABLES], "--tables", ", ".join(map(str, TABLES))),
        (
            [d for d in options.domains if d not in (*DOMAINS, UNSEEN)],
            "--domains",
            ", ".join((*DOMAINS, UNSEEN)),
        ),
        ([name for name in options.cells if name not in NAMES], "--cells", ", ".join(NAMES)),
    ):
        if wrong:
            raise UserError(f"{name}: unknown {wrong[0]!r}; choose among {known}")
    if options.seeds < 1:
        raise UserError(f"--seeds: expected at least 1, found {options.seeds}")
    if options.quick:
        options.overrides = [*_QUICK, *options.overrides]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    run(main)
