"""One video's part of the page: before and after, what was borrowed, blur magnitude, blur direction, training pairs."""

from html import escape
from pathlib import Path

import numpy as np

from common.constants import MAGNITUDE_SCALE
from common.errors import UserError
from common.images import read_array, read_image
from common.layout import Layout
from common.regions_file import Region
from common.videos import Video
from scripts.reporting import pictures
from scripts.reporting.before_after import before_after, detail, frames_to_show
from scripts.reporting.borrowed import borrowed
from scripts.reporting.collect import Results
from scripts.reporting.curves import Mark, Series, chart
from scripts.reporting.exposure import exposure
from scripts.reporting.maps import REMAKE, Budget, image_tag, mean_magnitudes, read_map
from scripts.reporting.markup import aside, figure, image


def video_section(results: Results, video: Video, identity: str, budget: Budget) -> str:
    """The section; `identity` is its anchor."""
    means = mean_magnitudes(results.output, video)
    shown = frames_to_show(results, video, means, budget.frames)
    regions = [region for region in results.regions if region.video.name == video.name]
    return (
        f'<section id="{identity}"><h2><small>Video</small> {escape(video.name)}</h2>'
        + before_after(results, video, shown, budget)
        + detail(results, video, shown)
        + borrowed(results, video, shown, budget)
        + _magnitude(results, video, means, shown, regions, budget)
        + _direction(results, video, shown, regions, budget)
        + _pairs(results.output, video, regions, budget)
        + "</section>"
    )


def _magnitude(
    results: Results,
    video: Video,
    means: dict[int, float],
    shown: dict[int, str],
    regions: list[Region],
    budget: Budget,
) -> str:
    title = "<h3>Blur magnitude and chosen regions</h3>"
    if not means:
        return title + aside("no magnitude maps: stage 1 has not run on this video")
    chosen = sorted({region.position for region in regions}, key=lambda position: means.get(position, 0.0))
    measured = [position for position in [*chosen[:2], *shown] if position in means]
    positions = list(dict.fromkeys(measured))[:3] or [min(means, key=means.get)]
    maps = {position: read_map(results.output, video, position) for position in positions}
    largest = pictures.round_up(max(float(np.percentile(magnitude, 99.5)) for magnitude in maps.values()))
    width, parts = min(budget.width, 640), []
    for position, magnitude in maps.items():
        boxes = [region.box for region in regions if region.position == position]
        drawn = pictures.with_boxes(
            pictures.magnitude_colours(pictures.fitted(magnitude, width), largest), boxes, magnitude.shape
        )
        name = video.names[position]
        parts.append(
            figure(
                image(
                    pictures.data_uri(drawn, quality=92),
                    drawn.shape,
                    f"blur magnitude of frame {name} with {len(boxes)} chosen regions",
                ),
                f"Frame {escape(name)}: mean {means[position]:.1f} px"
                + (f", {_count(len(boxes), 'region')}" if boxes else ", nothing chosen"),
            )
        )
    legend = _magnitude_legend(results, video, means, chosen, largest)
    return f'{title}<div class="grid">{"".join(parts)}</div>{legend}'


def _magnitude_legend(
    results: Results,
    video: Video,
    means: dict[int, float],
    chosen: list[int],
    largest: float,
) -> str:
    """The colour bar, what is shown, and the frames' means as a curve."""
    bar = pictures.colour_bar()
    scale = (
        f'<div class="scale">{image(pictures.data_uri(bar, "png"), bar.shape, "colour bar of the blur magnitude")}'
        f"<div><span>0 px</span><span>{largest / 2:g} px</span><span>{largest:g} px and more</span></div></div>"
    )
    curve = chart(
        f"mean blur magnitude of each frame of {video.name}",
        "frame, counted from 0",
        "mean magnitude, px",
        [Series("mean magnitude of the frame", [(float(at), mean) for at, mean in sorted(means.items())])],
        [Mark("holds a chosen region", (float(at), means[at])) for at in sorted(chosen) if at in means],
        from_zero=True,
    )
    hint = (
        '<p class="hint">Length of the blur at each pixel, in pixels, as stage 1 estimates it. White outlines: the '
        f"sharp regions that training pairs are made of{_threshold(results, video)}.</p>"
    )
    return f'<div class="halves"><div>{scale}{hint}</div><div>{curve}</div></div>'


