"""Whether other work keeps the CPU busy, in which case fewer threads are faster."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from common.runtime.distributed import World

_TIMES = Path("/proc/stat")
_WATCHED = 0.2
"""Seconds for which the processors are watched."""
_NICE, _IDLE, _WAITING = 1, 3, 4
"""Columns of a processor's line in /proc/stat (man proc_stat): time that others give way to us in counts as unused."""


def say_busy(world: World, say: Callable[[str], None]) -> None:
    """Say where other work leaves a process that computes alone on the CPU with less than it has threads for, and the
    user has not chosen their number. OpenMP's threads wait for each other by spinning: what one of them loses, all
    lose.

    The number is not lowered here: it changes the last bits of a training, which has to go on exactly.
    """
    threads = torch.get_num_threads()
    if world.device.type != "cpu" or world.size > 1 or threads == 1 or "OMP_NUM_THREADS" in os.environ:
        return
    unused = unused_processors()
    if unused is not None and unused < threads - 0.5:
        say(
            f"other work leaves {unused:.1f} of {threads} processors: with OMP_NUM_THREADS={max(1, int(unused + 0.5))} "
            "before the command this one is faster"
        )


def unused_processors(seconds: float = _WATCHED) -> float | None:
    """How many of the processors that this process may use are unused, averaged over so many seconds; None where the
    system does not tell."""
    try:
        own = os.sched_getaffinity(0)
        before = _unused_and_all(_TIMES.read_text(), own)
        time.sleep(seconds)
        after = _unused_and_all(_TIMES.read_text(), own)
    except (OSError, AttributeError, ValueError, IndexError):
        return None
    passed = after[1] - before[1]
    return len(own) * (after[0] - before[0]) / passed if passed > 0 else None


def _unused_and_all(text: str, processors: set[int]) -> tuple[int, int]:
    """Ticks that `processors` have spent unused, and altogether, by the text of /proc/stat."""
    unused = total = 0
    for line in text.splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in processors:
            values = [int(value) for value in ticks[:8]]
            unused += values[_NICE] + values[_IDLE] + values[_WAITING]
            total += sum(values)
    return unused, total
