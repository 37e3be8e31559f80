"""The fault campaign in short: some cases of every class (scripts/fault_campaign.sh runs all)."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import classes
from faults.jobs import Jobs
from faults.trials import Trials

INPUTS = 5
"""Cases of each kind of broken input."""
PROCESSES = (
    "SIGKILL at a random moment RSDM",
    "SIGKILL at a random moment DeblurringModel",
    "SIGKILL at a random moment bme",
    "SIGTERM BlurringModel",
    "Ctrl-C DBCGM",
    "Ctrl-C during the imports RSDM",
    "one of two torchrun processes killed DBCGM",
    "two copies on one folder RSDM",
    "full disk BlurringModel",
    "folder turned read-only, next start RSDM",
    "folder turned read-only, at work BlurringModel",
    "writes that fail DBCGM",
    "writes that fail bme",
)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    made = Trials(tmp_path_factory.mktemp("trials"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    return Jobs(tmp_path_factory.mktemp("jobs"), ("bme",))


@pytest.mark.parametrize("kind", ["degenerate videos", "writes that fail"])
def test_inputs(trials: Trials, kind: str) -> None:
    """The other kinds are in test_broken_input.py."""
    cases = [(name, work) for own, name, work in classes.broken_input(trials) if own == kind]
    chosen = random.Random(kind).sample(cases, min(INPUTS, len(cases)))
    assert {name: wrong for name, work in chosen if (wrong := work())} == {}


@pytest.mark.parametrize("wanted", PROCESSES)
def test_processes(jobs: Jobs, wanted: str) -> None:
    work = next(
        work
        for kind, name, work in classes.processes(jobs, kills=len(jobs.jobs))
        if f"{kind} {name}".startswith(wanted + " ")
    )
    try:
        assert work() == []
    except OSError as error:
        pytest.skip(f"not possible here: {error}")


def test_every_kind_has_as_many_cases_as_are_promised(tmp_path: Path) -> None:
    cases = [case for make in classes.BROKEN.values() for case in make(classes.SEED)]
    assert len(cases) >= 200
    names = [(case.group, case.name) for case in cases]
    assert len(set(names)) == len(names)
