"""How a result was made: written beside it, and compared before anything is added to it."""
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from common.config import as_dict
from common.errors import UserError
from common.files import read_json, write_json, write_text

SETTINGS = "settings.json"
_LIBRARIES = ("torch", "torchvision", "numpy", "opencv-python-headless", "opencv-python", "scikit-image", "pillow")


def claim_folder(folder: Path, settings: dict[str, Any], config: Any, overwrite: bool = False) -> None:
    """Make `folder` the place for results with these `settings`, or refuse.

    A folder without settings is claimed; one with equal settings is continued; one with others raises UserError
    listing what differs, or is emptied with `overwrite`. Also writes config.yaml (everything resolved) and
    run.json (command line, code and library versions).
    """
    stored = folder / SETTINGS
    if overwrite and folder.exists():
        shutil.rmtree(folder)
    if stored.exists():
        differing = differences(read_json(stored), settings)
        if differing:
            raise UserError(f"{folder}: made with other settings: {'; '.join(differing[:8])}; "
                            "use --overwrite to make it again, or another output folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(stored, settings)
        write_text(folder / "config.yaml", yaml.safe_dump(as_dict(config), sort_keys=False))
        write_json(folder / "run.json", {"command": sys.argv, "code": code_version(), "python": sys.version.split()[0],
                                         "machine": platform.machine(), "libraries": library_versions()})
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None


def differences(before: Any, now: Any, prefix: str = "") -> list[str]:
    """What differs between two settings, as `key: before -> now` lines."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = dict.fromkeys([*before, *now])
        return [line for name in names
                for line in differences(before.get(name), now.get(name), f"{prefix}.{name}" if prefix else name)]
    return [] if before == now else [f"{prefix}: {before!r} -> {now!r}"]


def code_version() -> str:
    """Commit of the checkout this file is in, with `+changes` where files differ from it; "unknown" without git."""
    root = Path(__file__).resolve().parents[1]
    try:
        commit = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "-C", str(root), "status", "--porcelain", "-uno"], capture_output=True,
                                 text=True, check=True)
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
