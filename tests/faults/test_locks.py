"""One process per folder: who is told what, and what is left of a lock."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import UserError
from common.runtime import locks

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from common.runtime import locks
locks.hold(Path({folder!r}))
print("held", flush=True)
sys.stdin.read()
{then}
"""


def holder(folder: Path, then: str = "") -> subprocess.Popen:
    """Another process that holds `folder` until its input is closed, then does `then`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(root=str(ROOT), folder=str(folder), then=then)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    yield
    locks.release()


def test_the_second_is_told_who_has_it(tmp_path: Path) -> None:
    other = holder(tmp_path / "out", "locks.release()")
    with pytest.raises(UserError) as caught:
        locks.hold(tmp_path / "out")
    assert f"{tmp_path / 'out'}: in use by another run (process {other.pid})" in str(caught.value)
    other.communicate()
    assert not (tmp_path / "out" / locks.LOCK).exists()
    locks.hold(tmp_path / "out")


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    other = holder(tmp_path)
    other.kill()
    other.communicate()
    assert (tmp_path / locks.LOCK).exists()
    locks.hold(tmp_path)
    locks.release()
    assert not any(tmp_path.iterdir())


def test_the_same_process_may_ask_again(tmp_path: Path) -> None:
    locks.hold(tmp_path)
    locks.hold(tmp_path / ".")
    command = [sys.executable, "-c", HOLD.format(root=str(ROOT), folder=str(tmp_path), then="")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "in use by another run" in done.stderr


def test_locks_left_below_are_removed_in_the_end(tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        other = holder(tmp_path / name)
        other.kill()
        other.communicate()
    locks.hold_below(tmp_path)
    locks.release()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
