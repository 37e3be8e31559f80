"""Runs stages as processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from common.errors import UserError
from common.runtime.interrupts import CODES, Interrupted

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "scripts" / "launch.py"
INFERENCE, FINE_TUNING = "DeblurringModel/deblur_inference.py", "DeblurringModel/deblur_finetune_DDP.py"
_KEPT = 4000


class StageFailed(Exception):
    """A stage ended with an error; the message names the stage and gives its last line."""


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
        script = next(Path(part) for part in command if part.endswith(".py") and part != str(LAUNCHER))
        raise StageFailed(
            f"{script.parent.name}/{script.name} ended with code {process.returncode}: "
            f"{last_error(said.decode(errors='replace'))}"
        )


def last_error(said: str) -> str:
    """The error line of what a stage wrote to stderr; its last line where it has none."""
    lines = [line.strip() for line in said.replace("\r", "\n").split("\n") if line.strip()]
    # Under torchrun the launcher's report follows the stage's line.
    told = [line for line in lines if line.startswith("error: ")] or lines or ["no message"]
    return told[-1].removeprefix("error: ")


def assign(key: str, path: Path | None) -> str:
    """The override that sets `key` to a path; quoted, because a path may contain what YAML takes for
    something else."""
    return f"{key}={json.dumps(str(path.resolve())) if path is not None else ''}"
