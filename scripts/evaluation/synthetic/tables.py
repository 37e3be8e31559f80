"""The synthetic benchmark's tables."""

import csv
import io
import sys

import numpy as np
import torch

from common.config import Config
from common.config_loader import load_config
from common.runtime.files import write_json, write_text
from common.runtime.provenance import code_version, library_versions
from common.stage import weights_record
from scripts.evaluation.synthetic import moments
from scripts.evaluation.synthetic.cells import ALONE, CLIPS, FUSED, LAST, SIZE, Cell
from scripts.evaluation.synthetic.runs import BASELINE, INPUT, Benchmark, Result

MISSING = "missing"
"""What a table says of a rival without weights."""
HEADINGS = {
    1: "Table 1: before and after",
    2: "Table 2: which patches, which blur condition",
    3: "Table 3: the paper, the released code, and what goes beyond",
    4: "Table 4: one network a clip, which of its states is used",
    5: "Table 5: what the clip's own sharp moments give",
}


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
        cells = [INPUT, BASELINE, *bench.rows(number)]
        for cell in cells:
            texts = [_cell_text(results, domain, cell, bench, number) for domain in options.domains]
            lines.append(f"| {cell.label} | {' | '.join(texts)} |")
        lines += [
            "",
            *_gains(results, cells, bench, number),
            *_per_clip(results, cells, bench, number),
            *(_choices(results, cells, bench) if number == 4 else []),
            *(_frame_by_frame(results, cells, bench) if number == 5 else []),
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
        if bench.lacks_weights(cell):
            lines.append(f"| {cell.label} |{f' {MISSING} |' * (len(domains) + 2)}")
            continue
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


def _frame_by_frame(results: list[Result], cells: list[Cell], bench: Benchmark) -> list[str]:
    """Table 5's figures of single frames: each result against the one without what it adds."""
    adapted = {cell.name: cell.label for cell in cells if cell.variant == LAST}
    over = {cell.label: BASELINE.label for cell in cells[2:]}
    over |= {cell.label: INPUT.label for cell in cells if cell.variant == ALONE or cell == BASELINE}
    over |= {
        cell.label: adapted[cell.name] for cell in cells if cell.variant == FUSED and cell.name in adapted
    }
    lines = []
    for domain in bench.options.domains:
        rows = [(cell.label, _found(results, domain, cell, bench, 5)[0].frames) for cell in cells]
        lines += moments.table(domain, rows, over, bench.blur(domain))
    return lines


def _found(results: list[Result], domain: str, cell: Cell, bench: Benchmark, number: int) -> list[Result]:
    variant = cell.name if cell in (INPUT, BASELINE) else cell.variant
    return [
        r
        for r in results
        if (r.domain, r.cell, r.variant) == (domain, cell.name, variant)
        and (cell in (INPUT, BASELINE) or r.seed in bench.seeds(number))
    ]


def _cell_text(results: list[Result], domain: str, cell: Cell, bench: Benchmark, number: int) -> str:
    if bench.lacks_weights(cell):
        return MISSING
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
            values = [
                MISSING
                if bench.lacks_weights(cell)
                else f"{np.mean([result.clips[clip] for result in found]):.2f}"
                for clip in clips
            ]
            lines.append(f"| {cell.label} | {' | '.join(values)} |")
        lines.append("")
    return lines
