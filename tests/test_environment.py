"""What a run needs around it: an interpreter, packages, memory, a terminal, the right packages by name; and
what identifies its input."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import torch
from tqdm import TqdmMonitorWarning

from common.errors import UserError
from common.images import read_image, write_image
from common.runtime import entry, environment
from common.runtime.inputs import contents, note_down, with_unused
from common.runtime.memory import halving, out_of_memory
from common.videos import Video

ENTRIES = [
    path
    for path in (*tiny.ROOT.glob("*/*.py"), *tiny.ROOT.glob("*/*/train.py"))
    if path.parts[-2] != "tests" and "\nif __name__" in path.read_text()
]


def test_an_old_python_and_missing_packages_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    assert environment.problem_of((3, 11)) is None
    old = environment.problem_of((3, 9))
    assert (
        old.startswith("Python 3.10 or newer is needed, ") and "requirements.txt" in old and "\n" not in old
    )
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no_such_package", "nor_this"))
    assert f"{sys.executable} has no no_such_package, nor_this; " in environment.problem_of((3, 12))


def test_an_environment_that_is_there_is_to_be_entered(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    activate = tmp_path / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    assert environment.problem_of((3, 9)).endswith(f"enter the environment first: source {activate}")


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_entry_looks_first(path):
    text = path.read_text()
    place = text.index("\nstart.prepare(__name__)\n")
    for module in (
        "import torch",
        "import numpy",
        "import cv2",
        "import av",
        "from tqdm",
        "from PIL",
        "import yaml",
    ):
        assert not 0 <= text.find(f"\n{module}") < place, module


def test_outside_of_an_environment(tmp_path):
    # Without site-packages there is no torch.
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(tiny.ROOT / "RSDM" / "main.py"), "--config", "x"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    # What to do depends on whether this checkout has an environment already.
    advice = ".venv/bin/activate" if (tiny.ROOT / ".venv").exists() else "requirements.txt"
    assert "has no torch" in done.stderr and advice in done.stderr


def test_other_packages_of_the_same_names(tmp_path):
    for name in ("common", "scripts", "RSDM"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('another package')\n")
    code = "import sys; sys.path.insert(0, sys.argv[1])\nimport common.errors, scripts.video, RSDM.regions"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny.ROOT)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr


def test_an_encoding_without_the_name(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(tiny.ROOT)!r})\nfrom common.runtime.entry import run\n"
        "run(lambda: print('\\u0444\\u0438\\u043b\\u044c\\u043c.mp4'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0 and done.stdout.startswith(b"\\u0444") and done.stderr == b""


SHORTAGES = [
    RuntimeError("could not create a primitive"),
    RuntimeError("can't start new thread"),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
    cv2.error("OpenCV(4.9) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 99 bytes"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ImportError("/x/stats.so: failed to map segment from shared object"),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
    torch.distributed.DistBackendError("NCCL error: Last error: Cuda failure 2 'out of memory'"),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
def test_memory_that_runs_out_is_halved_then_one_line(error, capsys):
    assert out_of_memory(error)
    said = []

    def work(size: int) -> int:
        if size > 3:
            raise error
        return size

    assert halving(work, 12, 1, "rsdm.batch_size", said.append) == (3, 3) and len(said) == 2

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        entry.run(main)
    line = capsys.readouterr().err
    assert end.value.code == 2 and "not enough memory; close other programs" in line and line.count("\n") == 1


def test_other_errors_are_no_shortage():
    for error in (
        RuntimeError("shapes differ"),
        ValueError("not enough memory"),
        OSError(errno.ENOENT, "x"),
        ImportError("/x.so: failed to map segment from shared object: Operation not permitted"),
    ):
        assert not out_of_memory(error)
    with pytest.raises(ZeroDivisionError):
        entry.run(lambda: 1 / 0)
    with pytest.raises(UserError):
        halving(lambda size: np.empty(2**56), 4, 1, "x", print)


def test_a_picture_that_finds_no_memory_is_not_called_damaged(tmp_path, monkeypatch):
    write_image(tmp_path / "1.png", np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr("cv2.imdecode", lambda *_: None)
    with pytest.raises(UserError, match="not a readable image"):
        read_image(tmp_path / "1.png")
    monkeypatch.setattr("common.formats.image_formats._ROOM", 2**56)
    with pytest.raises(MemoryError):
        read_image(tmp_path / "1.png")


def test_bars_without_a_thread_of_their_own_say_nothing():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        entry.run(lambda: warnings.warn("can't start new thread", TqdmMonitorWarning))
    assert not seen


GIVEN_BACK = f"""
import resource, sys
sys.path.insert(0, {str(tiny.ROOT)!r})
import numpy as np
from common.errors import UserError
from common.runtime.allocator import keep_freed_memory
from common.runtime.memory import halving

