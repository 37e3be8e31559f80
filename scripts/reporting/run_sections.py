"""The parts of the page that are about the whole run: overview, figures, fine-tuning, times, settings."""

import shlex
from html import escape
from typing import Any

from common.config import Config, as_dict
from common.layout import ADAPTED, BASELINE
from DeblurringModel.evaluation import ROWS
from DeblurringModel.variants import how_adapted
from scripts.reporting.collect import STAGES, Model, Results, Training
from scripts.reporting.curves import Mark, Series, chart
from scripts.reporting.markup import aside, table

FIGURES = {
    "psnr_held_out": "PSNR on held-out pairs (label-free)",
    "psnr_ground_truth": "PSNR against ground truth, for comparison only",
}


def overview(results: Results) -> str:
    """Facts in a few words, the clip's own facts and notes first."""
    clip = results.clip
    rows = [
        (label, _plain(clip[key]))
        for key, label in (
            ("source", "input file"),
            ("frames", "frames of the file"),
            ("fps", "frames a second"),
        )
        if key in clip
    ]
    frames = sum(len(video.frames) for video in results.videos)
    rows += [
        (
            "videos",
            ", ".join(video.name for video in results.videos[:6])
            + (f" and {len(results.videos) - 6} more" if len(results.videos) > 6 else ""),
        ),
        ("frames", str(frames)),
    ]
    if results.regions:
        rows.append(("sharp regions", str(len(results.regions))))
    if results.models:
        rows.append(("networks", ", ".join(model.name for model in results.models)))
    if results.times:
        rows.append(("time", _duration(sum(results.times.values()))))
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    notes = "".join(f"<li>{escape(note)}</li>" for note in clip.get("notes", []))
    return (
        (f'<ul class="notes">{notes}</ul>' if notes else "")
        + f'<dl class="facts">{facts}</dl>'
        + "".join(aside(note) for note in results.notes)
    )


def figures(results: Results) -> str:
    """PSNR and SSIM, one table per network with ground truth; nothing where there is none."""
    parts = [_figures(model) for model in results.models if model.metrics]
    return f'<section id="figures"><h2>Against ground truth</h2>{"".join(parts)}</section>' if parts else ""


def _figures(model: Model) -> str:
    metrics, choice = model.metrics, how_adapted(model.config.deblurring)
    videos = list(metrics["input"]["videos"])
    columns = [("all frames", lambda kind: metrics[kind])]
    if len(videos) > 1:
        columns += [(name, lambda kind, name=name: metrics[kind]["videos"][name]) for name in videos]
    rows = [["", *(escape(name) for name, _ in columns)]]
    for kind, label in ROWS.items():
        if kind in metrics:
            label += f" ({choice})" if kind == ADAPTED else ""
            rows.append(
                [
                    escape(label),
                    *(
                        f"{part(kind)['psnr']:.2f} <small>/ {part(kind)['ssim']:.4f}</small>"
                        for _, part in columns
                    ),
                ]
            )
    gain = ""
    if {BASELINE, ADAPTED} <= metrics.keys():
        before, after = metrics[BASELINE]["psnr"], metrics[ADAPTED]["psnr"]
        gain = (
            f'<p class="gain"><strong>{after - before:+.2f} dB</strong> by adaptation of {escape(model.name)} '
            f"({choice}): {before:.2f} dB before, {after:.2f} dB after</p>"
        )
    return (
        gain + table(rows, "numbers") + f'<p class="hint">{escape(model.name)}: PSNR in dB / SSIM, mean over '
        f"{metrics['input']['frames']} frames, RGB, 8 bits. No ground truth entered the rows called "
        "label-free.</p>"
    )


def trainings(results: Results) -> str:
    """Curves of every fine-tuning."""
    parts = [
        _training(model, training, len(results.models))
        for model in results.models
        for training in model.trainings
    ] or [aside("no fine-tuning has been logged yet")]
    return f'<section id="training"><h2>Fine-tuning</h2>{"".join(parts)}</section>'


def _training(model: Model, training: Training, models: int) -> str:
    name = ", ".join(part for part in (model.name if models > 1 else "", training.video) if part)
    per_epoch = training.steps_per_epoch or 1
    unit = "epochs" if training.steps_per_epoch else "steps"
    loss = [(row["step"] / per_epoch, row["loss"]) for row in training.rows if "loss" in row]
    charts = [
        chart(
            f"loss of {model.name} {training.video}",
            unit,
            "loss",
            [Series("loss, mean since the last point", loss)],
            _chosen(model, training, loss, per_epoch),
            from_zero=True,
        )
    ]
    for column, label in FIGURES.items():
        points = [(row["step"] / per_epoch, row[column]) for row in training.rows if column in row]
        charts.append(
            chart(
                label, unit, "PSNR, dB", [Series(label, points)], _chosen(model, training, points, per_epoch)
            )
        )
    drawn = "".join(f'<div class="half">{part}</div>' for part in charts if part)
    lines = [f"<p>{_chosen_words(model, training)}</p>"]
    reached = max((row["step"] for row in training.rows), default=0)
    if training.steps and reached < training.steps:
        lines.append(aside(f"not finished: the log ends after step {reached:g} of {training.steps}"))
    if not any(column in row for column in FIGURES for row in training.rows):
        lines.append(
            aside("no held-out pairs (deblurring.select best_pairs), so there is no curve of their PSNR")
        )
    return (
        (f"<h3>{escape(name)}</h3>" if name else "") + f'<div class="halves">{drawn}</div>' + "".join(lines)
    )


