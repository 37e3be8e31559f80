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
from common.runtime.entry import run
from common.runtime.files import read_json, write_text
from common.runtime.locks import hold
from common.stage import weights_record
from common.videos import find_videos
from scripts.datasets import deviations, published
from scripts.evaluation.cases import BSD_SETTINGS, CONDITIONS, PATCHES, ROOT, Case, absent, make_case
from scripts.evaluation.measure import Figures, measure
from scripts.evaluation.stages import Runner, StageFailed
from scripts.evaluation.tables import Row, comma_separated, markdown, plain

HEADINGS = {"bsd": "BSD", "realblur": "RealBlur-J", "rbvd": "RBVD", "ablation": "Ablation (Table 2)"}
SETS = {"bsd": [f"bsd_{setting}" for setting in BSD_SETTINGS], "realblur": ["realblur_j"], "rbvd": ["rbvd"]}
BASELINE, LAST, BEST = "baseline", "adapted", "adapted_best_gt"
WORDS = {
    BASELINE: "before adaptation",
    LAST: "adapted, last epoch (label-free)",
    BEST: "adapted, epoch chosen by ground truth",
}
PATCH_WORDS = {"sharp": "RSDM patches", "random": "random patches"}
CONDITION_WORDS = {"dbcgm": "DBCGM", "optical_flow": "optical-flow condition", "random": "random condition"}


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
    parser.add_argument("--config", type=Path, help="a configuration in place of the published one")
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="key=value",
        help="change single keys, as [NETWORK:]section.key=value",
    )
    options = parser.parse_args()
    for value, name, allowed, tables in (
        (options.models, "--models", published()["networks"], ("bsd", "realblur", "rbvd")),
        (options.settings, "--settings", BSD_SETTINGS, ("bsd",)),
        (
            options.cells,
            "--cells",
            [f"{patches}:{condition}" for patches in PATCHES for condition in CONDITIONS],
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
    return options


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
    asked = options.cells or [f"{patches}:{condition}" for patches in PATCHES for condition in CONDITIONS]
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


Outcome = dict[tuple[Case, str], str | None]
"""(case, baseline or adapted) -> None where its stages came to their end, or why they did not."""


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


def all_rows(
    baselines: list[Case],
    cells: list[Case],
    outcomes: Outcome,
    unavailable: dict[Case, str],
    options: argparse.Namespace,
) -> list[Row]:
    """The table's lines: per set the blurry input, and per network before, after, and what others
    published."""
    facts, rows = published(), []
    for name in dict.fromkeys(case.name for case in baselines):
        known = facts["sets"][name]
        here = [case for case in baselines if case.name == name]
        rows.append(row(here, "input", "blurry input", None, outcomes, unavailable, options))
        for case in here:
            rows.append(
                row(
                    [case],
                    BASELINE,
                    f"{case.network}, {WORDS[BASELINE]}",
                    known["baseline"][case.network],
                    outcomes,
                    unavailable,
                    options,
                )
            )
            for cell in (cell for cell in cells if (cell.name, cell.network) == (name, case.network)):
                if options.table == "ablation":
                    figure = facts["ablation"]["adapted"][cell.patches][cell.condition]
                    label = f"{PATCH_WORDS[cell.patches]}, {CONDITION_WORDS[cell.condition]}"
                else:
                    figure, label = known["adapted"][cell.network], cell.network
                rows += [
                    row([cell], kind, f"{label}, {WORDS[kind]}", figure, outcomes, unavailable, options)
                    for kind in (LAST, BEST)
                ]
            if case.network == "ESTRNN" and options.table != "ablation":
                rows.append(
                    Row(
                        name,
                        known["title"],
                        case.network,
                        "",
                        "",
                        "meta_transfer",
                        "ESTRNN, meta-transfer (Liu et al. 2022), as published, not run here",
                        None,
                        "",
                        known["meta_transfer"],
                    )
                )
    return rows


def row(
    cases: list[Case],
    result: str,
    label: str,
    figure: float | None,
    outcomes: Outcome,
    unavailable: dict[Case, str],
    options: argparse.Namespace,
) -> Row:
    """One line, measured where its pictures are there. The blurry input needs the data of one of `cases`
    only."""
    case = next((case for case in cases if not unavailable[case]), cases[0])
    figures, missing = None, unavailable[case]
    if not missing and result != "input":
        missing = outcomes[case, BASELINE if result == BASELINE else LAST] or ""
    if not missing:
        try:
            figures = measured(case, result, options.jobs)
        except UserError as error:
            missing = str(error)
    adapted = result in (LAST, BEST)
    return Row(
        case.name,
        published()["sets"][case.name]["title"],
        "" if result == "input" else case.network,
        case.patches if adapted else "",
        case.condition if adapted else "",
        result,
        label,
        figures,
        missing,
        figure,
    )


def measured(case: Case, result: str, jobs: int) -> Figures:
    """The figures of a result's pictures; UserError where some are missing."""
    config = case.config.dataset
    videos = find_videos(config.root, config.blur, config.sharp, config.videos)
    if result == "input":
        return measure(videos, None, case.output / "evaluation" / "input", jobs, f"{case.name}, blurry input")
    return measure(
        videos,
        case.restored(result),
        case.output / "evaluation" / case.network / result,
        jobs,
        f"{case.name}, {case.network}, {result}",
    )


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


def describe_data(cases: list[Case]) -> list[str]:
    """Number of videos and frames of each set, and how they differ from the published set's."""
    lines = []
    for name, case in {case.name: case for case in reversed(cases)}.items():
        config = case.config.dataset
        videos = find_videos(config.root, config.blur, config.sharp, config.videos)
        title = published()["sets"][name]["title"]
        lines.append(f"{title}: {len(videos)} videos, {sum(len(video.frames) for video in videos)} frames")
        lines += [
            f"{title}: NOT the published set, whose figures do not apply: {line}"
            for line in deviations(name, videos)
        ]
    return lines


def describe_changes(cases: list[Case]) -> list[str]:
    """Settings that are not the published ones, with the sets and networks they hold for."""
    users: dict[str, list[str]] = {}
    for case in cases:
        for line in case.changed():
            users.setdefault(line, []).append(f"{case.name} {case.network}")
    every = [f"{case.name} {case.network}" for case in cases]
    return [
        line if names == every else f"{line} ({', '.join(dict.fromkeys(names))})"
        for line, names in users.items()
    ]


def describe_weights(cases: list[Case]) -> list[str]:
    """Every weights file used, with its hash."""
    files = {}
    for case in cases:
        config = case.config
        flow = config.dbcgm.weights if config.dbcgm.flow != "dis" else None
        for use, path in (
            ("BME", config.rsdm.weights),
            ("flow", flow),
            ("ID-Blau", config.blurring.weights),
            (case.network, config.deblurring.weights),
        ):
            if path is not None:
                files[use, path] = None
    return [f"{use}: {path.name} {weights_record(path)}" for use, path in files]


def describe_code(cases: list[Case]) -> list[str]:
    """Versions of the code and the libraries that the stages ran with, as they noted them beside their
    results."""
    versions = set()
    for case in cases:
        stage_four = case.output / "deblurring" / case.network
        for path in (*case.output.glob("*/run.json"), *stage_four.glob("*/run.json")):
            noted = read_json(path)
            libraries = ", ".join(f"{name} {version}" for name, version in noted["libraries"].items())
            versions.add(f"code {noted['code']}, {libraries}")
    return sorted(versions)


if __name__ == "__main__":
    run(main)
