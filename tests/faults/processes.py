"""Faults that happen to running processes. Each function disturbs a job once and returns what is wrong
afterwards."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from faults.jobs import (
    Job,
    Jobs,
    alive,
    children,
    contents,
    differences,
    ended,
    message_of,
    moments,
    mount,
    small_disk,
    start,
)

from common.runtime.interrupts import MESSAGE

ROOM = 64 * 2**20
ERRORS = ("ENOSPC", "EROFS", "EDQUOT", "EIO", "EFBIG")


def killed(jobs: Jobs, job: Job, rng: random.Random) -> list[str]:
    """SIGKILL at a random moment, up to three times, then the end: after some file and some more time, or
    exactly before or after a file appears."""
    jobs.fresh(job)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.5:
            process = start(job, f"kill:{rng.randint(1, job.renames)}:{rng.choice(('before', 'after'))}")
            ended(process)
        else:
            process = start(job)
            moments(process, job, rng.randrange(len(job.expected) + 1), rng.random() * between(job))
            kill(process)
            process.communicate()
        wrong = jobs.orphans()
        if process.returncode not in (0, -signal.SIGKILL) or wrong:
            return [f"exit code {process.returncode}", *wrong]
    return jobs.finish(job)


def between(job: Job) -> float:
    """Seconds between two files, about twice the mean."""
    return min(2.0, 2 * (job.seconds - job.first) / len(job.expected) + 0.02)


def kill(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def asked_to_end(
    number: signal.Signals, during_imports: bool = False
) -> Callable[[Jobs, Job, random.Random], list[str]]:
    """SIGTERM or Ctrl-C at a random moment."""

    def disturb(jobs: Jobs, job: Job, rng: random.Random) -> list[str]:
        jobs.fresh(job)
        process = start(job)
        # From when Python has begun with the script: before, nobody could have installed a handler.
        wait_for(lambda: loaded(process.pid, "torch") or process.poll() is not None)
        if during_imports:
            time.sleep(rng.random() * 0.3)
        else:
            moments(process, job, rng.randrange(max(1, len(job.expected) - 2)), rng.random() * between(job))
        process.send_signal(number)
        said = message_of(ended(process))
        wrong = jobs.orphans()
        # The last file may have been there already.
        if process.returncode != 0:
            if process.returncode != {signal.SIGTERM: 143, signal.SIGINT: 130}[number]:
                wrong.append(f"exit code {process.returncode}: {said[-300:]}")
            if said.splitlines()[-1:] != [MESSAGE] or "Traceback" in said:
                wrong.append(f"not the clean message: {said[-300:]}")
        hidden = [path for path in job.folder.rglob(".*") if path.is_file()]
        return (
            wrong + [f"left behind: {path.name}" for path in hidden] + (jobs.finish(job) if not wrong else [])
        )

    return disturb


def loaded(pid: int, library: str) -> bool:
    """Whether the process has begun to load a library, which our scripts do only after their first lines."""
    try:
        return f"/{library}/" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> bool:
    until = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < until:
        time.sleep(0.01)
    return met


def one_of_two_killed(expected: dict[str, dict[str, str]]) -> Callable[[Jobs, Job, random.Random], list[str]]:
    """Under torchrun, SIGKILL of one of two processes. expected: undisturbed results of two processes, filled
    here."""

    def disturb(jobs: Jobs, job: Job, rng: random.Random) -> list[str]:
        if job.name not in expected:
            jobs.fresh(job)
            process = start(job, processes=2)
            said = ended(process)
            if process.returncode != 0:
                return [f"undisturbed run: exit code {process.returncode}: {said[-300:]}"]
            expected[job.name] = contents(job.folder)
        jobs.fresh(job)
        process = start(job, processes=2)
        moments(process, job, rng.randrange(1, len(job.expected)), rng.random() * between(job))
        workers = children(process.pid)
        if len(workers) == 2:
            os.kill(workers[rng.randrange(2)], signal.SIGKILL)
        said = ended(process)
        wrong = jobs.orphans()
        if len(workers) == 2 and process.returncode == 0 and "did not end" in said:
            wrong.append("the other process did not end")
        process = start(job, processes=2)
        said = ended(process)
        if process.returncode != 0:
            return [*wrong, f"second run: exit code {process.returncode}: {said[-300:]}"]
        return wrong + differences(expected[job.name], contents(job.folder)) + jobs.orphans()

    return disturb


def two_at_once(jobs: Jobs, job: Job, rng: random.Random) -> list[str]:
    """A second copy of the command while the first one works."""
    jobs.fresh(job)
    first = start(job, "pause:0.02")
    moments(first, job, rng.randrange(1, max(2, len(job.expected) // 2)), 0.0)
    os.kill(first.pid, signal.SIGSTOP)
    second = start(job)
    said = message_of(ended(second))
    os.kill(first.pid, signal.SIGCONT)
    told = message_of(ended(first))
    wrong = []
    if (
        second.returncode != 2
        or f"in use by another run (process {first.pid})" not in said
        or len(said.splitlines()) != 1
    ):
        wrong.append(f"the second: exit code {second.returncode}: {said[-300:]}")
    if first.returncode != 0:
        wrong.append(f"the first: exit code {first.returncode}: {told[-300:]}")
    return wrong + differences(job.expected, contents(job.folder)) + jobs.orphans()


def refused(process: subprocess.Popen, *words: str) -> list[str]:
    """What is wrong with how a run that cannot write ends."""
    said = message_of(ended(process))
    if process.returncode == 2 and len(said.splitlines()) == 1 and all(word in said for word in words):
        return []
    return [f"exit code {process.returncode}: {said[-400:]}"]


def full_disk(jobs: Jobs, job: Job, rng: random.Random) -> list[str]:
    """A file system too small for the results; it grows afterwards."""
    jobs.fresh(job)
    needed = sum(4096 * (1 + size // 4096) for size in job_sizes(jobs, job))
    with small_disk(job.folder, int(needed * rng.uniform(0.1, 0.8))):
        wrong = refused(start(job), "No space left on device")
        wrong += [f"left behind: {path.name}" for path in job.folder.rglob(".tmp-*")]
        mount("-o", f"remount,size={ROOM}", str(job.folder))
        return wrong + jobs.finish(job)


_sizes: dict[str, list[int]] = {}


def job_sizes(jobs: Jobs, job: Job) -> list[int]:
    """Sizes of the job's results in bytes; runs it once."""
    if job.name not in _sizes:
        jobs.finish(job)
        _sizes[job.name] = [path.stat().st_size for path in job.folder.rglob("*") if path.is_file()]
        jobs.fresh(job)
    return _sizes[job.name]


