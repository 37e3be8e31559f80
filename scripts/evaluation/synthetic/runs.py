"""The synthetic benchmark's clips, and every result of the stages on them, each made once."""

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import layout
from common.checkpoints import load_checkpoint
from common.config import Config, as_dict
from common.config_loader import load_config
from common.images import read_array, read_image
from common.metrics import psnr
from common.runtime.files import read_json, write_json
from common.stage import weights_record
from common.videos import find_videos
from DeblurringModel.pair_sources import BORROWED
from scripts.evaluation.runner import FINE_TUNING, INFERENCE, ROOT, assign, call, share
from scripts.evaluation.synthetic.cells import (
    ALONE,
    BEST,
    CEILING,
    CLIPS,
    DATA_SEED,
    FRAMES,
    FUSED,
    SIZE,
    TABLES,
    Cell,
)

INPUT, BASELINE = Cell("input", "blurry input"), Cell(layout.BASELINE, "before adaptation")
QUICK_FRAMES, QUICK_STEPS = 8, 50


@dataclass(frozen=True)
class Result:
    """PSNR in dB of each clip's frames in order; `steps`: how many steps the network was fine-tuned that
    restored it (empty where it was not)."""

    domain: str
    cell: str
    variant: str
    seed: int
    frames: dict[str, list[float]]
    steps: dict[str, int]

    @property
    def clips(self) -> dict[str, float]:
        """The mean over each clip's frames."""
        return {clip: float(np.mean(values)) for clip, values in self.frames.items()}

    @property
    def mean(self) -> float:
        """Mean over the clips."""
        return float(np.mean(list(self.clips.values())))


