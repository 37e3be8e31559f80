"""What there is to evaluate: sets, networks and ways of adaptation, each with its resolved configuration."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.config import Config, as_dict
from common.config_loader import load_config
from common.errors import UserError
from common.layout import Layout
from common.runtime.provenance import differences
from common.videos import find_videos
from scripts.datasets import published
from scripts.evaluation.runner import ROOT, assign
from scripts.preparation.machine import needed_weights

BSD_SETTINGS = ("1ms8ms", "2ms16ms", "3ms24ms")

# Keys that the protocol or the script's own options settle.
_SETTLED = {
    "output": "--output",
    "dataset.root": "--root",
    "deblurring.model": "--models",
    "deblurring.select": None,
    "deblurring.borders": None,
    "rsdm.patches": "--cells",
    "dbcgm.condition": "--cells",
}

# Keys that change where and how fast something is computed, or are reported in another place.
_UNREPORTED = (
    "output",
    "dataset.root",
    "rsdm.weights",
    "dbcgm.weights",
    "blurring.weights",
    "deblurring.weights",
    "runtime.device",
    "runtime.workers",
    "runtime.cache_gib",
    *_SETTLED,
)
_CHECKPOINTS = (".pth", ".pt", ".tar", ".ckpt")


@dataclass(frozen=True, eq=False)
class Case:
    """One network on one set, adapted in one way; two are the same only if they are the same object.

    name: key of the set in published.json. stage_one: the output folder whose stage 1 this case uses, its own
    or one of the same patches.
    """

    name: str
    network: str
    patches: str
    condition: str
    config_path: Path
    overrides: tuple[str, ...]
    config: Config
    stage_one: Path

    @property
    def output(self) -> Path:
        """The case's folder of results."""
        return self.config.output

    def restored(self, variant: str) -> Path:
        """Where stage 4 writes the pictures of `variant`."""
        return Layout(self.output).network(self.network).variant(variant)

    def changed(self) -> list[str]:
        """`key: published -> here` for every setting that changes results and is not that of
        configs/<set>.yaml."""
        reference = load_config(Config, config_file(self.name), [f"deblurring.model={self.network}"])
        return [
            line
            for line in differences(as_dict(reference), as_dict(self.config))
            if line.partition(":")[0] not in _UNREPORTED
        ]


def config_file(name: str) -> Path:
    """The configuration with the published numbers for a set."""
    return ROOT / "configs" / f"{name}.yaml"


def make_case(
    name: str,
    network: str,
    patches: str,
    condition: str,
    output: Path,
    root: Path | None,
    config: Path | None,
    user: Sequence[str],
) -> Case:
    """The case with results below `output`.

    root: folder of the set's videos, or None for the configuration's. config: a file to use in place of the
    published one. user: `--set` overrides, those for one network only with its name and a colon in front.
    Raises UserError for a key that the protocol settles.
    """
    path = config or config_file(name)
    stage_one = output / name if patches == "sharp" else output / "ablation" / f"{patches}_dbcgm"
    folder = stage_one if condition == "dbcgm" else output / "ablation" / f"{patches}_{condition}"
    overrides = [
        assign("output", folder),
        f"deblurring.model={network}",
        "deblurring.select=both",
        "deblurring.borders=mirror",
        f"rsdm.patches={patches}",
        f"dbcgm.condition={condition}",
    ]
    if root is not None:
        overrides.append(assign("dataset.root", root))
    if load_config(Config, path).deblurring.model != network:
        overrides.append(assign("deblurring.weights", _only_checkpoint(ROOT / "weights" / network)))
    overrides += _for_network(user, network)
    resolved = load_config(Config, path, overrides)
    return Case(name, network, patches, condition, path, tuple(overrides), resolved, stage_one)


def _only_checkpoint(folder: Path) -> Path | None:
    files = [path for path in sorted(folder.glob("*")) if path.suffix in _CHECKPOINTS]
    return files[0] if len(files) == 1 else None


def _for_network(user: Sequence[str], network: str) -> list[str]:
    kept = []
    for override in user:
        named = re.match(rf"({'|'.join(published()['networks'])}):(.*)", override, re.DOTALL)
        assignment = named[2] if named else override
        key = assignment.partition("=")[0]
        if key in _SETTLED:
            instead = f"use {_SETTLED[key]}" if _SETTLED[key] else "it belongs to the protocol"
            raise UserError(f"--set {override}: {key} is settled by this script; {instead}")
        if named is None or named[1] == network:
            kept.append(assignment)
    return kept


def absent(case: Case) -> str:
    """What keeps the case from being run, in one line; empty where data and weights are there."""
    config = case.config
    if config.dataset.root is None:
        return "dataset.root is not set (--root)"
    try:
        videos = find_videos(
            config.dataset.root, config.dataset.blur, config.dataset.sharp, config.dataset.videos
        )
    except UserError as error:
        return str(error)
    untrue = [video.name for video in videos if not video.sharp]
    if untrue:
        return f"{config.dataset.root / untrue[0] / config.dataset.sharp}: no ground truth"
    for key, path in needed_weights(config).items():
        if path is None:
            place = (
                f"put the one file into weights/{case.network}, or " if key == "deblurring.weights" else ""
            )
            return f"{key}: no weights for {case.network}; {place}--set {case.network}:{key}=FILE"
        if not path.is_file():
            return f"{key}: {path} does not exist"
    return ""
