"""The lines of a table of the paper: what was measured, beside what was published."""

import argparse
from typing import Any

from common.errors import UserError
from common.layout import ADAPTED, ADAPTED_BEST_GT, BASELINE
from common.videos import find_videos
from scripts.datasets import published
from scripts.evaluation import ablation
from scripts.evaluation.paper.cases import Case
from scripts.evaluation.paper.metrics import Figures, evaluate_frames
from scripts.evaluation.paper.tables import Row

LAST, BEST = ADAPTED, ADAPTED_BEST_GT
WORDS = {
    BASELINE: "before adaptation",
    LAST: "adapted, last epoch (label-free)",
    BEST: "adapted, epoch chosen by ground truth",
}
Outcome = dict[tuple[Case, str], str | None]
"""(case, baseline or adapted) -> None where its stages came to their end, or why they did not."""


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
                    label = ablation.label(cell.patches, cell.condition)
                else:
                    figure, label = known["adapted"][cell.network], cell.network
                rows += [
                    row([cell], kind, f"{label}, {WORDS[kind]}", figure, outcomes, unavailable, options)
                    for kind in (LAST, BEST)
                ]
            if case.network == "ESTRNN" and options.table != "ablation":
                rows.append(meta_transfer(name, known))
    return rows


def meta_transfer(name: str, known: dict[str, Any]) -> Row:
    """The line of the other adaptation method, with its published figure."""
    return Row(
        name,
        known["title"],
        "ESTRNN",
        "",
        "",
        "meta_transfer",
        "ESTRNN, meta-transfer (Liu et al. 2022), as published, not run here",
        None,
        "",
        known["meta_transfer"],
    )


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
            figures = figures_of(case, result, options.jobs)
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


def figures_of(case: Case, result: str, jobs: int) -> Figures:
    """The figures of a result's pictures; UserError where some are missing."""
    config = case.config.dataset
    videos = find_videos(config.root, config.blur, config.sharp, config.videos)
    if result == "input":
        return evaluate_frames(
            videos, None, case.output / "evaluation" / "input", jobs, f"{case.name}, blurry input"
        )
    return evaluate_frames(
        videos,
        case.restored(result),
        case.output / "evaluation" / case.network / result,
        jobs,
        f"{case.name}, {case.network}, {result}",
    )
