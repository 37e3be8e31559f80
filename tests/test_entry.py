"""How a process ends that worked in a group of processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

SCRIPT = """
import atexit, sys
sys.path.insert(0, {root!r})
from common.errors import UserError
from common.runtime import distributed, entry

def main():
    world = distributed.start("cpu")
    ranks = world.gather(world.rank)
    if world.main:
        print("ranks", ranks)
    if "fail" in sys.argv:
        raise UserError("no such thing")

atexit.register(print, "Python was taken down")
entry.run(main)
"""


@pytest.mark.parametrize("arguments, code", [([], 0), (["fail"], 1)])
def test_a_group_ends_without_taking_python_down(tmp_path: Path, arguments: list[str], code: int) -> None:
    """Gloo's threads are still there then, and one of them may end the process with SIGABRT."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(tiny.ROOT)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*torchrun, str(script), *arguments], capture_output=True, text=True, env=environment
    )
    assert result.returncode == code
    assert result.stdout.count("ranks [0, 1]") == 1
    assert result.stderr.count("error: no such thing") == (2 if code else 0)
    assert "taken down" not in result.stdout


def test_one_process_is_taken_down_as_usual(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(tiny.ROOT)))
    result = subprocess.run([sys.executable, str(script), "fail"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (2, "error: no such thing\n")
    assert result.stdout.split("\n")[:2] == ["ranks [0]", "Python was taken down"]
