"""SIGTERM and Ctrl-C: one line and an exit code of their own, whether they come during imports or during
work."""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing import connection, parent_process
from types import FrameType

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit codes as shells give them to processes that a signal ended: 128 + its number."""

MESSAGE = "interrupted: start again to go on where it stopped"

_REPEATED = 2.0
"""Signals within so many seconds count as one: Ctrl-C reaches a whole process group, and torchrun passes it
on."""


_before: dict[int, object] = {}


class Interrupted(KeyboardInterrupt):
    """The process was asked to end, by Ctrl-C or SIGTERM, and ends with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def end_at_once() -> None:
    """Until `raise_in_work`, a signal ends the process at once. Meant for the imports, which take seconds: no
    work has begun."""

    def handle(number: int, frame: FrameType | None) -> None:
        os.write(2, f"{MESSAGE}\n".encode())
        os._exit(CODES[number])

    _install(handle)


def raise_in_work() -> None:
    """From now on a signal raises Interrupted in the main thread, once; a second one after two seconds ends
    at once."""
    first: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            raise Interrupted(CODES[number])
        if time.monotonic() - first[0] > _REPEATED:
            os._exit(CODES[number])

    if threading.current_thread() is threading.main_thread():
        _before.update({number: signal.getsignal(number) for number in CODES})
    _install(handle)


def restore() -> None:
    """Restore the handlers from before `raise_in_work`. A script has done its work by then and ignores
    signals from now on: nothing could handle them while Python shuts down, and the process would end as if it
    had failed."""
    while _before:
        number, handler = _before.popitem()
        if getattr(handler, "__module__", None) == __name__:
            handler = signal.SIG_IGN
        if handler is not None:
            signal.signal(number, handler)


def follow_parent() -> None:
    """For a worker process: leave Ctrl-C to the parent, and end when the parent has ended, however it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _install(handle: object) -> None:
    # Handlers belong to the main thread; a caller in another one (a test, a notebook) keeps what it has.
    if threading.current_thread() is threading.main_thread():
        for number in CODES:
            signal.signal(number, handle)
