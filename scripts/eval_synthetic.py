"""The synthetic benchmark: does adaptation help on footage that no training saw, by how much, and which part
of it?

Called by scripts/eval_synthetic.sh, whose --help explains it.

Reads    assets/footage/benchmark (stills to render from), a configuration (default configs/demo.yaml)
Writes   OUT/data/<domain>                  rendered clips: short, mid and long exposure
         OUT/runs/<domain>/...              what the four stages write, shared where settings are equal
         OUT/results/<domain>.json          PSNR of every clip, result and seed
         OUT/synthetic.md, .csv, .json      the tables
Usage    python scripts/eval_synthetic.py --tables 1,2 --seeds 3
"""

import argparse
import csv
import hashlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import environment, interrupts

if __name__ == "__main__":
    environment.require()
    interrupts.end_at_once()

import numpy as np
import torch

from common.checkpoints import load_checkpoint
from common.config import Config, as_dict, load_config
from common.errors import UserError
from common.images import read_image
from common.metrics import psnr
from common.runtime.entry import run
from common.runtime.files import read_json, write_json, write_text
from common.runtime.locks import hold
from common.runtime.provenance import code_version, library_versions
from common.stage import weights_record
from common.videos import Video, find_videos
from scripts.evaluation.cases import ROOT, assign
from scripts.evaluation.stages import FINE_TUNING, INFERENCE, call, share
from scripts.evaluation.synthetic import BEST, CEILING, CLIPS, DATA_SEED, DOMAINS, FRAMES, SIZE, TABLES, Cell

INPUT, BASELINE = Cell("input", "blurry input"), Cell("baseline", "before adaptation")
HEADINGS = {
    1: "Table 1: before and after",
    2: "Table 2: which patches, which blur condition",
    3: "Table 3: the paper, the released code, and what goes beyond",
    4: "Table 4: one network a clip, which of its states is used",
}
QUICK_FRAMES, QUICK_STEPS = 8, 50
_QUICK = (
    f"deblurring.min_steps={QUICK_STEPS}",
    "deblurring.epochs=1",
    "deblurring.learning_rate=1.0e-4",
    "deblurring.crop_size=64",
    "rsdm.ratio=0.2",
    "blurring.copies=1",
)
"""With one epoch the least number of steps is what counts: ten epochs, of the ceiling's pairs above all, are
many more. So few steps do not make up for the damage that the first ones do at the full learning rate;
smaller crops buy more steps in the same time. Fewer pairs keep stage 3 short."""


@dataclass(frozen=True)
class Result:
    """PSNR in dB of each clip, the mean over its frames; `steps`: how many steps the network was fine-tuned
    that restored it (empty where it was not)."""

    domain: str
    cell: str
    variant: str
    seed: int
    clips: dict[str, float]
    steps: dict[str, int]

    @property
    def mean(self) -> float:
        """Mean over the clips."""
        return float(np.mean(list(self.clips.values())))


def main() -> None:
    """Render, run, measure, write."""
    options = parse()
    hold(options.output)
    bench = Benchmark(options)
    results = []
    for domain in options.domains:
        bench.render(domain)
        results += [bench.measured(domain, INPUT, 0), bench.measured(domain, BASELINE, 0)]
        for number in options.tables:
            for cell in TABLES[number]:
                results += [bench.measured(domain, cell, seed) for seed in bench.seeds(number)]
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
        "--tables", type=_numbers, default=None, help="tables, separated by commas (default 1,2,3,4)"
    )
    parser.add_argument(
        "--domains",
        type=lambda text: text.split(","),
        default=list(DOMAINS),
        help=f"domains, separated by commas (default {','.join(DOMAINS)})",
    )
    parser.add_argument("--seeds", type=int, default=None, help="seeds for Tables 1 and 2 (default 3)")
    parser.add_argument(
        "--output",
        type=Path,
        default=None,
        help="folder for everything (default outputs/eval_synthetic, with --quick another)",
    )
    parser.add_argument(
        "--config", type=Path, default=ROOT / "configs" / "demo.yaml", help="settings and weights"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="section.key=value",
        help="change single keys",
    )
    options = parser.parse_args()
    options.tables = options.tables or ([1] if options.quick else list(TABLES))
    if options.output is None:
        options.output = ROOT / "outputs" / ("eval_synthetic_quick" if options.quick else "eval_synthetic")
    options.seeds = options.seeds or (1 if options.quick else 3)
    for wrong, name, known in (
        ([n for n in options.tables if n not in TABLES], "--tables", "1, 2, 3, 4"),
        ([d for d in options.domains if d not in DOMAINS], "--domains", ", ".join(DOMAINS)),
    ):
        if wrong:
            raise UserError(f"{name}: unknown {wrong[0]!r}; choose among {known}")
    if options.seeds < 1:
        raise UserError(f"--seeds: expected at least 1, found {options.seeds}")
    if options.quick:
        options.overrides = [*_QUICK, *options.overrides]
    return options


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