def _threshold(results: Results, video: Video) -> str:
    facts = results.thresholds.get(video.name, {})
    if not {"threshold", "target", "found"} <= facts.keys():
        return ""
    how = (
        f", found where blur is shorter than {facts['threshold'] * MAGNITUDE_SCALE:.2f} px"
        if isinstance(facts["threshold"], (int, float))
        else ", drawn at random"
    )
    return f"{how} ({escape(str(facts['found']))} found, {escape(str(facts['target']))} wanted)"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


CONDITIONS = {
    "dbcgm": "The condition that stage 2 makes of optical flow and blur magnitude",
    "optical_flow": "The frame's own optical flow (dbcgm.condition optical_flow)",
    "random": "One direction and length for the whole frame, drawn at random (dbcgm.condition random)",
}


def _direction(
    results: Results,
    video: Video,
    shown: dict[int, str],
    regions: list[Region],
    budget: Budget,
) -> str:
    title, width, output = "<h3>Blur direction</h3>", min(budget.width, 640), results.output
    layout = Layout(output)

    def preview(position: int) -> Path:
        return layout.preview(*video.at(position))

    candidates = [*shown, *(region.position for region in regions), *range(len(video.frames))]
    positions = [position for position in dict.fromkeys(candidates) if preview(position).exists()][:2]
    if not positions:
        return title + aside("no blur conditions: stage 2 has not run on this video")
    parts = []
    for position in positions:
        name = video.names[position]
        path = layout.condition(*video.at(position))
        condition = read_array(path, 3, f"python DBCGM/main.py: {REMAKE}")
        parts.append(
            figure(
                image_tag(preview(position), width, f"blur direction of frame {name} as colours", 92),
                f"Frame {escape(name)}: full colour is {float(condition[2].max()):.1f} px",
            )
        )
    wheel = pictures.direction_wheel()
    legend = (
        '<figure class="wheel"><div><span class="n">up</span><span class="w">left</span>'
        + image(pictures.data_uri(wheel, "png"), wheel.shape, "colour wheel: the colour of each direction")
        + '<span class="e">right</span><span class="s">down</span></div><figcaption>Colour is the direction '
        "in which the picture moves during the exposure; the paler, the shorter the blur.</figcaption></figure>"
    )
    made = CONDITIONS[results.configs["dbcgm"].dbcgm.condition if "dbcgm" in results.configs else "dbcgm"]
    return (
        f'{title}<div class="grid">{"".join(parts)}{legend}</div><p class="hint">{made}; stage 3 blurs with it.</p>'
        + exposure(output, video)
    )


def _pairs(output: Path, video: Video, regions: list[Region], budget: Budget) -> str:
    title, layout = "<h3>Training pairs</h3>", Layout(output)
    ready = [
        region
        for region in regions
        if layout.reblurred(video.name, region.frame).exists()
        and layout.original(video.name, region.frame).exists()
    ]
    if not ready:
        return title + aside(
            "no pairs: stage 3 has not run on this video" if regions else "no pairs: no sharp region"
        )
    rows = []
    for region in ready[: budget.pairs]:
        frame = video.name, region.frame
        window = [layout.window_picture(*frame, 0, index) for index in range(5)]
        blurred = window if all(path.exists() for path in window) else [layout.reblurred(*frame)]
        clean = layout.target(*frame)
        cells = [
            _patch(clean, region, "sharp, without noise: the target")
            if clean.exists()
            else _patch(layout.original(*frame), region, "sharp: the target")
        ]
        names = (
            [f"reblurred, {index + 1} of 5{' (middle)' if index == 2 else ''}" for index in range(5)]
            if len(blurred) > 1
            else ["reblurred: the input"]
        )
        cells += [_patch(path, region, name) for path, name in zip(blurred, names)]
        r0, c0, r1, c1 = region.box
        rows.append(
            f'<div class="pair">{"".join(cells)}</div><p class="hint">Frame {escape(region.frame)}, '
            f"{c1 - c0} x {r1 - r0} pixels at row {r0}, column {c0}</p>"
        )
    more = aside(f"{len(ready) - len(rows)} more pairs are not shown") if len(ready) > len(rows) else ""
    return title + "".join(rows) + more


def _patch(path: Path, region: Region, label: str) -> str:
    whole, (_, _, bottom, right) = read_image(path), region.box
    if bottom > whole.shape[0] or right > whole.shape[1]:
        raise UserError(
            f"{path}: is {whole.shape[1]} x {whole.shape[0]} pixels, and a region in sharp_regions.json "
            f"reaches beyond that; {REMAKE}"
        )
    shown = pictures.fitted(pictures.cut(whole, region.box), 320)
    return figure(
        image(pictures.data_uri(shown, quality=92), shown.shape, f"frame {region.frame}, {label}"),
        escape(label),
    )
