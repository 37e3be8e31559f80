"""Reading ahead of a computation and writing behind it, in worker threads with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    make: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    waiting: int = 2,
) -> Iterator[Result]:
    """`make(item)` for every item, in order, made by `workers` threads while the results before are in use.

    At most `waiting` results are made or being made beyond the one in use. An error of `make` is raised where
    its result would have come. With 0 workers everything is made when it is asked for.
    """
    if workers == 0:
        yield from map(make, items)
        return
    pool, made = _threads(workers), deque[Future]()
    try:
        for item in items:
            made.append(pool.submit(make, item))
            if len(made) > waiting:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Writer:
    """Runs `write(...)` calls behind the computation, in `workers` threads (0: at once); a context manager.

    At most `waiting` calls are outstanding; a further one waits, so that memory stays bounded. The first
    error is raised by a later call or at the end of the block. When the block fails, calls that have not
    started are dropped and those that have are waited for.
    """

    def __init__(self, workers: int, waiting: int = 4) -> None:
        self._pool = _threads(workers) if workers else None
        self._waiting, self._outstanding = waiting, deque[Future]()

    def __enter__(self) -> "Writer":
        return self

    def __call__(self, write: Callable[..., Any], *arguments: Any) -> None:
        """Have `write(*arguments)` called; what has to be written in an order belongs into one call."""
        if self._pool is None:
            write(*arguments)
            return
        while self._outstanding and (len(self._outstanding) >= self._waiting or self._outstanding[0].done()):
            self._outstanding.popleft().result()
        self._outstanding.append(self._pool.submit(write, *arguments))

    def __exit__(self, kind: type | None, *_: Any) -> None:
        if self._pool is None:
            return
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            while self._outstanding:
                self._outstanding.popleft().result()


def _threads(workers: int) -> ThreadPoolExecutor:
    """Worker threads that compute with one thread each, whatever the main thread computes with.

    Otherwise each gets a team of OpenMP threads of its own. There are then more of them than cores, even
    while they have nothing to do, and all teams go to sleep between two operations instead of waiting for the
    next, which networks with many small layers pay for at every step of their training.
    """
    torch.get_num_threads()  # Fixes the main thread's own number before another thread sets one.
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