def _chosen(
    model: Model,
    training: Training,
    points: list[tuple[float, float]],
    per_epoch: int,
) -> list[Mark]:
    steps = {"last epoch, used": max((at for at, _ in points), default=None)}
    if model.config.deblurring.select in ("best_pairs", "best_gt"):
        steps = {"best state, used": None if training.best_step is None else training.best_step / per_epoch}
    elif model.config.deblurring.select == "both" and training.best_step is not None:
        steps["best by ground truth (adapted_best_gt)"] = training.best_step / per_epoch
    return [
        Mark(label, point)
        for label, step in steps.items()
        if step is not None
        for point in points
        if abs(point[0] - step) < 1e-9
    ]


def _chosen_words(model: Model, training: Training) -> str:
    size = (
        f"{training.steps} steps, {training.steps // training.steps_per_epoch} epochs. "
        if training.steps and training.steps_per_epoch
        else ""
    )
    best = (
        f" (kept at step {training.best_step})"
        if training.best_step is not None and model.config.deblurring.select in ("best_pairs", "best_gt")
        else ""
    )
    return f"{size}Used: {escape(how_adapted(model.config.deblurring))}{best}."


def times(results: Results) -> str:
    """Seconds of each stage as bars."""
    if not results.times:
        return (
            '<section id="times"><h2>Times</h2>' + aside("no times are recorded (times.json)") + "</section>"
        )
    longest = max(*results.times.values(), 1e-9)
    rows = [["stage", "time", ""]]
    for name, seconds in results.times.items():
        bar = (
            '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect width="{max(0.5, 100 * seconds / longest):.1f}" height="8" rx="1"/></svg>'
        )
        rows.append([escape(name), _duration(seconds), bar])
    rows.append(["together", _duration(sum(results.times.values())), ""])
    return f'<section id="times"><h2>Times</h2>{table(rows, "times")}</section>'


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def settings(results: Results) -> str:
    """The settings of each part of the output; those that are not the default stand out."""
    parts, changed = [], []
    for part, config in results.configs.items():
        sections = [part.partition("/")[0], "runtime"]
        sections = ["dataset", *sections] if part == next(iter(results.configs)) else sections
        rows = [
            row
            for section in sections
            for row in _section_rows(section, getattr(config, section), getattr(Config(), section))
        ]
        # What all stages have in common is listed once.
        changed += [row[:2] for row in rows if row[2] and row[:2] not in changed]
        run = results.runs.get(part, {})
        title = STAGES.get(part, f"stage 4, {part.partition('/')[2]}")
        everything = table(
            [
                ["key", "value"],
                *([key, f"<b>{value}</b>" if differs else value] for key, value, differs in rows),
            ],
            "settings",
        )
        parts.append(
            f"<details><summary>{escape(title)}</summary>{_how(run, results.settings.get(part, {}))}"
            f"{everything}</details>"
        )
    return (
        '<section id="settings"><h2>Settings in force</h2><p class="hint">What differs from configs/default.yaml; '
        f"below, everything, stage by stage.</p>{table([['key', 'value'], *changed], 'settings')}"
        f"{''.join(parts)}</section>"
    )


def _section_rows(section: str, values: Any, defaults: Any) -> list[tuple[str, str, bool]]:
    """Key, value (both HTML), and whether the value is not the default."""
    normal = as_dict(defaults)
    return [
        (escape(f"{section}.{key}"), escape(_plain(value)), value != normal[key])
        for key, value in as_dict(values).items()
    ]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(part)}" for key, part in value.items()) or "{}"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "[]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _how(run: dict, settings: dict) -> str:
    command, libraries = run.get("command"), run.get("libraries")
    lines = [f"<code>{escape(shlex.join(map(str, command)))}</code>"] if isinstance(command, list) else []
    if "code" in run:
        lines.append(f"code {escape(str(run['code']))}")
    if isinstance(libraries, dict):
        lines.append(escape(", ".join(f"{name} {version}" for name, version in libraries.items())))
    hashes = [
        str(part["weights"]) for part in settings.values() if isinstance(part, dict) and part.get("weights")
    ]
    lines += [f"weights SHA-256 {escape(value)}" for value in hashes]
    return f'<p class="how">{"<br>".join(lines)}</p>' if lines else ""
