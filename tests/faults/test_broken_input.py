"""Broken footage, results, configurations and weights: a share of the cases, so that the suite stays
short."""

from collections.abc import Callable, Iterator

import pytest
from faults.files import results
from faults.media import endings, exported, videos
from faults.pictures import footage
from faults.settings import configurations
from faults.shortage import shortages
from faults.trials import Case, Trials
from faults.weights import layouts, strangers

SEED, EVERY = 7, 4


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """A finished tiny case, and a process that stages are forked from."""
    made = Trials(tmp_path_factory.mktemp("faults"))
    yield made
    made.close()


@pytest.mark.parametrize(
    "cases",
    [footage, results, configurations, strangers, layouts, videos, exported, endings, shortages],
)
def test_broken_input_is_refused_in_one_line_or_handled(
    trials: Trials, cases: Callable[[int], Iterator[Case]]
) -> None:
    every = list(cases(SEED))
    # Small classes lose fewer.
    chosen = every[:: max(1, min(EVERY, len(every) // 4))]
    assert len(chosen) > 3
    wrong = {f"{case.group}: {case.name}": found for case in chosen if (found := trials.run(case))}
    assert not wrong


def test_a_stage_that_accepts_broken_input_fails_its_trial(trials: Trials) -> None:
    harmless = Case("nothing", "nothing broken", "RSDM.main", lambda folder: None, ("culprit",))
    assert trials.run(harmless) == ["accepted"]