def used(column):
    return int(open("/proc/self/statm").read().split()[column]) * resource.getpagesize() // 2**20

if sys.argv[1] == "limited":
    resource.setrlimit(resource.RLIMIT_AS, (64 * 2**30, resource.RLIM_INFINITY))
keep_freed_memory()
before = used(0), used(1)
blocks = [np.ones(2**20) for _ in range(40)]
# What stays in use behind the others keeps the heap from shrinking.
last = np.ones(2**17)
del blocks
print(used(1) - before[1], used(0) - before[0])
try:
    halving(lambda size: np.empty(2**56), 1, 1, "x", print)
except UserError:
    print(used(1) - before[1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_shortage_gives_back_what_is_kept(tmp_path):
    """320 MiB are freed. They stay with the process for the next tensors, until memory runs short; with a
    limited address space they never stay."""

    def figures(limit: str) -> list[int]:
        done = subprocess.run([sys.executable, "-c", GIVEN_BACK, limit], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [int(word) for word in done.stdout.split()]

    kept, _, left = figures("not limited")
    assert kept > 300 and left < 60
    kept, mapped, _ = figures("limited")
    assert kept < 60 and mapped < 100


class TestInputs:
    def files(self, folder: Path, **files: bytes) -> tuple[Path, ...]:
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / f"{name}.png").write_bytes(content)
        return tuple(sorted(folder.glob("*.png")))

    def test_contents_tell_and_times_do_not(self, tmp_path, monkeypatch):
        kept, own = tmp_path / "inputs.json", {"a": self.files(tmp_path / "a", x=b"1", y=b"2")}
        first, note = contents(own, kept)
        assert list(first["a"]) == ["x.png", "y.png"] and not kept.exists()
        for name, files, same in (
            ("copy", {"x": b"1", "y": b"2"}, True),
            ("other", {"x": b"1", "y": b"3"}, False),
            ("names", {"x": b"1", "z": b"2"}, False),
        ):
            assert (contents({"a": self.files(tmp_path / name, **files)}, kept)[0] == first) == same
        # Where names, sizes and times are as noted down, contents are not read again.
        note_down(note, kept)
        read = []
        monkeypatch.setattr("common.runtime.inputs._digest", lambda path: read.append(path.name))
        assert contents(own, kept)[0] == first and not read
        (tmp_path / "a" / "y.png").write_bytes(b"33")
        contents(own, kept)
        assert read == ["y.png"]

    def test_files_without_results_may_change(self):
        before = {"a": {"1": "x", "2": "y", "3": "z"}, "b": {"1": "x"}}
        now = {"a": {"1": "x", "2": "new", "4": "more"}, "b": {"1": "new"}}
        unused = with_unused(before, now, lambda group, name: (group, name) in {("a", "1"), ("b", "1")})
        assert unused == {"a": now["a"], "b": before["b"]}
        assert with_unused(before, now, lambda group, name: True) == before
        for damaged in (None, [], {"a": 3}):
            assert with_unused(damaged, now, lambda group, name: False) == damaged

    def test_a_damaged_note_is_made_again(self, tmp_path):
        files, kept = {"a": self.files(tmp_path / "a", x=b"1")}, tmp_path / "inputs.json"
        first, note = contents(files, kept)
        for text in ("", "[1]", '{"a": 3}', '{"a": {"x.png": "x"}}', '{"a": {"x.png": [1, 2, 3]}}'):
            kept.write_text(text)
            assert contents(files, kept)[0] == first
            note_down(note, kept)
            assert contents(files, kept) == (first, note)

    def test_a_frame_of_another_kind_has_a_png_result(self, tmp_path):
        video = Video("v", (tmp_path / "1.jpg",), ())
        assert video.restored(tmp_path, 0) == tmp_path / "v" / "1.png"
