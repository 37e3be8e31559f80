"""How long each stage has worked: <output>/times.json, seconds by name of the work, summed over restarts."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError
from common.layout import Layout
from common.runtime.files import read_json, write_json

_SAVE_EVERY = 30.0


def read_times(output: Path) -> dict[str, float]:
    """Seconds by name of the work, in the order the work was begun; empty where nothing is recorded.

    Raises UserError where the file is damaged.
    """
    path = Layout(output).times
    if not path.exists():
        return {}
    times = read_json(path)
    if not isinstance(times, dict) or not all(
        type(value) in (int, float) and math.isfinite(value) and value >= 0 for value in times.values()
    ):
        raise UserError(f"{path}: expected seconds by name of the work; remove the file, it only informs")
    return times


@contextmanager
def counted(output: Path, work: str, anew: bool = False) -> Iterator[None]:
    """Add the seconds that the block takes to those of `work` (to zero where it begins `anew`), in the end
    and every
    half minute: a run that is killed outright loses no more than that. So does one that ends with a
    UserError, because wrong input is to leave no trace. A record that is damaged or cannot be written stops
    no work."""
    started, ended = time.monotonic(), threading.Event()
    before = 0.0 if anew else _kept(output).get(work, 0.0)

    def save() -> None:
        _write(output, {**_kept(output), work: round(before + time.monotonic() - started, 2)})

    def save_now_and_then() -> None:
        while not ended.wait(_SAVE_EVERY):
            save()

    saver, worked = threading.Thread(target=save_now_and_then, daemon=True), True
    saver.start()
    try:
        yield
    except UserError:
        worked = False
        raise
    finally:
        ended.set()
        saver.join()
        if worked:
            save()


def _kept(output: Path) -> dict[str, float]:
    try:
        return read_times(output)
    except UserError:
        return {}


def _write(output: Path, times: dict[str, float]) -> None:
    try:
        write_json(Layout(output).times, times)
    except (OSError, UserError):
        # The results themselves cannot be written either then, and that is what the user is told.
        pass