class Benchmark:
    """The clips, and every result of the stages on them, each made once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.output = options, options.output.resolve()
        self.frames = QUICK_FRAMES if options.quick else FRAMES
        self.first_seed = load_config(Config, options.config, options.overrides).runtime.seed
        self._done: set[tuple[str, ...]] = set()

    def seeds(self, table: int) -> range:
        """The seeds of a table's results: Tables 3 and 4 have one."""
        return range(self.first_seed, self.first_seed + (self.options.seeds if table in (1, 2) else 1))

    def config(
        self, domain: str, cell: Cell, seed: int, output: Path | None = None
    ) -> tuple[Config, list[str]]:
        """The resolved configuration of a result and the overrides that give it."""
        overrides = [
            *self.options.overrides,
            assign("dataset.root", self.output / "data" / domain),
            f"runtime.seed={seed}",
            *cell.settings,
        ]
        if output is not None:
            overrides.append(assign("output", output))
        return load_config(Config, self.options.config, overrides), overrides

    def render(self, domain: str) -> None:
        """The domain's clips, unless they are there."""
        call(
            [
                sys.executable,
                str(ROOT / "scripts" / "make_synthetic_dataset.py"),
                "--preset",
                f"target_{domain}",
                "--clips",
                str(CLIPS),
                "--frames",
                str(self.frames),
                "--size",
                *map(str, SIZE),
                "--seed",
                str(DATA_SEED),
                "--content",
                str(ROOT / "assets" / "footage" / "benchmark"),
                "--out",
                str(self.output / "data" / domain),
            ]
        )

    def measured(self, domain: str, cell: Cell, seed: int) -> Result:
        """A result's figures, from the file of the domain's results where they were measured with the same
        settings and weights."""
        variant = cell.name if cell in (INPUT, BASELINE) else cell.variant
        key = f"{domain} {cell.name} {variant} {seed}"
        identity = self._identity(domain, cell, seed)
        # A file for each domain, so that runs of different domains can be put together.
        kept = self.output / "results" / f"{domain}.json"
        known = read_json(kept) if kept.exists() else {}
        if known.get(key, {}).get("identity") != identity:
            folder = self._run(domain, cell, seed)
            known[key] = {
                "identity": identity,
                "clips": self._clips(folder, domain, variant),
                "steps": self._steps(folder, domain, cell, seed) if cell not in (INPUT, BASELINE) else {},
            }
            write_json(kept, known)
        return Result(domain, cell.name, variant, seed, known[key]["clips"], known[key]["steps"])

    def _identity(self, domain: str, cell: Cell, seed: int) -> str:
        config, _ = self.config(domain, cell, seed)
        parts = as_dict(config)
        parts.pop("output"), parts["dataset"].pop("root"), parts["runtime"].pop("workers")
        for section in ("rsdm", "dbcgm", "blurring", "deblurring"):
            parts[section]["weights"] = weights_record(getattr(config, section).weights)
        # What only later stages read does not make an earlier result another one; true pairs need no
        # blurring.
        read = {
            INPUT: ("dataset",),
            BASELINE: ("dataset", "deblurring"),
            CEILING: ("dataset", "rsdm", "deblurring", "runtime"),
        }.get(cell, tuple(parts))
        return _digest({name: parts[name] for name in read} | {"frames": self.frames})

    def _run(self, domain: str, cell: Cell, seed: int) -> Path | None:
        """Run the stages that a result needs; the folder of its pictures, None for the blurry frames
        themselves."""
        if cell is INPUT:
            return None
        runs = self.output / "runs" / domain
        if cell is BASELINE:
            folder = runs / "baseline"
            self._stage(INFERENCE, domain, cell, seed, folder, "--variant", "baseline")
            return folder
        made = self._pairs(domain, cell, seed)
        folder = runs / f"{cell.name}_{seed}"
        self._linked(folder, made)
        self._stage(FINE_TUNING, domain, cell, seed, folder)
        self._stage(INFERENCE, domain, cell, seed, folder, "--variant", "adapted")
        return folder

    def _pairs(self, domain: str, cell: Cell, seed: int) -> list[Path]:
        """The results of stages 1 to 3, shared by all cells with the same settings for them."""
        parts = as_dict(self.config(domain, cell, seed)[0])
        made: list[Path] = []
        for script, result in (
            ("RSDM/main.py", "rsdm"),
            ("DBCGM/main.py", "dbcgm"),
            ("BlurringModel/main.py", "blurring"),
        ):
            read = {name: parts[name] for name in ("rsdm", "dbcgm", "blurring")[: len(made) + 1]}
            folder = self.output / "runs" / domain / f"{result}_{_digest(read | {'seed': seed})[:12]}"
            self._linked(folder, made)
            self._stage(script, domain, cell, seed, folder)
            made.append(folder / result)
        return made

    @staticmethod
    def _linked(folder: Path, made: list[Path]) -> None:
        for result in made:
            share(result, folder / result.name)

    def _stage(self, script: str, domain: str, cell: Cell, seed: int, folder: Path, *more: str) -> None:
        """Run a stage, once for all cells that share its folder."""
        work = (script, str(folder), *more)
        if work in self._done:
            return
        self._done.add(work)
        print(f"== {domain}, {cell.label}, seed {seed}: {script}", flush=True)
        _, overrides = self.config(domain, cell, seed, folder)
        call(
            [
                sys.executable,
                str(ROOT / script),
                "--config",
                str(self.options.config),
                "--set",
                *overrides,
                *more,
            ]
        )

    def _clips(self, folder: Path | None, domain: str, variant: str) -> dict[str, float]:
        values = {}
        for video in find_videos(self.output / "data" / domain):
            restored = video.frames
            if folder is not None:
                pictures = next(folder.glob(f"deblurring/*/{variant}")) / video.name
                restored = tuple(pictures / f"{name}.png" for name in video.names)
            values[video.name] = _clip_psnr(video, restored)
        return values

    def _steps(self, folder: Path, domain: str, cell: Cell, seed: int) -> dict[str, int]:
        config = self.config(domain, cell, seed)[0].deblurring
        name = "best.pth" if cell.variant == BEST or config.select == "best_pairs" else "last.pth"
        weights = next(folder.glob("deblurring/*/weights"))
        places = {
            video.name: weights / video.name if config.scope == "video" else weights
            for video in find_videos(self.output / "data" / domain)
        }
        return {
            clip: load_checkpoint(place / name)["step"] if (place / name).exists() else 0
            for clip, place in places.items()
        }


