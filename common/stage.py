"""What the four stages share: read the command line, join the other processes, find the videos, claim a
folder."""

import argparse
import dataclasses
import os
import shlex
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from common.checkpoints import sha256
from common.config import Config, as_dict, require
from common.config_loader import load_config
from common.errors import UserError
from common.layout import Layout
from common.runtime import distributed
from common.runtime.command_line import add_config_options
from common.runtime.distributed import World
from common.runtime.inputs import Contents, Note, contents, note_down
from common.runtime.load import say_busy
from common.runtime.precision import resolve_precision
from common.runtime.provenance import Amend, claim_together
from common.runtime.times import counted
from common.videos import Video, find_videos

Item = TypeVar("Item")


@dataclass(frozen=True)
class Stage:
    """One stage's run: resolved configuration, this process among the others, the videos, command line."""

    config: Config
    world: World
    videos: list[Video]
    output: Path
    options: argparse.Namespace
    begun: set[str] = field(default_factory=set, compare=False)
    """Names of the work that begins in this run, on no earlier results."""
    claimed: set[Path] = field(default_factory=set, compare=False)
    """Folders that this run has claimed: --overwrite empties them once."""
    noted: Note = field(default_factory=dict, compare=False)
    """What is known of the input's files; see `inputs`."""

    @property
    def layout(self) -> Layout:
        """Where everything lies below the output folder."""
        return Layout(self.output)

    def claim(self, folder: Path, settings: dict[str, Any], work: str, amend: Amend | None = None) -> None:
        """Make `folder` this stage's place for results with these settings; see
        `common.runtime.provenance.claim_together`. `work` is the name that the results' times are counted
        under (see `timed`), from zero where there are no results yet."""
        overwrite = self.options.overwrite and folder not in self.claimed
        if claim_together(self.world, folder, settings, self.config, overwrite, amend):
            self.begun.add(work)
        self.claimed.add(folder)
        self.keep_note()

    def timed(self, work: str) -> AbstractContextManager[None]:
        """Count the seconds of a block of real work as those of `work` in <output>/times.json, in the main
        process."""
        if not self.world.main:
            return nullcontext()
        anew = work in self.begun
        self.begun.discard(work)
        return counted(self.output, work, anew)

    def inputs(self, sharp: bool = False) -> Contents:
        """What identifies the videos' frames, or their ground truth: names and contents
        (`common.runtime.inputs`). All processes have to call it."""
        found = None
        if self.world.main:
            kind = "sharp" if sharp else "blurry"
            files = {f"{video.name}/{kind}": video.sharp if sharp else video.frames for video in self.videos}
            found, note = contents(files, self.layout.inputs)
            self.noted.update(note)
        return self.world.gather(found)[0]

    def keep_note(self) -> None:
        """Note down what `inputs` read, so that later runs need not read it again. Only called after the
        folder was claimed: a run that is refused changes no file."""
        if self.world.main and self.noted:
            note_down(self.noted, self.layout.inputs)

    @property
    def precision(self) -> str:
        """The part of runtime.precision, tf32 and compile that results depend on, as text."""
        runtime = self.config.runtime
        return distributed.precision_record(
            self.world.device, runtime.precision, runtime.tf32, runtime.compile
        )

    def progress(
        self,
        items: Iterable[Item],
        label: str,
        unit: str,
        total: int | None = None,
    ) -> Iterable[Item]:
        """A bar over this process's part of the work, shown by the main process. total: how many `items`
        there are, where they have no length."""
        return tqdm(
            items, desc=label, unit=unit, total=total, disable=not self.world.main, dynamic_ncols=True
        )

    def say(self, text: str) -> None:
        """Print a line from the main process."""
        if self.world.main:
            print(text, flush=True)

    def say_report(self) -> None:
        """Print the command line that makes one page of everything in the output folder."""
        script = Path(__file__).resolve().parents[1] / "scripts" / "report.py"
        self.say(f"report: python {_from_here(script)} {_from_here(self.output)}")


def open_stage(description: str, arguments: Callable[[argparse.ArgumentParser], None] | None = None) -> Stage:
    """Parse `--config FILE [--set section.key=value ...] [--overwrite]` and find the videos."""
    parser = argparse.ArgumentParser(description=description)
    add_config_options(
        parser,
        "YAML file, see configs/",
        required=True,
        overwrite="delete this stage's earlier results and make them again",
    )
    if arguments is not None:
        arguments(parser)
    options = parser.parse_args()
    return stage_of(load_config(Config, options.config, options.overrides), options)


def stage_of(config: Config, options: argparse.Namespace) -> Stage:
    """A stage's run with a configuration; `options` holds at least `overwrite`."""
    output = require(config.output, "output", "folder for all results")
    root = require(config.dataset.root, "dataset.root", "folder with one folder a video")
    world = distributed.start(config.runtime.device, config.runtime.tf32)
    videos = find_videos(
        root, config.dataset.blur, config.dataset.sharp, config.dataset.videos, config.dataset.min_frames
    )
    stage = Stage(resolve_precision(config, world), world, videos, output, options)
    say_busy(world, stage.say)
    return stage


def _from_here(path: Path) -> str:
    """A path for the command line: relative where it lies below the current folder."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith(os.pardir) else relative)


def unfinished(units: list[Item], done: Callable[[Item], bool], world: World) -> list[Item]:
    """This process's part of the units that are not done yet.

    Units are fixed groups (a batch is one unit and is done as a whole), so that neither a restart nor the
    number of processes changes which items are computed together, and with that their last bits. The main
    process decides what is done. The rest is shared equally, so every process has to call this.
    """
    left = [number for number, unit in enumerate(units) if not done(unit)] if world.main else None
    return [units[number] for number in world.share(world.gather(left)[0])]


def groups(items: list[Item], size: int) -> list[list[Item]]:
    """`items` in runs of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def weights_record(path: Path | None) -> str | None:
    """What identifies a weights file in the settings: the hash of its content, not its place."""
    if path is not None and not path.is_file():
        raise UserError(
            f"{path}: weights file does not exist; README.md (Published weights) says where to get it"
        )
    return sha256(path) if path is not None else None


def section_settings(section: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration section as plain values, weights and own Python files replaced by their hash, without
    the keys named."""
    values = {name: value for name, value in as_dict(section).items() if name not in without}
    for item in dataclasses.fields(section):
        if item.metadata.get("python_class") and item.name in values:
            values[item.name] = _own_record(values[item.name])
    if "weights" in values:
        values["weights"] = weights_record(section.weights)
    return values


def _own_record(name: str | None) -> str | None:
    """A built-in name as it is; of `path/to/file.py:Name` the file's name and the hash of its content."""
    file, _, attribute = (name or "").rpartition(":")
    path = Path(file)
    return f"{path.name}:{attribute} {sha256(path)}" if file.endswith(".py") and path.is_file() else name


def autocast(world: World, precision: str) -> torch.autocast:
    """bf16 autocast on this process's device where `runtime.precision` asks for it."""
    return torch.autocast(world.device.type, torch.bfloat16, enabled=precision == "bf16")
