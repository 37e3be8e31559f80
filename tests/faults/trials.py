"""A trial: a copy of a finished tiny case, something broken in it, one stage called, and what has to hold
then."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tiny

from common.checkpoints import load_checkpoint
from common.errors import UserError

LIMIT = 300.0
"""Seconds after which a trial counts as hanging; on the tiny case a stage takes two, more on a busy
machine."""
NOISE = ("libpng", "Corrupt JPEG", "Premature end", "[ WARN", "[ERROR")
"""Starts of lines that image decoders print themselves."""
BAR = re.compile(r"%\||frame \[\d\d:\d\d")
"""A progress bar, of a known number of things or not."""
OF_STAGE = {
    "RSDM.main": "rsdm",
    "DBCGM.main": "dbcgm",
    "BlurringModel.main": "blurring",
    "DeblurringModel.main": "deblurring",
}


@dataclass(frozen=True)
class Case:
    """`arrange` breaks something in a case's folder (and may return arguments), then `module` is run in the
    folder.

    words: what the one line of complaint has to name; None where the input is to be handled: exit code 0;
    both may happen where `either`. fresh: results of the stage and those after it are removed first.
    """

    group: str
    name: str
    module: str
    arrange: Callable[[Path], object]
    words: tuple[str, ...] | None
    arguments: tuple[str, ...] = ("--config", "config.yaml")
    either: bool = False
    fresh: bool = True
    limit: float = LIMIT
    file_size: int = 0
    memory: int = 0
    """Bytes of address space that it may take beyond what is taken at its start; 0: gibibytes."""
    check: Callable[[Path], list[str]] | None = None
    """Looks at the folder after an accepted input and tells what is wrong."""
    light: bool = False
    """Only configuration files are broken: the next case needs no new copy."""


class Trials:
    """Runs cases; `start` may take a while, each case after it a second or less."""

    def __init__(self, place: Path) -> None:
        self.place, self.finished, self._light = place, place / "finished", False
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{tiny.ROOT}{os.pathsep}{tiny.ROOT / 'tests'}",
        }
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            environment.pop(name, None)
        self._zygote = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        tiny.make(self.finished)
        for module in OF_STAGE:
            outcome = self.ask(module, ("--config", "config.yaml"), self.finished)
            assert outcome["code"] == 0, outcome["err"]

    def close(self) -> None:
        self._zygote.stdin.close()
        self._zygote.wait()

    def ask(
        self,
        module: str,
        arguments: tuple[str, ...],
        folder: Path,
        limit: float = LIMIT,
        file_size: int = 0,
        memory: int = 0,
    ) -> dict:
        """Run `module`'s main in a fork."""
        trial = {
            "module": module,
            "arguments": list(arguments),
            "folder": str(folder),
            "limit": limit,
            "file_size": file_size,
            "memory": memory,
        }
        self._zygote.stdin.write(json.dumps(trial) + "\n")
        self._zygote.stdin.flush()
        return json.loads(self._zygote.stdout.readline())

    def run(self, case: Case) -> list[str]:
        """What is wrong with how the stage took it; empty where it survived."""
        world = self.place / "world"
        folder = world / "case"
        if case.light and self._light:
            shutil.copy(self.finished / "config.yaml", folder)
        else:
            shutil.rmtree(world, ignore_errors=True)
            shutil.copytree(self.finished, folder, symlinks=True)
        if case.fresh and not (case.light and self._light):
            stages = list(OF_STAGE)
            for module in stages[stages.index(case.module) if case.module in stages else 0 :]:
                shutil.rmtree(folder / "out" / OF_STAGE[module])
        more = case.arrange(folder)
        before = tree(world)
        outcome = self.ask(
            case.module,
            (*case.arguments, *(more if isinstance(more, tuple) else ())),
            folder,
            case.limit,
            case.file_size,
            case.memory,
        )
        found = judged(case, outcome) + harm(world, folder / "out", before)
        if case.check is not None and outcome["code"] == 0:
            found += case.check(folder)
        self._light = case.light and not found
        return found


def judged(case: Case, outcome: dict) -> list[str]:
    """What is wrong with exit code and messages."""
    lines = [
        line
        for line in outcome["err"].replace("\r", "\n").splitlines()
        if line.strip() and not BAR.search(line) and not line.startswith(NOISE)
    ]
    shown = f"{lines[-1] if lines else ''}"[:300]
    if outcome["code"] is None:
        return [f"did not end within {case.limit:g} s"]
    if "Traceback" in outcome["err"]:
        return [f"traceback, exit code {outcome['code']}: {shown}"]
    if outcome["code"] == 0:
        return [] if case.words is None or case.either else ["accepted"]
    if outcome["code"] != 2:
        return [f"exit code {outcome['code']}: {shown}"]
    if case.words is None and not case.either:
        return [f"refused: {shown}"]
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return [f"not one line: {lines[:4]}"]
    return [f"does not name {word!r}: {shown}" for word in case.words or () if word not in lines[0]]


def tree(world: Path) -> dict[str, tuple[int, int]]:
    """Every entry with size and time."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in walk(world)}


def walk(folder: Path) -> list[Path]:
    return [
        Path(top) / name
        for top, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if not os.path.isdir(os.path.join(top, name)) or os.path.islink(os.path.join(top, name))
    ]


def harm(world: Path, output: Path, before: dict[str, tuple[int, int]]) -> list[str]:
    """Files written outside of the output folder, half-written ones, and what is not finite in those
    inside."""
    after = tree(world)
    wrong = [
        f"outside of the output folder: {name}"
        for name in after
        if after[name] != before.get(name) and output not in Path(name).parents
    ]
    wrong += [f"gone: {name}" for name in before if name not in after and output not in Path(name).parents]
    for name in after:
        if output in Path(name).parents and after[name] != before.get(name):
            problem = unreadable(Path(name))
            if problem:
                wrong.append(f"{Path(name).relative_to(output)}: {problem}")
    return wrong


def unreadable(path: Path) -> str | None:
    """Why a result is no whole result."""
    if path.name.startswith(".tmp-") or path.name == ".lock":
        return "left behind"
    try:
        if path.suffix == ".npy":
            return None if np.isfinite(np.load(path, allow_pickle=False)).all() else "not finite"
        if path.suffix == ".png":
            return None if cv2.imread(str(path)) is not None else "not an image"
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        if path.suffix == ".pth":
            state = load_checkpoint(path)["model_state"]
            return None if all(value.isfinite().all() for value in state.values()) else "weights not finite"
    except (OSError, ValueError, EOFError, UserError) as error:
        return f"{type(error).__name__}: {error}"
    return None
