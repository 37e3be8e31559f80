"""What the campaign starts as real processes: stages, trainers and deblur_video on a tiny case."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tiny
import yaml
from faults.files import TRAINERS, recipe

from common.layout import Layout

INJECT = Path(__file__).with_name("inject.py")
LIMIT = 900.0
"""Seconds for a process that takes a few: enough on a machine that is busy with other things."""
INFORMATIVE = ("times.json", "report.html")
"""Files that hold how long the work took; everything else is compared byte by byte."""
NOTE = Layout(Path()).inputs.name


@dataclass
class Job:
    """A command whose results lie in `folder`. expected: an undisturbed run's files; renames: files it
    makes."""

    name: str
    command: list[str]
    folder: Path
    expected: dict[str, str] = field(default_factory=dict)
    renames: int = 0
    seconds: float = 0.0
    first: float = 0.0
    """Seconds until the first file."""


class Jobs:
    """The tiny case in `place`, all jobs on it, and their undisturbed results."""

    def __init__(self, place: Path, names: tuple[str, ...] | None = None) -> None:
        self.case = place / "case"
        shutil.rmtree(self.case, ignore_errors=True)
        config = tiny.make(self.case)
        every = {
            stage: ([f"{stage}/main.py", "--config", str(config)], self.case / "out" / folder)
            for stage, folder in zip(tiny.STAGES, ("rsdm", "dbcgm", "blurring", "deblurring"))
        }
        for module, network in TRAINERS.items():
            path = recipe(self.case, network, steps=8, validate_every=4, save_every=2)
            content = yaml.safe_load(path.read_text())
            name = module.split(".")[1]
            content["output"] = f"training/{name}"
            path = path.rename(self.case / f"{name}.yaml")
            path.write_text(yaml.safe_dump(content))
            every[name] = (
                [f"{module.replace('.', '/')}.py", "--config", str(path)],
                self.case / "training" / name,
            )
        tiny.write_config(
            self.case, "video.yaml", deblurring={"epochs": 4, "rehearsal": 1, "learning_rate": 5e-5}
        )
        every["deblur_video"] = (
            [
                "scripts/deblur_video.py",
                str(self.case / "data" / "a" / "Blur" / "RGB"),
                "--out",
                str(self.case / "video"),
                "--config",
                str(self.case / "video.yaml"),
            ],
            self.case / "video",
        )
        self.jobs = {
            name: Job(name, [str(tiny.ROOT / command[0]), *command[1:]], folder)
            for name, (command, folder) in every.items()
            if names is None or name in names or name in tiny.STAGES
        }
        for job in self.jobs.values():
            self._undisturbed(job)

    def _undisturbed(self, job: Job) -> None:
        log = self.case / "renames.txt"
        started = time.monotonic()
        process = start(job, f"count:{log}")
        while process.poll() is None and not log.exists():
            time.sleep(0.01)
        job.first = time.monotonic() - started
        said = ended(process)
        assert process.returncode == 0, said
        job.seconds = time.monotonic() - started
        job.renames = len(log.read_text().splitlines())
        log.unlink()
        job.expected = contents(job.folder)

    def fresh(self, job: Job) -> None:
        """Remove the job's results."""
        shutil.rmtree(job.folder, ignore_errors=True)

    def finish(self, job: Job) -> list[str]:
        """Run the job undisturbed to its end; what differs from the expected results."""
        process = start(job)
        said = ended(process)
        if process.returncode != 0:
            return [f"second run: exit code {process.returncode}: {said[-300:]}"]
        return differences(job.expected, contents(job.folder)) + self.orphans()

    def orphans(self) -> list[str]:
        """Processes of this case that still run after two seconds."""
        until = time.monotonic() + 2
        while (found := alive(str(self.case))) and time.monotonic() < until:
            time.sleep(0.05)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return [f"left running: process {pid}" for pid in found]


def environment() -> dict[str, str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    }
    return {**own, "OMP_NUM_THREADS": "1"}


def start(job: Job, fault: str | None = None, processes: int = 1) -> subprocess.Popen:
    """The job as a process, in a session of its own; its messages go to a pipe."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    if fault is not None:
        launcher += [str(INJECT), fault]
    return subprocess.Popen(
        [*launcher, *job.command],
        env=environment(),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen) -> str:
    """What it said on standard error, after its end; one that does not end is killed and says so."""
    try:
        return process.communicate(timeout=LIMIT)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"{process.communicate()[1]}\ndid not end within {LIMIT:g} s"


def message_of(said: str) -> str:
    """The lines of a run's messages that are no progress bars."""
    return "\n".join(
        line
        for line in said.replace("\r", "\n").splitlines()
        if line.strip()
        and "%|" not in line
        and "it/s]" not in line
        and not line.rstrip().endswith("?it/s]")
        and "[00:" not in line
    )


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(lasting(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in INFORMATIVE
    }


def lasting(path: Path) -> bytes:
    """What a file holds; of the note on the input (`common.runtime.inputs`) without the times of files, because
    deblur_video writes its frames anew after a kill."""
    content = path.read_bytes()
    if path.name != NOTE:
        return content
    note = json.loads(content)
    return json.dumps(
        {
            group: {name: [size, digest] for name, (size, _, digest) in own.items()}
            for group, own in note.items()
        }
    ).encode()


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    wrong = [f"missing: {name}" for name in expected if name not in found]
    wrong += [f"left over: {name}" for name in found if name not in expected]
    return wrong + [
        f"differs: {name}" for name in expected if name in found and expected[name] != found[name]
    ]


def alive(marker: str) -> list[int]:
    """Processes, other than this one, with `marker` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def children(pid: int) -> list[int]:
    """Direct children of a process, oldest first."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def files_in(folder: Path) -> int:
    """Finished files below a folder that is being written to."""
    return sum(not name.startswith(".") for _, _, names in os.walk(folder) for name in names)


def moments(process: subprocess.Popen, job: Job, files: int, delay: float) -> bool:
    """Wait until the job has made so many files, then the delay; False where it ended before. The moment is
    counted in files because seconds mean little on a busy machine."""
    while process.poll() is None and files_in(job.folder) < files:
        time.sleep(0.005)
    time.sleep(delay)
    return process.poll() is None


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of so many bytes at `folder`; what lies there in the end stays there. Raises OSError
    where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    kept = folder.with_name(f"{folder.name}.kept")
    try:
        yield
        shutil.copytree(folder, kept)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
        if kept.exists():
            folder.rmdir()
            kept.rename(folder)


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"mount: {done.stderr.strip()}")
