"""Runs the four stages for the paper's tables, each piece of work once."""

import sys
from collections.abc import Callable
from pathlib import Path

from common.layout import ADAPTED, BASELINE, Layout
from scripts.evaluation.paper.cases import Case
from scripts.evaluation.runner import FINE_TUNING, INFERENCE, LAUNCHER, ROOT, StageFailed, assign, call, share


class Runner:
    """Runs stages for cases; what several cases share is run for the first and its outcome remembered."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._outcomes: dict[tuple[str, Path], StageFailed | None] = {}

    def baseline(self, case: Case) -> None:
        """Restore the videos with the unadapted network. Raises StageFailed."""
        self._stage(INFERENCE, case, "--variant", BASELINE)

    def adapt(self, case: Case) -> None:
        """Stages 1 to 3, fine-tuning, and the videos restored with the last epoch and with the one chosen by
        ground truth, both of the one training. Raises StageFailed."""
        # With the same patches stage 1 gives the same files whatever the condition: it is run once and
        # linked.
        self._once(
            "stage 1",
            case.stage_one,
            lambda: self._stage("RSDM/main.py", case, "--set", assign("output", case.stage_one)),
        )
        if case.output != case.stage_one:
            share(Layout(case.stage_one).rsdm, Layout(case.output).rsdm)
        self._once(
            "stages 2 and 3",
            case.output,
            lambda: (self._stage("DBCGM/main.py", case), self._stage("BlurringModel/main.py", case)),
        )
        self._stage(FINE_TUNING, case)
        self._stage(INFERENCE, case, "--variant", ADAPTED)

    def _once(self, what: str, folder: Path, work: Callable[[], object]) -> None:
        key = what, folder
        if key not in self._outcomes:
            try:
                work()
                self._outcomes[key] = None
            except StageFailed as failure:
                self._outcomes[key] = failure
        if self._outcomes[key] is not None:
            raise self._outcomes[key]

    def _stage(self, script: str, case: Case, *more: str) -> None:
        launcher = [str(LAUNCHER), str(self._processes)] if self._processes > 1 else []
        print(f"== {case.name}, {case.network}: {script}", flush=True)
        call(
            [
                sys.executable,
                *launcher,
                str(ROOT / script),
                "--config",
                str(case.config_path),
                "--set",
                *case.overrides,
                *more,
            ]
        )