class Benchmark:
    """The clips, and every result of the stages on them, each made once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.output = options, options.output.resolve()
        self.frames = QUICK_FRAMES if options.quick else FRAMES
        self.first_seed = load_config(Config, options.config, options.overrides).runtime.seed
        self._done: set[tuple[str, ...]] = set()

    def rows(self, table: int) -> list[Cell]:
        """The rows of a table that are asked for."""
        wanted = self.options.cells
        return [cell for cell in TABLES[table] if not wanted or cell.name in wanted]

    def rival_weights(self, cell: Cell) -> Path:
        """The weights file of a rival's row."""
        return self.options.rivals.resolve() / f"{cell.script}.pth"

    def lacks_weights(self, cell: Cell) -> bool:
        """Whether a row cannot be made, because it is a rival's without weights."""
        return bool(cell.script) and not self.rival_weights(cell).is_file()

    def seeds(self, table: int) -> range:
        """The seeds of a table's results: Tables 3 to 5 have one."""
        return range(self.first_seed, self.first_seed + (self.options.seeds if table in (1, 2) else 1))

    def config(
        self,
        domain: str,
        cell: Cell,
        seed: int,
        output: Path | None = None,
    ) -> tuple[Config, list[str]]:
        """The resolved configuration of a result and the overrides that give it."""
        settings = cell.overrides()
        if self.options.quick:
            # One epoch, of whatever pairs.
            settings = [one for one in settings if not one.startswith("deblurring.epochs=")]
        overrides = [
            *self.options.overrides,
            assign("dataset.root", self.output / "data" / domain),
            f"runtime.seed={seed}",
            *settings,
        ]
        if output is not None:
            overrides.append(assign("output", output))
        return load_config(Config, self.options.config, overrides), overrides

    def render(self, domain: str) -> None:
        """The domain's clips, unless they are there."""
        call(
            [
                sys.executable,
                str(ROOT / "scripts" / "make_synthetic_dataset.py"),
                "--preset",
                domain,
                "--clips",
                str(CLIPS),
                "--frames",
                str(self.frames),
                "--size",
                *map(str, SIZE),
                "--seed",
                str(DATA_SEED),
                "--content",
                str(ROOT / "assets" / "footage" / "benchmark"),
                "--out",
                str(self.output / "data" / domain),
            ]
        )

    def result(self, domain: str, cell: Cell, seed: int) -> Result:
        """A result's figures, from the file of the domain's results where they were measured with the same
        settings and weights."""
        variant = cell.name if cell in (INPUT, BASELINE) else cell.variant
        key = f"{domain} {cell.name} {variant} {seed}"
        untrained = variant in (INPUT.name, BASELINE.name, ALONE) or bool(cell.script)
        identity = self._identity(domain, cell, seed)
        # A file for each domain, so that runs of different domains can be put together.
        kept = self.output / "results" / f"{domain}.json"
        known = read_json(kept) if kept.exists() else {}
        # Frame by frame since there is a Table 5: results from before are measured again.
        if known.get(key, {}).get("identity") != identity or "frames" not in known[key]:
            folder = self._run(domain, cell, seed)
            known[key] = {
                "identity": identity,
                "frames": self._psnr(folder, domain, cell, variant),
                "steps": {} if untrained else self._steps(folder, domain, cell, seed),
            }
            write_json(kept, known)
        return Result(domain, cell.name, variant, seed, known[key]["frames"], known[key]["steps"])

    def _identity(self, domain: str, cell: Cell, seed: int) -> str:
        config, _ = self.config(domain, cell, seed)
        parts = as_dict(config)
        parts.pop("output"), parts["dataset"].pop("root"), parts["runtime"].pop("workers")
        for section in ("rsdm", "dbcgm", "blurring", "deblurring"):
            parts[section]["weights"] = weights_record(getattr(config, section).weights)
        # What only later stages read does not make an earlier result another one; true pairs need no
        # blurring.
        read = {
            INPUT: ("dataset",),
            BASELINE: ("dataset", "deblurring"),
            CEILING: ("dataset", "rsdm", "deblurring", "runtime"),
        }.get(cell, tuple(parts))
        identity = {name: parts[name] for name in read} | {"frames": self.frames}
        if cell.script:
            known = None if self.lacks_weights(cell) else weights_record(self.rival_weights(cell))
            identity["rival"] = [cell.script, *cell.arguments, known]
        return _digest(identity)

    def _run(self, domain: str, cell: Cell, seed: int) -> Path | None:
        """Run the stages that a result needs; the folder of its pictures, None for the blurry frames
        themselves."""
        if cell is INPUT:
            return None
        runs = self.output / "runs" / domain
        if cell is BASELINE:
            folder = runs / cell.name
            self._stage(INFERENCE, domain, cell, seed, folder, "--variant", layout.BASELINE)
            return folder
        folder = runs / f"{cell.name}_{seed}"
        if cell.script:
            script, weights = f"scripts/rivals/{cell.script}.py", str(self.rival_weights(cell))
            self._stage(script, domain, cell, seed, folder, "--weights", weights, *cell.arguments)
            return folder
        if cell.variant in (ALONE, FUSED) or self.config(domain, cell, seed)[0].deblurring.pairs in BORROWED:
            self._borrowed(domain, cell, seed, folder)
        if cell.variant == ALONE:
            return folder
        self._linked(folder, self._pairs(domain, cell, seed))
        self._stage(FINE_TUNING, domain, cell, seed, folder)
        variant = FUSED if cell.variant == FUSED else layout.ADAPTED
        self._stage(INFERENCE, domain, cell, seed, folder, "--variant", variant)
        return folder

    def _borrowed(self, domain: str, cell: Cell, seed: int, folder: Path) -> None:
        """What is borrowed, once for all cells: it depends on the clips alone."""
        reach = self.config(domain, cell, seed)[0].deblurring.aligned.reach
        shared = self.output / "runs" / domain / f"borrowed_{reach}"
        self._stage(INFERENCE, domain, cell, seed, shared, "--variant", ALONE)
        made = self._network(shared, domain, cell).variant(ALONE)
        share(made, folder / made.relative_to(shared))

    def _pairs(self, domain: str, cell: Cell, seed: int) -> list[Path]:
        """The results of stages 1 to 3, shared by all cells with the same settings for them."""
        parts = as_dict(self.config(domain, cell, seed)[0])
        made: list[Path] = []
        for script, result in (
            ("RSDM/main.py", "rsdm"),
            ("DBCGM/main.py", "dbcgm"),
            ("BlurringModel/main.py", "blurring"),
        ):
            read = {name: parts[name] for name in ("rsdm", "dbcgm", "blurring")[: len(made) + 1]}
            folder = self.output / "runs" / domain / f"{result}_{_digest(read | {'seed': seed})[:12]}"
            self._linked(folder, made)
            self._stage(script, domain, cell, seed, folder)
            made.append(folder / result)
        return made

    @staticmethod
    def _linked(folder: Path, made: list[Path]) -> None:
        for result in made:
            share(result, folder / result.name)

    def _stage(self, script: str, domain: str, cell: Cell, seed: int, folder: Path, *more: str) -> None:
        """Run a stage, once for all cells that share its folder."""
        work = (script, str(folder), *more)
        if work in self._done:
            return
        self._done.add(work)
        print(f"== {domain}, {cell.label}, seed {seed}: {script}", flush=True)
        _, overrides = self.config(domain, cell, seed, folder)
        call(
            [
                sys.executable,
                str(ROOT / script),
                "--config",
                str(self.options.config),
                "--set",
                *overrides,
                *more,
            ]
        )

    def blur(self, domain: str) -> dict[str, list[float]]:
        """Mean length in pixels of the true blur of each clip's frames, in order."""
        root, hint = self.output / "data" / domain, "delete the clips, and they are rendered again"
        return {
            video.name: [
                float(read_array(root / video.name / "Condition" / f"{name}.npy", 3, hint)[2].mean())
                for name in video.names
            ]
            for video in find_videos(root)
        }

    def _psnr(self, folder: Path | None, domain: str, cell: Cell, variant: str) -> dict[str, list[float]]:
        values = {}
        for video in find_videos(self.output / "data" / domain):
            restored = video.frames
            if folder is not None:
                pictures = self._network(folder, domain, cell).variant(variant)
                restored = [video.restored(pictures, position) for position in range(len(video.frames))]
            values[video.name] = [
                psnr(read_image(picture), read_image(truth)) for picture, truth in zip(restored, video.sharp)
            ]
        return values

    def _network(self, folder: Path, domain: str, cell: Cell) -> layout.NetworkLayout:
        model = self.config(domain, cell, self.first_seed)[0].deblurring.model
        return layout.Layout(folder).network(model)

    def _steps(self, folder: Path, domain: str, cell: Cell, seed: int) -> dict[str, int]:
        config = self.config(domain, cell, seed)[0].deblurring
        best = cell.variant == BEST or config.select == "best_pairs"
        name = layout.BEST if best else layout.LAST
        weights = self._network(folder, domain, cell).weights
        places = {
            video.name: weights / video.name if config.scope == "video" else weights
            for video in find_videos(self.output / "data" / domain)
        }
        return {
            clip: load_checkpoint(place / name)["step"] if (place / name).exists() else 0
            for clip, place in places.items()
        }


def _digest(values: dict) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
