"""The paper's tables: runs what is not there yet, measures it, and writes it beside the published figures.

Called by scripts/eval_bsd.sh, eval_realblur.sh, eval_rbvd.sh and eval_ablation.sh, whose --help explains
everything.

Reads    the data sets and weights that configs/<set>.yaml names
Writes   OUT/<set>                     what the four stages write, stage 4 once per network
         OUT/ablation/<patches>_<condition>   the same for the ablation's other cells
         OUT/<set>/evaluation          measured values, frame by frame
         OUT/<table>.md, .csv, .json   the table
Usage    python scripts/evaluate.py bsd --models ESTRNN --settings 1ms8ms
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import environment, interrupts

if __name__ == "__main__":
    environment.require()
    interrupts.end_at_once()

from common.errors import UserError
from common.runtime.command_line import add_config_options
from common.runtime.entry import run
from common.runtime.files import write_text
from common.runtime.locks import hold
from scripts.datasets import published
from scripts.evaluation.ablation import CELLS
from scripts.evaluation.paper.cases import BSD_SETTINGS, Case, absent, make_case
from scripts.evaluation.paper.header import describe_changes, describe_code, describe_data, describe_weights
from scripts.evaluation.paper.rows import BASELINE, LAST, Outcome, all_rows
from scripts.evaluation.paper.running import Runner
from scripts.evaluation.paper.tables import Row, comma_separated, markdown, plain
from scripts.evaluation.runner import ROOT, StageFailed

HEADINGS = {"bsd": "BSD", "realblur": "RealBlur-J", "rbvd": "RBVD", "ablation": "Ablation (Table 2)"}
SETS = {"bsd": [f"bsd_{setting}" for setting in BSD_SETTINGS], "realblur": ["realblur_j"], "rbvd": ["rbvd"]}


def main() -> None:
    """Run, measure, write."""
    options = parse()
    baselines, cells = ablation_cases(options) if options.table == "ablation" else set_cases(options)
    unavailable = {case: absent(case) for case in dict.fromkeys([*baselines, *cells])}
    announce(unavailable, options)
    hold(options.output)
    outcomes = run_cases(baselines, cells, unavailable, options.gpus)
    rows = all_rows(baselines, cells, outcomes, unavailable, options)
    write_tables(rows, [case for case, reason in unavailable.items() if not reason], options)
    failed = [reason for reason in outcomes.values() if isinstance(reason, str)]
    if failed:
        raise UserError(f"the table is incomplete: {failed[0]}")


def parse() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=list(HEADINGS), help="which table")
    parser.add_argument("--root", type=Path, help="folder of the data set (default: the configuration's)")
    parser.add_argument("--models", type=_words, help="networks, separated by commas (default: all four)")
    parser.add_argument(
        "--settings", type=_words, help="BSD exposures, separated by commas (default: all three)"
    )
    parser.add_argument("--cells", type=_words, help="ablation cells as patches:condition (default: all six)")
    parser.add_argument("--gpus", type=int, default=1, help="processes for the stages")
    parser.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1), help="threads that measure")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "outputs" / "eval", help="folder for all results"
    )
    add_config_options(
        parser,
        "a configuration in place of the published one",
        keys="change single keys, as [NETWORK:]section.key=value",
    )
    options = parser.parse_args()
    check(options)
    return options


def check(options: argparse.Namespace) -> None:
    """UserError for names that do not exist, or that do not belong to the table."""
    for value, name, allowed, tables in (
        (options.models, "--models", published()["networks"], ("bsd", "realblur", "rbvd")),
        (options.settings, "--settings", BSD_SETTINGS, ("bsd",)),
        (
            options.cells,
            "--cells",
            [":".join(cell) for cell in CELLS],
            ("ablation",),
        ),
    ):
        if value is not None and options.table not in tables:
            raise UserError(f"{name}: not for the table {options.table}")
        wrong = [word for word in value or () if word not in allowed]
        if wrong:
            raise UserError(f"{name}: unknown {wrong[0]!r}; choose among {', '.join(allowed)}")
    for name in ("gpus", "jobs"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name}: expected at least 1, found {getattr(options, name)}")


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def set_cases(options: argparse.Namespace) -> tuple[list[Case], list[Case]]:
    """Every network on every set asked for: the baselines, and the adaptations, which are the same cases."""
    names = (
        SETS[options.table]
        if options.settings is None
        else [f"bsd_{setting}" for setting in options.settings]
    )
    networks = options.models or published()["networks"]
    cases = [
        make_case(
            name,
            network,
            "sharp",
            "dbcgm",
            options.output.resolve(),
            set_root(name, options),
            options.config,
            options.overrides,
        )
        for name in names
        for network in networks
    ]
    return cases, cases


def ablation_cases(options: argparse.Namespace) -> tuple[list[Case], list[Case]]:
    """The one baseline, and the ablation's cells asked for. The cell of the full method is eval_bsd's own
    case."""
    facts = published()["ablation"]
    asked = options.cells or [":".join(cell) for cell in CELLS]
    made = {
        cell: make_case(
            facts["set"],
            facts["network"],
            *cell.split(":"),
            options.output.resolve(),
            set_root(facts["set"], options),
            options.config,
            options.overrides,
        )
        for cell in dict.fromkeys(["sharp:dbcgm", *asked])
    }
    return [made["sharp:dbcgm"]], [made[cell] for cell in asked]


def set_root(name: str, options: argparse.Namespace) -> Path | None:
    """The folder of a set's videos: for BSD the exposure's folder in --root."""
    if options.root is None:
        return None
    return options.root / name.removeprefix("bsd_") if name.startswith("bsd_") else options.root


def announce(unavailable: dict[Case, str], options: argparse.Namespace) -> None:
    """Say what cannot be run. Raises UserError where that is everything."""
    for case, reason in unavailable.items():
        if reason:
            print(f"left out: {case.name}, {case.network}: {reason}", flush=True)
    if all(unavailable.values()):
        raise UserError(
            f"nothing can be run: {next(iter(unavailable.values()))} "
            f"(bash scripts/eval_{options.table}.sh --help says what is needed)"
        )


def run_cases(
    baselines: list[Case], cells: list[Case], unavailable: dict[Case, str], processes: int
) -> Outcome:
    """Everything that can be run, network after network; a failure leaves its own figures out and nothing
    else."""
    runner, outcomes = Runner(processes), {}
    for case in dict.fromkeys([*baselines, *cells]):
        if unavailable[case]:
            continue
        for kind, chosen, work in ((BASELINE, baselines, runner.baseline), (LAST, cells, runner.adapt)):
            if case in chosen:
                try:
                    work(case)
                    outcomes[case, kind] = None
                except StageFailed as failure:
                    print(f"failed: {failure}", flush=True)
                    outcomes[case, kind] = str(failure)
    return outcomes


def write_tables(rows: list[Row], cases: list[Case], options: argparse.Namespace) -> None:
    """Write the three forms of the table, where they differ from what is there, and show the first."""
    header = {
        "Data": describe_data(cases),
        "Settings that differ from configs/<set>.yaml": describe_changes(cases),
        "Weights (SHA-256)": describe_weights(cases),
        "Made with": describe_code(cases),
    }
    text = markdown(f"{HEADINGS[options.table]}: measured and published", rows, header)
    content = {
        "heading": HEADINGS[options.table],
        "source": published()["source"],
        "meta_transfer_source": published()["meta_transfer_source"],
        **header,
        "rows": plain(rows),
    }
    place = options.output.resolve() / options.table
    for suffix, data in (
        (".md", text),
        (".csv", comma_separated(rows)),
        (".json", json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"),
    ):
        path = place.with_suffix(suffix)
        if not path.exists() or path.read_text(encoding="utf-8") != data:
            write_text(path, data)
    print(f"\n{text}\n{place}.md, .csv, .json", flush=True)


if __name__ == "__main__":
    run(main)