def turned_read_only(jobs: Jobs, job: Job, rng: random.Random) -> list[str]:
    """Killed half-way, its folder read-only at the next start, writable again at the one after."""
    jobs.fresh(job)
    with small_disk(job.folder, ROOM):
        process = start(job)
        moments(process, job, rng.randrange(1, len(job.expected) // 2 + 1), 0.0)
        kill(process)
        process.communicate()
        mount("-o", "remount,ro", str(job.folder))
        wrong = refused(start(job), "Read-only file system")
        mount("-o", "remount,rw", str(job.folder))
        return wrong + jobs.finish(job)


def locked_while_running(jobs: Jobs, job: Job, rng: random.Random) -> list[str]:
    """Every folder of the results becomes immutable (chattr +i) while the job writes into them."""
    jobs.fresh(job)
    process = start(job, "pause:0.05")
    moments(process, job, rng.randrange(1, len(job.expected) // 2 + 1), 0.0)
    folders = [str(job.folder), *(str(path) for path in job.folder.rglob("*") if path.is_dir())]
    try:
        done = subprocess.run(["chattr", "+i", *folders], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            ended(process)
            raise OSError(f"chattr: {done.stderr.strip()}")
        wrong = refused(process, "Operation not permitted")
    finally:
        subprocess.run(["chattr", "-i", *folders], capture_output=True, check=False)
    return wrong + jobs.finish(job)


def failing_writes(jobs: Jobs, job: Job, rng: random.Random) -> list[str]:
    """From some file on, everything that is to be written fails."""
    jobs.fresh(job)
    name = rng.choice(ERRORS)
    wrong = refused(start(job, f"error:{rng.randint(1, job.renames)}:{name}"), "cannot be written (")
    wrong += [f"left behind: {path.name}" for path in job.folder.rglob(".tmp-*")]
    return wrong + jobs.finish(job)


def orphan_check(
    command: list[str], marker: str, number: signal.Signals, delay: float, environment: dict[str, str]
) -> list[str]:
    """A script that starts others is asked to end; `marker` is in the command line of all of them."""
    process = subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(alive(marker)) > 1 or process.poll() is not None)
    time.sleep(delay)
    process.send_signal(number)
    said = message_of(ended(process))
    wait_for(lambda: not alive(marker), 5.0)
    left = alive(marker)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    wrong = [f"left running: {len(left)} processes"] if left else []
    codes = (-signal.SIGKILL,) if number == signal.SIGKILL else (0, 130, 143)
    if process.returncode not in codes or "Traceback" in said:
        wrong.append(f"exit code {process.returncode}: {said[-300:]}")
    return wrong