def _clip_psnr(video: Video, restored: tuple[Path, ...]) -> float:
    return float(
        np.mean(
            [psnr(read_image(picture), read_image(truth)) for picture, truth in zip(restored, video.sharp)]
        )
    )


def _digest(values: dict) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def write_tables(bench: Benchmark, results: list[Result]) -> None:
    """Write the tables in three forms and show the first."""
    text = markdown(bench, results)
    rows = [
        {
            "domain": r.domain,
            "result": r.cell,
            "variant": r.variant,
            "seed": r.seed,
            "clip": clip,
            "psnr": value,
        }
        for r in results
        for clip, value in r.clips.items()
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    place = bench.output / "synthetic"
    write_text(place.with_suffix(".md"), text)
    write_text(place.with_suffix(".csv"), buffer.getvalue())
    write_json(place.with_suffix(".json"), rows)
    print(f"\n{text}\n{place}.md, .csv, .json", flush=True)


def markdown(bench: Benchmark, results: list[Result]) -> str:
    """The tables with what they were made with."""
    options, config = bench.options, load_config(Config, bench.options.config, bench.options.overrides)
    libraries = ", ".join(f"{name} {number}" for name, number in library_versions().items())
    weights = [
        f"{section} {weights_record(getattr(config, section).weights)[:16]}"
        for section in ("rsdm", "blurring", "deblurring")
        if getattr(config, section).weights is not None
    ]
    lines = [
        "# Synthetic benchmark",
        "",
        f"PSNR in dB, mean over {CLIPS} clips of {bench.frames} frames of {SIZE[0]} x {SIZE[1]} pixels per domain, all "
        "frames, RGB, 8 bits. Footage that no bundled network was trained on, blurred by "
        "`scripts/make_synthetic_dataset.py`. Where there are several seeds: mean and, after ±, half the range.",
        "",
        f"- command: `{' '.join(['python scripts/eval_synthetic.py', *sys.argv[1:]])}`",
        f"- code {code_version()}, {libraries}, {torch.get_num_threads()} threads",
        f"- weights (SHA-256): {', '.join(weights)}",
        "",
    ]
    for number in options.tables:
        lines += [
            f"## {HEADINGS[number]}",
            "",
            f"| | {' | '.join(options.domains)} |",
            f"|---|{'---:|' * len(options.domains)}",
        ]
        cells = [INPUT, BASELINE, *TABLES[number]]
        for cell in cells:
            texts = [_cell_text(results, domain, cell, bench, number) for domain in options.domains]
            lines.append(f"| {cell.label} | {' | '.join(texts)} |")
        lines += [
            "",
            *_gains(results, cells, bench, number),
            *_per_clip(results, cells, bench, number),
            *(_choices(results, cells, bench) if number == 4 else []),
        ]
    return "\n".join(lines)


def _gains(results: list[Result], cells: list[Cell], bench: Benchmark, number: int) -> list[str]:
    """What each result gains over the network before adaptation, and the least that any clip gains with any
    seed."""
    domains, (_, baseline, *adapted) = bench.options.domains, cells
    lines = [
        "gain over the network before adaptation (mean over seeds and clips), and the least of a clip and seed",
        "",
        f"| | {' | '.join(domains)} | mean | least |",
        f"|---|{'---:|' * (len(domains) + 2)}",
    ]
    for cell in adapted:
        gains = []
        for domain in domains:
            before = _found(results, domain, baseline, bench, number)[0].clips
            gains.append(
                [
                    result.clips[clip] - before[clip]
                    for result in _found(results, domain, cell, bench, number)
                    for clip in result.clips
                ]
            )
        means = [*map(np.mean, gains), np.mean(sum(gains, [])), min(sum(gains, []))]
        lines.append(f"| {cell.label} | {' | '.join(f'{mean:+.2f}' for mean in means)} |")
    return [*lines, ""]


def _choices(results: list[Result], cells: list[Cell], bench: Benchmark) -> list[str]:
    """How often the choices of Table 4 agree."""
    last, pairs, truth = (
        [
            (domain, clip, steps)
            for domain in bench.options.domains
            for result in _found(results, domain, cell, bench, 4)
            for clip, steps in result.steps.items()
        ]
        for cell in cells[2:]
    )
    same = [sum(a == b for a, b in zip(*both)) for both in ((last, pairs), (last, truth), (pairs, truth))]
    return [
        f"Of {len(last)} clips: held-out pairs chose the last state for {same[0]}, the ground truth for {same[1]}; "
        f"these two chose the same for {same[2]} (steps are compared).",
        "",
    ]


def _found(results: list[Result], domain: str, cell: Cell, bench: Benchmark, number: int) -> list[Result]:
    variant = cell.name if cell in (INPUT, BASELINE) else cell.variant
    return [
        r
        for r in results
        if (r.domain, r.cell, r.variant) == (domain, cell.name, variant)
        and (cell in (INPUT, BASELINE) or r.seed in bench.seeds(number))
    ]


def _cell_text(results: list[Result], domain: str, cell: Cell, bench: Benchmark, number: int) -> str:
    means = [r.mean for r in _found(results, domain, cell, bench, number)]
    spread = f" ± {(max(means) - min(means)) / 2:.2f}" if len(means) > 1 else ""
    return f"{np.mean(means):.2f}{spread}"


def _per_clip(results: list[Result], cells: list[Cell], bench: Benchmark, number: int) -> list[str]:
    lines = []
    for domain in bench.options.domains:
        clips = list(next(r for r in results if r.domain == domain).clips)
        lines += [
            f"{domain}, clip by clip (mean over seeds)",
            "",
            f"| | {' | '.join(clips)} |",
            f"|---|{'---:|' * len(clips)}",
        ]
        for cell in cells:
            found = _found(results, domain, cell, bench, number)
            values = [f"{np.mean([result.clips[clip] for result in found]):.2f}" for clip in clips]
            lines.append(f"| {cell.label} | {' | '.join(values)} |")
        lines.append("")
    return lines


if __name__ == "__main__":
    run(main)
