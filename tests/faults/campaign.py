"""The whole fault campaign: every class of faults, one table. Usage: bash scripts/fault_campaign.sh [--output
FOLDER]

Cases that were survived are kept in <output>/results.jsonl and not run again; what was not survived is. Ends
with exit code 1 where anything was not survived.
"""

import argparse
import json
import platform
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import classes
from faults.jobs import Jobs
from faults.trials import Trials

from common.runtime.files import write_text
from common.runtime.provenance import code_version, library_versions

SHOWN = 20


def main() -> int:
    """Run what is not done yet, print the table."""
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    log, place = options.output / "results.jsonl", options.output / "work"
    before = read(log)
    trials = Trials(fresh(place / "trials"))
    try:
        rows = run(classes.broken_input(trials), before, log)
    finally:
        trials.close()
    jobs = Jobs(fresh(place / "jobs"), ("bme", "id_blau", "pretrain", "deblur_video"))
    rows |= run(classes.processes(jobs, repeats=options.repeats), before, log)
    rows |= run(classes.scripts(fresh(place / "scripts")), before, log)
    text = table(rows)
    write_text(options.output / "faults.md", text)
    print(text)
    return 0 if all(not row["wrong"] for row in rows.values()) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=ROOT / "outputs" / "faults", help="folder for results and the table"
    )
    parser.add_argument(
        "--repeats", type=int, default=1, help="disturbances of each kind and command beside the 100 kills"
    )
    return parser.parse_args()


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def read(log: Path) -> dict[tuple[str, str], dict]:
    """The last outcome of each case."""
    lines = log.read_text().splitlines() if log.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return {(row["class"], row["case"]): row for row in rows}


def run(cases: Iterable[classes.Named], before: dict, log: Path) -> dict[tuple[str, str], dict]:
    """The outcome of each case, run now unless it was survived `before`."""
    code, rows = code_version(), {}
    for kind, name, work in cases:
        known = before.get((kind, name))
        if known is not None and not known["wrong"]:
            rows[kind, name] = known
            continue
        started = time.monotonic()
        try:
            wrong, skipped = work(), ""
        except OSError as error:
            # Mounting and chattr need rights and a file system that not every machine has.
            wrong, skipped = [], str(error)
        row = {
            "class": kind,
            "case": name,
            "wrong": wrong,
            "skipped": skipped,
            "code": code,
            "seconds": round(time.monotonic() - started, 1),
        }
        rows[kind, name] = row
        with open(log, "a") as file:
            file.write(json.dumps(row) + "\n")
        if wrong or skipped:
            print(f"{kind} | {name} | {skipped or wrong[:2]}", flush=True)
    return rows


def table(done: dict[tuple[str, str], dict]) -> str:
    """The result as Markdown: a line per class, and what was not survived."""
    kinds = list(dict.fromkeys(kind for kind, _ in done))
    lines = [
        "# Fault campaign",
        "",
        "Every case disturbs or misleads a run on the tiny case of the tests (two videos of eight frames, random "
        "weights). Survived means: a clean end (one line that names the culprit and exit code 2, or the documented "
        "handling; for signals their message and code), nothing half-written, nothing outside of the output folder, "
        "no hang, no process left; and after a disturbance a second run whose files are byte by byte those of an "
        "undisturbed one (but for `times.json` and `report.html`, which hold durations, and the times in "
        "`inputs.json`).",
        "",
        f"- command: `bash scripts/fault_campaign.sh`, processor: {processor()}",
        f"- code {', '.join(dict.fromkeys(row['code'] for row in done.values()))}",
        f"- {', '.join(f'{name} {number}' for name, number in library_versions().items())}, one thread",
        "",
        "| fault class | cases | survived | skipped |",
        "|---|---:|---:|---:|",
    ]
    for kind in [*kinds, None]:
        rows = [row for (own, _), row in done.items() if kind in (own, None)]
        run_there = [row for row in rows if not row["skipped"]]
        survived = sum(not row["wrong"] for row in run_there)
        share = f"{survived} ({100 * survived / len(run_there):.4g} %)" if run_there else "-"
        lines.append(f"| {kind or '**all**'} | {len(run_there)} | {share} | {len(rows) - len(run_there)} |")
    lost = [
        f"- {kind}, {name}: {'; '.join(row['wrong'])[:300]}"
        for (kind, name), row in done.items()
        if row["wrong"]
    ]
    if lost:
        lines += ["", "Not survived:", "", *lost[:SHOWN]]
    return "\n".join(lines) + "\n"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
