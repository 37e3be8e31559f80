"""How a result was made: written beside it, and compared before anything is added to it."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from common.config import as_dict
from common.errors import UserError
from common.layout import CONFIG, RUN, SETTINGS
from common.runtime.distributed import World
from common.runtime.files import read_json, remove_leftovers, write_json, write_text
from common.runtime.locks import LOCK, hold

Amend = Callable[[Any], Any]
_SHOWN = 8
"""How many differences are listed."""
_LONGEST = 200
"""Characters of a value that are shown."""
_LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "scikit-image",
    "pillow",
)


def claim_together(
    world: World,
    folder: Path,
    settings: dict[str, Any],
    config: Any,
    overwrite: bool = False,
    amend: Amend | None = None,
) -> bool:
    """`claim_folder` in the main process; its answer, and a refusal as the same UserError, reach every
    process."""
    problem, empty = None, False
    if world.main:
        try:
            empty = claim_folder(folder, settings, config, overwrite, amend)
        except UserError as error:
            problem = str(error)
    problem, empty = world.gather((problem, empty))[0]
    if problem is not None:
        raise UserError(problem)
    return empty


def claim_folder(
    folder: Path,
    settings: dict[str, Any],
    config: Any,
    overwrite: bool = False,
    amend: Amend | None = None,
) -> bool:
    """Make `folder` the place for results with these `settings`, or refuse; whether it holds no results yet.

    A folder without results is claimed; one with results of equal settings is continued; one with results of
    others raises UserError listing what differs, or is emptied with `overwrite`. amend: maps recorded
    settings to equivalent ones, for differences without effect on the results that exist
    (`common.runtime.inputs.with_unused`). A folder that another process is at work in is refused
    (`common.runtime.locks`: this process has it from now on). Claiming writes config.yaml (everything
    resolved; not for a script without a configuration) and run.json (command line, code and library
    versions); continuing changes no other file than settings that were amended. What killed writers left
    behind is removed.
    """
    stored = folder / SETTINGS
    try:
        hold(folder)
        if overwrite and folder.exists():
            if not stored.exists() and _has_results(folder):
                raise UserError(
                    f"{folder}: not emptied by --overwrite, because it holds no {SETTINGS} of an earlier "
                    "run; empty it yourself, or choose another output folder"
                )
            _empty(folder)
        remove_leftovers(folder)
        if stored.exists():
            before, holds_results = read_json(stored), _has_results(folder)
            if not differences(before, settings):
                return not holds_results
            if holds_results:
                if amend is None or amend(before) != settings:
                    raise UserError(_refusal(folder, before, settings))
                write_json(stored, settings)
                return False
        folder.mkdir(parents=True, exist_ok=True)
        _describe(folder, config)
        # Last: when this file exists, the others do too.
        write_json(stored, settings)
        return True
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None


def _refusal(folder: Path, before: Any, settings: dict[str, Any]) -> str:
    """Why a folder with results of other settings cannot be used."""
    differing = differences(before, settings)
    more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    return (
        f"{folder}: made with other settings: {'; '.join(differing[:_SHOWN])}{more}; "
        "use --overwrite to make it again, or another output folder"
    )


def _describe(folder: Path, config: Any) -> None:
    """Write config.yaml, unless there is no configuration, and run.json."""
    if config is not None:
        write_text(folder / CONFIG, yaml.safe_dump(as_dict(config), sort_keys=False))
    write_json(
        folder / RUN,
        {
            "command": sys.argv,
            "code": code_version(),
            "python": sys.version.split()[0],
            "machine": platform.machine(),
            "libraries": library_versions(),
        },
    )


def _empty(folder: Path) -> None:
    # The settings go last: a removal that is interrupted must not leave results that nothing describes.
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == SETTINGS):
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _has_results(folder: Path) -> bool:
    return any(entry.name not in (SETTINGS, CONFIG, RUN, LOCK) for entry in folder.iterdir())


def differences(before: Any, now: Any, prefix: str = "") -> list[str]:
    """What differs between two settings, as `key: before -> now` lines."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = dict.fromkeys([*before, *now])
        return [
            line
            for name in names
            for line in differences(before.get(name), now.get(name), f"{prefix}.{name}" if prefix else name)
        ]
    return [] if before == now else [f"{prefix}: {_short(before)} -> {_short(now)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def code_version() -> str:
    """Commit of the checkout this file is in, with `+changes` where files differ from it; "unknown" without
    git."""
    root = Path(__file__).resolve().parents[2]
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        # Without a lock on the index: a run that is killed here would leave it behind, and git refuse to work
        # after it.
        changed = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), "status", "--porcelain", "-uno"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries results depend on."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
