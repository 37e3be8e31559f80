"""Curves as inline SVG: axes, ticks, labels and a legend, colours from the page's style sheet."""

import math
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 16, 44


@dataclass(frozen=True)
class Series:
    """One curve: its name in the legend and its points (x, y), in order of x."""

    label: str
    points: list[Point]


@dataclass(frozen=True)
class Mark:
    """A point that is pointed out, with its label."""

    label: str
    at: Point


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2, 2.5 or 5 times a power of ten apart) with low and high between
    them."""
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def to_canvas(points: list[Point], x_range: Point, y_range: Point) -> list[Point]:
    """Points of the data in the coordinates of the SVG: x_range spans the plot from left to right, y_range
    from bottom to top."""
    (x0, x1), (y0, y1) = x_range, y_range
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return [(LEFT + across * (x - x0) / (x1 - x0), TOP + up * (y1 - y) / (y1 - y0)) for x, y in points]


def chart(
    title: str,
    x_label: str,
    y_label: str,
    series: list[Series],
    marks: list[Mark] = [],
    from_zero: bool = False,
) -> str:
    """The curves as one <svg>, or "" where no curve has a finite point. The x axis starts at 0.
    from_zero: the y axis too."""
    series = [
        Series(curve.label, [point for point in curve.points if all(map(math.isfinite, point))])
        for curve in series
    ]
    series = [curve for curve in series if curve.points]
    if not series:
        return ""
    marks = [mark for mark in marks if all(map(math.isfinite, mark.at))]
    everything = [point for curve in series for point in curve.points] + [mark.at for mark in marks]
    # The x axis ends where the data end, the y axis at the round numbers around them.
    x_range = _spread([0.0, *(x for x, _ in everything)])
    x_ticks = [tick for tick in ticks(*x_range, count=6) if x_range[0] <= tick <= x_range[1]]
    y_ticks = ticks(*_spread([y for _, y in everything] + ([0.0] if from_zero else [])))
    y_range = y_ticks[0], y_ticks[-1]
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>']
    parts += _axes(x_ticks, y_ticks, x_range, y_range, x_label, y_label)
    for number, curve in enumerate(series):
        placed = to_canvas(curve.points, x_range, y_range)
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline class="curve c{number % 6}" points="{path}"/>')
        if len(placed) <= 40:
            parts += [
                f'<circle class="dot c{number % 6}" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in placed
            ]
    for mark, (x, y) in zip(marks, to_canvas([mark.at for mark in marks], x_range, y_range)):
        parts.append(
            f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="6"><title>{escape(mark.label)}</title>'
            "</circle>"
        )
    return "".join(parts) + "</svg>" + _legend(series, marks)


def _spread(values: list[float]) -> Point:
    low, high = min(values), max(values)
    if high > low:
        return low, high
    return low - abs(low) / 2 - 0.5, high + abs(high) / 2 + 0.5


def _axes(
    x_ticks: list[float],
    y_ticks: list[float],
    x_range: Point,
    y_range: Point,
    x_label: str,
    y_label: str,
) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value in y_ticks:
        y = to_canvas([(x_range[0], value)], x_range, y_range)[0][1]
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for value in x_ticks:
        x = to_canvas([(value, y_range[0])], x_range, y_range)[0][0]
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(
        f'<text class="label" x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}'
        "</text>"
    )
    parts.append(
        f'<text class="label" transform="translate(13 {(TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return parts


def _legend(series: list[Series], marks: list[Mark]) -> str:
    entries = [
        f'<li><svg viewBox="0 0 24 12" aria-hidden="true"><line class="curve c{number % 6}" x1="1" x2="23" '
        f'y1="6" y2="6"/></svg>{escape(curve.label)}</li>'
        for number, curve in enumerate(series)
    ]
    entries += [
        '<li><svg viewBox="0 0 24 12" aria-hidden="true"><circle class="mark" cx="12" cy="6" r="4.5"/></svg>'
        f"{escape(label)}</li>"
        for label in dict.fromkeys(mark.label for mark in marks)
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'
