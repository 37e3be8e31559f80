"""PSNR and SSIM of the blurry input, the baseline and the adapted result, and the table that shows them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.images import read_image
from common.layout import ADAPTED, ADAPTED_BEST_GT, ALIGNED, BASELINE, FUSED
from common.metrics import SSIM_WINDOW, psnr, ssim
from common.runtime.files import read_json, remove_leftovers, write_json
from common.stage import Stage
from common.videos import Video
from DeblurringModel.inference.health import health
from DeblurringModel.variants import PAIRS

ROWS = {
    "input": "blurry input",
    BASELINE: "before adaptation",
    ADAPTED: "adapted",
    ADAPTED_BEST_GT: "adapted (epoch chosen by ground truth)",
    **{f"{ADAPTED}_{kind}": f"adapted ({label})" for kind, label in PAIRS.items()},
    ALIGNED: "borrowed alone, without a network",
    FUSED: "adapted and borrowed, fused",
    **{f"{FUSED}_{kind}": f"fused ({label})" for kind, label in PAIRS.items()},
}
"""Labels of the figures in metrics.json, in the order of a table; scripts/compare_pairs.py adds those of other
pairs."""


def evaluate(stage: Stage, folders: dict[str, Path | None], path: Path, made_from: list) -> dict | None:
    """Mean PSNR and SSIM per video of each kind of picture, written to `path`; None where no video has ground
    truth (or frames large enough for SSIM).

    folders: kind -> folder with <video>/<frame>.png, None for the blurry frames themselves. Frames that were
    not restored (deblurring.borders drop) are left out for every kind alike. Figures in `path` that were
    measured on the same pictures (`made_from` identifies them) are not computed again.
    """
    known = read_json(path) if path.exists() else None
    if (
        isinstance(known, dict)
        and known.get("made_from") == made_from
        and all(kind in known for kind in folders)
    ):
        return known
    videos = [video for video in stage.videos if video.sharp and measurable(video, stage.say)]
    if not videos:
        return None
    work = [(video, position) for video in videos for position in restored_positions(video, folders)]
    rows = []
    for video, position in stage.progress(stage.world.share(work), "stage 4, PSNR and SSIM", "frame"):
        sharp = read_image(video.sharp[position])
        for kind, folder in folders.items():
            frame = video.frames[position]
            picture = read_image(frame if folder is None else video.restored(folder, position))
            check_truth(video, position, sharp, picture)
            rows.append((kind, video.name, frame.stem, psnr(picture, sharp), ssim(picture, sharp)))
    figures = _collect([row for part in stage.world.gather(rows) for row in part], list(folders))
    if stage.world.main:
        remove_leftovers(path.parent)
        write_json(path, figures | {"made_from": made_from})
    return figures


def measurable(video: Video, say: Callable[[str], None]) -> bool:
    """Whether SSIM's window fits into the video's frames; says so where it does not."""
    height, width = read_image(video.frames[0]).shape[:2]
    if min(height, width) >= SSIM_WINDOW:
        return True
    say(
        f"{video.name}: not measured, SSIM needs {SSIM_WINDOW} x {SSIM_WINDOW} pixels (frames are {width} x "
        f"{height})"
    )
    return False


def ground_truth(video: Video, position: int, picture: np.ndarray) -> np.ndarray:
    """The sharp frame uint8 (H, W, 3) that `picture` is measured against; UserError where they differ in
    size."""
    sharp = read_image(video.sharp[position])
    check_truth(video, position, sharp, picture)
    return sharp


def check_truth(video: Video, position: int, sharp: np.ndarray, picture: np.ndarray) -> None:
    """UserError where the sharp frame and a picture of the same frame differ in size."""
    if sharp.shape != picture.shape:
        raise UserError(
            f"{video.sharp[position]}: is {sharp.shape[1]} x {sharp.shape[0]} pixels, the blurry frame "
            f"{picture.shape[1]} x {picture.shape[0]}; ground truth needs the size of the blurry frames"
        )


def sanity_problems(stage: Stage, folder: Path) -> dict[str, list[str]]:
    """What looks wrong with the restored videos in `folder`, by the name of the video; see
    `DeblurringModel.inference.health`."""
    found = []
    for video in stage.progress(stage.world.share(stage.videos), "stage 4, checking results", "video"):
        frames = [(frame, video.restored(folder, position)) for position, frame in enumerate(video.frames)]
        pairs = [pair for pair in frames if pair[1].exists()]
        problems = health((read_image(blurry), read_image(restored)) for blurry, restored in pairs).problems()
        found.append((video.name, problems))
    return {name: problems for part in stage.world.gather(found) for name, problems in part if problems}


def restored_positions(video: Video, folders: dict[str, Path | None]) -> list[int]:
    """Positions of the frames that exist in every folder."""
    return [
        position
        for position in range(len(video.frames))
        if all(folder is None or video.restored(folder, position).exists() for folder in folders.values())
    ]


def _collect(rows: list[tuple[str, str, str, float, float]], kinds: list[str]) -> dict:
    figures: dict = {}
    for kind in kinds:
        videos: dict = {}
        for _, video, frame, *values in sorted(row for row in rows if row[0] == kind):
            videos.setdefault(video, {})[frame] = values
        every = [values for frames in videos.values() for values in frames.values()]
        figures[kind] = {
            "psnr": _mean(every, 0),
            "ssim": _mean(every, 1),
            "frames": len(every),
            "videos": {
                name: {
                    "psnr": _mean(list(frames.values()), 0),
                    "ssim": _mean(list(frames.values()), 1),
                    "frames": len(frames),
                }
                for name, frames in videos.items()
            },
        }
    return figures


def _mean(values: list, index: int) -> float:
    return sum(value[index] for value in values) / len(values)


def table(figures: dict, title: str, choice: str) -> str:
    """The figures as an aligned Markdown table: all frames first, then each video where there are several.

    choice: how the adapted weights were chosen; it is printed, because a choice by ground truth makes the
    figures optimistic.
    """
    names = list(figures["input"]["videos"])
    columns = [("all frames", lambda kind: figures[kind])]
    if len(names) > 1:
        columns += [(name, lambda kind, name=name: figures[kind]["videos"][name]) for name in names]
    lines = [
        f"{title}, {figures['input']['frames']} frames, RGB, 8 bits: PSNR in dB / SSIM (mean over frames)",
        "| | " + " | ".join(name for name, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for kind, label in ((kind, label) for kind, label in ROWS.items() if kind in figures):
        label += f" ({choice})" if kind == ADAPTED else ""
        cells = [f"{part(kind)['psnr']:.2f} / {part(kind)['ssim']:.4f}" for _, part in columns]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
