"""Before and after: selected frames of a video in all versions, and one crop of them pixel by pixel."""

from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np

from common.images import read_image
from common.layout import ADAPTED, ADAPTED_BEST_GT, BASELINE, Layout
from common.videos import Video
from DeblurringModel.evaluation import ROWS
from scripts.reporting import pictures
from scripts.reporting.collect import Results
from scripts.reporting.maps import Budget, image_tag, read_map
from scripts.reporting.markup import aside, figure, image

SMALLEST_DETAIL = 128


def frames_to_show(results: Results, video: Video, means: dict[int, float], count: int) -> dict[int, str]:
    """Positions of up to `count` frames, each with the word for it: by mean magnitude the blurriest, the
    median and the sharpest of the frames restored in most ways (some results have only a few frames), or the
    middle frame of an unmeasured video."""
    ways = [len(list(_restored(results, video, position))) for position in range(len(video.frames))]
    candidates = [position for position, number in enumerate(ways) if number == max(ways)]
    ranked = sorted(
        (position for position in candidates if position in means), key=lambda position: -means[position]
    )
    if not ranked:
        return {candidates[len(candidates) // 2]: "middle"}
    words = {ranked[len(ranked) // 2]: "median", ranked[-1]: "sharpest", ranked[0]: "blurriest"}
    order = sorted(words, key=lambda position: -means[position])
    # With two to show, the extremes say more than the median.
    order = order if count >= len(order) else [order[0], order[-1]][:count]
    return {position: words[position] for position in order}


def _restored(results: Results, video: Video, position: int) -> Iterator[tuple[str, Path]]:
    """Label and file of every restored picture of a frame."""
    for model in results.models:
        prefix = f"{model.name}, " if len(results.models) > 1 else ""
        for variant in model.variants:
            path = video.restored(model.folder / variant, position)
            if path.exists():
                # The released choice uses the ground truth, and is labelled so.
                by_truth = variant == ADAPTED and model.config.deblurring.select == "best_gt"
                yield prefix + ROWS[ADAPTED_BEST_GT if by_truth else variant], path


def _layers(results: Results, video: Video, position: int) -> list[tuple[str, Path]]:
    """Label and file of every picture of a frame: input, restored, ground truth."""
    layers = [(ROWS["input"], video.frames[position])] if video.frames[position].exists() else []
    layers += _restored(results, video, position)
    return layers + ([("ground truth", video.sharp[position])] if video.sharp else [])


def before_after(results: Results, video: Video, shown: dict[int, str], budget: Budget) -> str:
    """The frames `shown` (see `frames_to_show`) in every version, on top of each other where the page's
    script runs."""
    scenes = []
    for position, word in shown.items():
        name, layers = video.names[position], _layers(results, video, position)
        parts = "".join(
            f'<figure class="layer">{image_tag(path, budget.width, f"frame {name}, {label}")}'
            f"<figcaption>{escape(label)}</figcaption></figure>"
            for label, path in layers
        )
        if parts:
            left = next(
                (index for index, (label, _) in enumerate(layers) if label.endswith(ROWS[BASELINE])), 0
            )
            right = min(left + 1, len(layers) - 1)
            scenes.append(
                f'<div class="viewer" data-name="{escape(word)} (frame {escape(name)})" data-left="{left}" '
                f'data-right="{right}"><h4>{escape(word.capitalize())} frame, {escape(name)}</h4>'
                f'<div class="layers">{parts}</div></div>'
            )
    if not scenes:
        return "<h3>Before and after</h3>" + aside(
            "no frames to show: neither input nor restored frames are there"
        )
    note = (
        ""
        if any(any(_restored(results, video, position)) for position in shown)
        else aside("not restored yet: stage 4 has not run on this video")
    )
    return (
        f'<h3>Before and after</h3>{note}<div class="scenes">{"".join(scenes)}</div>'
        '<p class="hint">Drag across the picture, or use the slider; the flip button shows one picture and then '
        "the other, whole. Frames are chosen by their mean blur magnitude, and reduced to "
        f"{budget.width} pixels in width where they are wider.</p>"
    )


def detail(results: Results, video: Video, shown: dict[int, str]) -> str:
    """The same place, pixel by pixel, in every picture of the first frame shown: where blur is long and there
    is something to see."""
    position = next(iter(shown))
    layers = [(label, read_image(path)) for label, path in _layers(results, video, position)]
    if len(layers) < 2:
        return ""
    sharpest, name = layers[-1][1], video.names[position]
    measured = Layout(results.output).magnitude(*video.at(position)).exists()
    length = (
        read_map(results.output, video, position) if measured else np.ones(sharpest.shape[:2], np.float32)
    )
    if length.shape != sharpest.shape[:2] or any(whole.shape != sharpest.shape for _, whole in layers):
        return aside("no detail: pictures of one frame differ in size")
    box = pictures.telling_place(length, sharpest, max(SMALLEST_DETAIL, min(sharpest.shape[:2]) // 4))
    parts = []
    for label, whole in layers:
        part = pictures.cut(whole, box)
        parts.append(
            figure(
                image(pictures.data_uri(part, quality=95), part.shape, f"detail of frame {name}, {label}"),
                escape(label),
            )
        )
    where = f", where blur is {pictures.cut(length, box).mean():.1f} px long on average" if measured else ""
    return (
        f'<div class="crops">{"".join(parts)}</div><p class="hint">The same {box[3] - box[1]} x {box[2] - box[0]} '
        f"pixels (row {box[0]}, column {box[1]}) of frame {escape(name)}{where}, enlarged.</p>"
    )
