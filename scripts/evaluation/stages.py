"""Runs the four stages as processes of their own, each piece of work once."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from common.errors import UserError
from common.runtime.interrupts import CODES, Interrupted
from scripts.evaluation.cases import ROOT, Case, assign

LAUNCHER = ROOT / "scripts" / "launch.py"
INFERENCE, FINE_TUNING = "DeblurringModel/deblur_inference.py", "DeblurringModel/deblur_finetune_DDP.py"
_KEPT = 4000


class StageFailed(Exception):
    """A stage ended with an error; the message names the stage and gives its last line."""


class Runner:
    """Runs stages for cases; what several cases share is run for the first and its outcome remembered."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._outcomes: dict[tuple[str, Path], StageFailed | None] = {}

    def baseline(self, case: Case) -> None:
        """Restore the videos with the unadapted network. Raises StageFailed."""
        self._stage(INFERENCE, case, "--variant", "baseline")

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
            share(case.stage_one / "rsdm", case.output / "rsdm")
        self._once(
            "stages 2 and 3",
            case.output,
            lambda: (self._stage("DBCGM/main.py", case), self._stage("BlurringModel/main.py", case)),
        )
        self._stage(FINE_TUNING, case)
        self._stage(INFERENCE, case, "--variant", "adapted")

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


def share(source: Path, target: Path) -> None:
    """Make `target` a link to the results in `source`; UserError where something else is in the way."""
    if target.is_symlink() and target.resolve() == source.resolve():
        return
    if target.is_symlink() or target.exists():
        raise UserError(f"{target}: in the way of a link to {source}; remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Relative, so that the folder of all results can be moved.
    target.symlink_to(os.path.relpath(source, target.parent), target_is_directory=True)


def call(command: list[str]) -> None:
    """Run a stage and show what it says. Raises StageFailed, or Interrupted where the stage was asked to end;
    it is, and waited for, where this process is."""
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        said = b""
        try:
            while piece := process.stderr.read1(1 << 12):
                sys.stderr.buffer.write(piece)
                sys.stderr.flush()
                said = (said + piece)[-_KEPT:]
        except BaseException:
            process.terminate()
            raise
    if process.returncode in CODES.values():
        raise Interrupted(process.returncode)
    if process.returncode:
        lines = [
            line.strip()
            for line in said.decode(errors="replace").replace("\r", "\n").split("\n")
            if line.strip()
        ]
        # Under torchrun the launcher's own report follows the stage's line.
        told = [line for line in lines if line.startswith("error: ")] or lines or ["no message"]
        script = next(Path(part) for part in command if part.endswith(".py") and part != str(LAUNCHER))
        raise StageFailed(
            f"{script.parent.name}/{script.name} ended with code {process.returncode}: "
            f"{told[-1].removeprefix('error: ')}"
        )
