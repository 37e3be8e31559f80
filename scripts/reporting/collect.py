"""What an output folder holds, not yet drawn. What is missing is left empty; what is damaged is a
UserError."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.checkpoints import load_checkpoint
from common.config import Config
from common.config_loader import load_config
from common.errors import UserError
from common.layout import BEST, CONFIG, LAST, LOG, RUN, SETTINGS, VARIANTS, Layout, NetworkLayout
from common.regions_file import Region, read_regions
from common.runtime.files import read_json
from common.runtime.times import read_times
from common.videos import Video, find_videos, in_order
from DeblurringModel.evaluation import ROWS

STAGE_FOUR = "deblurring/"
"""What the names of stage 4's parts of an output begin with; the network's name follows."""
STAGES = {"rsdm": "stage 1, RSDM", "dbcgm": "stage 2, DBCGM", "blurring": "stage 3, ID-Blau"}


@dataclass(frozen=True)
class Training:
    """One fine-tuning: of all videos (`video` empty) or of one. rows: log.csv, empty cells left out. steps
    and steps_per_epoch are what was planned; best_step: the step that best.pth was kept at, where there is
    one."""

    video: str
    rows: list[dict[str, float]]
    steps: int | None
    steps_per_epoch: int | None
    best_step: int | None


@dataclass(frozen=True)
class Model:
    """One network's results. config: what its fine-tuning was run with (or else its inference); variants:
    restored videos that there are; metrics: content of metrics.json, None where there is none."""

    name: str
    folder: Path
    config: Config
    variants: tuple[str, ...]
    metrics: dict[str, Any] | None
    trainings: list[Training]


@dataclass(frozen=True)
class Results:
    """Everything in an output folder. configs: by part of the output ("rsdm", ..., "deblurring/<model>"),
    `runs` and `settings` likewise (run.json, settings.json). thresholds: sharp_regions.json's entry per
    video. clip: clip.json.
    notes: what is missing, one line each."""

    output: Path
    configs: dict[str, Config]
    runs: dict[str, dict]
    settings: dict[str, dict]
    videos: list[Video]
    regions: list[Region]
    thresholds: dict[str, dict]
    models: list[Model]
    times: dict[str, float]
    clip: dict[str, Any]
    notes: list[str]


def collect(output: Path) -> Results:
    """Read what the stages left in `output`. Raises UserError where it holds nothing, and for damaged
    files."""
    layout = Layout(output)
    folders = dict(zip(STAGES, (layout.rsdm, layout.dbcgm, layout.blurring)))
    folders |= {f"{STAGE_FOUR}{folder.name}": folder for folder in _folders(layout.deblurring)}
    described = {part: place for part, folder in folders.items() if (place := _described(folder))}
    if not described:
        raise UserError(
            f"{output}: holds no results of the four stages; run python RSDM/main.py first, or name the "
            "folder that `output` of the configuration names"
        )
    configs = {
        part: load_config(Config, place / CONFIG) if (place / CONFIG).exists() else Config()
        for part, place in described.items()
    }
    notes = [f"{label}: not run" for part, label in STAGES.items() if part not in described]
    if not any(part.startswith(STAGE_FOUR) for part in described):
        notes.append("stage 4, deblurring: not run")
    videos, problem = _videos(layout, next(iter(configs.values())))
    notes += problem
    regions, thresholds = _regions(layout.sharp_regions, videos)
    models = [
        _model(NetworkLayout(folders[part]), configs[part])
        for part in described
        if part.startswith(STAGE_FOUR)
    ]
    if models and not any(model.metrics for model in models):
        notes.append("no ground truth, so no PSNR and SSIM")
    return Results(
        output,
        configs,
        _records(described, RUN),
        _records(described, SETTINGS),
        videos,
        regions,
        thresholds,
        models,
        read_times(output),
        _clip(layout.clip),
        notes,
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _described(folder: Path) -> Path | None:
    """The folder that says how a part of the output was made: its own, or that of a network's first kind of
    result."""
    network = NetworkLayout(folder)
    places = (folder, network.weights, *(network.variant(variant) for variant in VARIANTS))
    return next((place for place in places if (place / SETTINGS).exists()), None)


def _records(described: dict[str, Path], name: str) -> dict[str, dict]:
    found = {part: read_json(place / name) for part, place in described.items() if (place / name).exists()}
    for part, content in found.items():
        _expect(isinstance(content, dict), described[part] / name)
    return found


def _expect(holds: bool, path: Path) -> None:
    if not holds:
        raise UserError(f"{path}: not laid out as the stages write it; remove it, and make it again")


def _videos(layout: Layout, config: Config) -> tuple[list[Video], list[str]]:
    """The videos that have results, and why their frames cannot be shown, if so."""
    made = [
        *_folders(layout.magnitudes),
        *(
            video
            for model in _folders(layout.deblurring)
            for variant in VARIANTS
            for video in _folders(NetworkLayout(model).variant(variant))
        ),
    ]
    names = dict.fromkeys(folder.name for folder in made)
    try:
        if config.dataset.root is None:
            raise UserError("dataset.root is not recorded")
        found = find_videos(
            config.dataset.root, config.dataset.blur, config.dataset.sharp, config.dataset.videos
        )
        return [video for video in found if video.name in names], []
    except UserError as error:
        # Frames without a file still have their name and place in the video.
        lists = {
            name: max((_frames(folder) for folder in made if folder.name == name), key=len) for name in names
        }
        return (
            [Video(name, frames, ()) for name, frames in sorted(lists.items()) if frames],
            [f"input frames are not shown: {error}"],
        )


def _frames(folder: Path) -> tuple[Path, ...]:
    files = [
        path for path in folder.iterdir() if path.suffix in (".png", ".npy") and not path.name.startswith(".")
    ]
    return tuple(Path("missing") / f"{path.stem}.png" for path in in_order(files))


def _regions(path: Path, videos: list[Video]) -> tuple[list[Region], dict[str, dict]]:
    if not path.exists():
        return [], {}
    thresholds = read_json(path)
    thresholds = thresholds.get("videos", {}) if isinstance(thresholds, dict) else {}
    _expect(
        isinstance(thresholds, dict) and all(isinstance(entry, dict) for entry in thresholds.values()), path
    )
    return read_regions(path, videos) if videos else [], thresholds


def _model(layout: NetworkLayout, config: Config) -> Model:
    metrics = None
    if layout.metrics.exists():
        metrics = read_json(layout.metrics)
        _check_metrics(metrics, layout.metrics)
    places = [layout.weights, *_folders(layout.weights)]
    trainings = [
        _training(place, "" if place == layout.weights else place.name)
        for place in places
        if (place / LOG).exists()
    ]
    return Model(
        layout.name,
        layout.folder,
        config,
        tuple(kind for kind in VARIANTS if _folders(layout.variant(kind))),
        metrics,
        trainings,
    )


def _check_metrics(metrics: Any, path: Path) -> None:
    kinds = [metrics[kind] for kind in ROWS if kind in metrics] if isinstance(metrics, dict) else []
    _expect(bool(kinds) and "input" in metrics, path)
    for kind in kinds:
        parts = (
            [kind, *kind["videos"].values()]
            if isinstance(kind, dict) and isinstance(kind.get("videos"), dict)
            else [None]
        )
        _expect(
            all(
                isinstance(part, dict)
                and all(isinstance(part.get(name), (int, float)) for name in ("psnr", "ssim", "frames"))
                for part in parts
            ),
            path,
        )
        _expect(kind["videos"].keys() == metrics["input"]["videos"].keys(), path)


def _training(folder: Path, video: str) -> Training:
    last, best = folder / LAST, folder / BEST
    stored = load_checkpoint(last) if last.exists() else {}
    epochs, per_epoch = (
        value if isinstance(value := stored.get(name), int) and value > 0 else None
        for name in ("epochs", "steps_per_epoch")
    )
    steps = epochs * per_epoch if epochs and per_epoch else None
    return Training(
        video,
        read_log(folder / LOG),
        steps,
        per_epoch,
        load_checkpoint(best).get("step") if best.exists() else None,
    )


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a training's log.csv as numbers by column, empty cells left out. UserError where it is
    damaged."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        numbers = [{name: float(text) for name, text in row.items() if text} for row in rows]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error, ValueError, TypeError, AttributeError):
        raise UserError(f"{path}: not the log of a training; remove it, the curve is then left out") from None
    _expect(all("step" in row and math.isfinite(row["step"]) for row in numbers), path)
    return numbers


def _clip(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    content = read_json(path)
    _expect(isinstance(content, dict), path)
    notes = content.get("notes", [])
    _expect(isinstance(notes, list) and all(isinstance(note, str) for note in notes), path)
    return content
