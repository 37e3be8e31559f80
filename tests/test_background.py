"""Reading ahead and writing behind: order, bounded memory, errors."""

import threading
import time

import pytest
import torch

from common.runtime.background import Writer, prefetch


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_and_only_so_many_are_made_ahead(workers):
    made, used = [], []

    def make(item: int) -> int:
        time.sleep(0.01 if item % 2 else 0)
        made.append(item)
        return item * item

    for result in prefetch(make, range(12), workers, waiting=2):
        time.sleep(0.02)
        used.append(result)
        assert len(made) <= len(used) + 2
    assert used == [item * item for item in range(12)]


def test_an_endless_source_is_not_read_to_its_end():
    seen = []

    def source():
        while True:
            seen.append(None)
            yield len(seen)

    results = prefetch(lambda item: item, source(), 1)
    assert [next(results) for _ in range(3)] == [1, 2, 3]
    results.close()
    assert len(seen) <= 6


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_raised_in_its_place(workers):
    def make(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results, seen = prefetch(make, range(5), workers), []
    with pytest.raises(ValueError, match="two"):
        for result in results:
            seen.append(result)
    assert seen == [0, 1]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_everything_is_written_when_the_block_ends_and_few_calls_are_outstanding(workers):
    lock, now, most, written = threading.Lock(), [0], [0], []

    def write(item: int) -> None:
        time.sleep(0.005)
        with lock:
            written.append(item)
            now[0] -= 1

    with Writer(workers, waiting=3) as writer:
        for item in range(20):
            with lock:
                now[0] += 1
            writer(write, item)
            most[0] = max(most[0], now[0])
    assert sorted(written) == list(range(20)) and most[0] <= 4


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_writing_surfaces(workers):
    def write(item: int) -> None:
        if item == 1:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        with Writer(workers) as writer:
            for item in range(3):
                writer(write, item)


def test_a_failing_block_drops_what_has_not_started_and_keeps_its_own_error():
    started = []

    def write(item: int) -> None:
        started.append(item)
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        with Writer(1, waiting=10) as writer:
            for item in range(8):
                writer(write, item)
            raise KeyboardInterrupt
    assert len(started) < 8


def test_workers_compute_with_one_thread_and_leave_the_others_theirs():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert set(prefetch(lambda _: torch.get_num_threads(), range(6), workers=2)) == {1}
        assert torch.get_num_threads() == 3
        with Writer(workers=1) as write:
            seen = []
            write(lambda: seen.append(torch.get_num_threads()))
        assert seen == [1]
    finally:
        torch.set_num_threads(before)
