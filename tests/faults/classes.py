"""All classes of faults, as cases that each give a list of what is wrong."""

import random
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import tiny
from faults.files import results
from faults.jobs import Job, Jobs, environment
from faults.media import endings, exported, videos
from faults.pictures import footage
from faults.processes import (
    asked_to_end,
    failing_writes,
    full_disk,
    killed,
    locked_while_running,
    one_of_two_killed,
    orphan_check,
    turned_read_only,
    two_at_once,
)
from faults.settings import configurations
from faults.shortage import shortages
from faults.trials import Case, Trials
from faults.videos import degenerate
from faults.weights import layouts, strangers

SEED = 2024
KILLS = 100
BROKEN = {
    "broken footage": footage,
    "broken arrays and JSON": results,
    "configurations": configurations,
    "weights from strangers": strangers,
    "weights in other layouts": layouts,
    "degenerate videos": degenerate,
    "interlaced, trimmed and damaged video files": videos,
    "re-exported frames": exported,
    "mixed endings": endings,
    "shortage of memory": shortages,
}

Work = Callable[[], list[str]]
Named = tuple[str, str, Work]
"""(class, case, what runs it)."""


def broken_input(trials: Trials) -> Iterator[Named]:
    """Input from seeds, each case in a forked process."""
    for name, cases in BROKEN.items():
        for case in cases(SEED):
            yield name, f"{case.group}: {case.name}", run_case(trials, case)
    for module, size in (
        ("RSDM.main", 9000),
        ("RSDM.main", 300),
        ("DBCGM.main", 9000),
        ("BlurringModel.main", 5000),
        ("DeblurringModel.main", 6000),
    ):
        case = Case(
            "disk",
            "file too large",
            module,
            lambda folder: None,
            ("cannot be written (File too large)",),
            file_size=size,
        )
        yield "writes that fail", f"limit of {size} bytes a file, {module}", run_case(trials, case)


def run_case(trials: Trials, case: Case) -> Work:
    return lambda: trials.run(case)


def processes(jobs: Jobs, kills: int = KILLS, repeats: int = 1) -> Iterator[Named]:
    """Faults of running processes; `repeats` for each job and kind, `kills` in all."""
    turns, two = cycle(jobs.jobs.values()), {}
    for number in range(kills):
        yield disturbed("SIGKILL at a random moment", killed, jobs, next(turns), number)
    stages = [jobs.jobs[name] for name in tiny.STAGES]
    trainers = [jobs.jobs[name] for name in ("bme", "id_blau", "pretrain") if name in jobs.jobs]
    kinds: list[tuple[str, Callable, list[Job]]] = [
        ("SIGTERM", asked_to_end(signal.SIGTERM), list(jobs.jobs.values())),
        ("Ctrl-C", asked_to_end(signal.SIGINT), list(jobs.jobs.values())),
        ("SIGTERM during the imports", asked_to_end(signal.SIGTERM, True), list(jobs.jobs.values())),
        ("Ctrl-C during the imports", asked_to_end(signal.SIGINT, True), list(jobs.jobs.values())),
        ("one of two torchrun processes killed", one_of_two_killed(two), stages + trainers),
        ("two copies on one folder", two_at_once, list(jobs.jobs.values())),
        ("full disk", full_disk, list(jobs.jobs.values())),
        ("folder turned read-only, next start", turned_read_only, list(jobs.jobs.values())),
        ("folder turned read-only, at work", locked_while_running, stages + trainers),
        ("writes that fail", failing_writes, list(jobs.jobs.values())),
    ]
    for name, disturb, those in kinds:
        for number in range(repeats):
            for job in those:
                yield disturbed(name, disturb, jobs, job, number)


def disturbed(name: str, disturb: Callable, jobs: Jobs, job: Job, number: int) -> Named:
    """`disturb` on a job, its random moments drawn by class, job and number."""
    return (
        name,
        f"{job.name} {number}",
        lambda: disturb(jobs, job, random.Random(f"{SEED} {name} {job.name} {number}")),
    )


def scripts(place: Path) -> Iterator[Named]:
    """Scripts that start other processes are asked to end, or killed: none of those goes on."""
    case = place / "scripts"
    config = tiny.make(case) if not (case / "config.yaml").exists() else case / "config.yaml"
    render = [
        sys.executable,
        str(tiny.ROOT / "scripts" / "make_synthetic_dataset.py"),
        "--preset",
        "target_short",
        "--clips",
        "40",
        "--frames",
        "40",
        "--jobs",
        "2",
        "--out",
        str(case / "made"),
    ]
    pipeline = ["bash", str(tiny.ROOT / "scripts" / "run_pipeline.sh"), str(config)]
    two = [*pipeline, "2"]
    benchmark = [
        sys.executable,
        str(tiny.ROOT / "scripts" / "eval_synthetic.py"),
        "--config",
        # Regions as large as the crops of --quick.
        str(tiny.write_config(case, "benchmark.yaml", rsdm={"min_size": 64})),
        "--output",
        str(case / "benchmark"),
        "--quick",
    ]
    path = f"{Path(sys.executable).parent}:{environment()['PATH']}"
    for what, command in (
        ("run_pipeline.sh", pipeline),
        ("run_pipeline.sh with two processes", two),
        ("make_synthetic_dataset.py with two jobs", render),
        ("eval_synthetic.py", benchmark),
    ):
        for number in (signal.SIGTERM, signal.SIGINT, *((signal.SIGKILL,) if command is render else ())):
            for delay in (1.0, 4.0):
                yield (
                    "scripts that start others",
                    f"{what}, {number.name} after {delay:g} s",
                    lambda command=command, number=number, delay=delay: orphan_check(
                        command, str(case), number, delay, {**environment(), "PATH": path}
                    ),
                )
