"""The line that says that other work keeps the CPU busy."""

import pytest
import torch

from common.runtime import load
from common.runtime.distributed import World

STAT = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 {} 0 0 0\ncpu1 {} 0 0 0\ncpu2 100 0 0 0 0 0 0 0 0 0\nintr 5\n"
IDLE, BUSY, NICE = "10 5 10 {} 0 0 0 0", "{} 5 10 10 0 0 0 0", "10 {} 10 10 0 0 0 0"
CPU = World(0, 1, torch.device("cpu"))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Sets what the two processors this process may use do: (one, other), patterns from above."""

    def use(*kinds: str) -> None:
        path = tmp_path / "stat"
        path.write_text(STAT.format(*(kind.format(10) for kind in kinds)))
        monkeypatch.setattr(load, "_TIMES", path)
        monkeypatch.setattr(
            load.time, "sleep", lambda _: path.write_text(STAT.format(*(kind.format(30) for kind in kinds)))
        )

    monkeypatch.setattr(load.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    return use


@pytest.mark.parametrize(
    "kinds, unused", [((IDLE, IDLE), 2), ((IDLE, BUSY), 1), ((NICE, BUSY), 1), ((BUSY, BUSY), 0)]
)
def test_unused_processors(machine, kinds, unused):
    machine(*kinds)
    assert load.unused_processors() == unused


def test_what_is_said(machine, monkeypatch):
    said = []
    machine(IDLE, IDLE)
    load.say_busy(CPU, said.append)
    assert said == []
    machine(IDLE, BUSY)
    load.say_busy(CPU, said.append)
    machine(BUSY, BUSY)
    load.say_busy(CPU, said.append)
    assert [line[:68] for line in said] == [
        "other work leaves 1.0 of 2 processors: with OMP_NUM_THREADS=1 before",
        "other work leaves 0.0 of 2 processors: with OMP_NUM_THREADS=1 before",
    ]
    # The user has chosen; several processes; a GPU.
    load.say_busy(World(0, 2, CPU.device), said.append)
    load.say_busy(World(0, 1, torch.device("cuda")), said.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    load.say_busy(CPU, said.append)
    assert len(said) == 2


def test_a_system_that_does_not_tell(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(load, "_TIMES", tmp_path / "none")
    assert load.unused_processors() is None
    load.say_busy(CPU, pytest.fail)
