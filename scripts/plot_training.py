"""Draw the validation curves of trainings as one SVG picture.

Reads    log.csv of each training; rounds of one network, joined by +, follow each other
Writes   the picture
Usage    python scripts/plot_training.py --column psnr --title "PSNR on preset real, dB" --out curve.svg \\
             ESTRNN=outputs/train/estrnn_1/log.csv+outputs/train/estrnn_2/log.csv DSTNet=outputs/train/dstnet_1/log.csv
"""

import argparse
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from common.errors import UserError
from common.runtime.entry import run
from common.runtime.files import write_text
from scripts.reporting.collect import read_log
from scripts.reporting.curves import HEIGHT, LEFT, TOP, WIDTH, Point, Series, chart

COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")
LEGEND = 18
"""Height of a line of the legend, in the picture's units."""


def main() -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curves", nargs="+", metavar="NAME=LOG[+LOG...]", help="a network's rounds, in order")
    parser.add_argument("--column", default="psnr", help="column of the logs (default psnr)")
    parser.add_argument("--title", help="what the column is (default: its name)")
    parser.add_argument("--out", type=Path, required=True, help="SVG file to write")
    options = parser.parse_args()
    series = []
    for curve in options.curves:
        name, found, logs = curve.partition("=")
        if not found:
            raise UserError(f"{curve}: expected NAME=LOG[+LOG...]")
        series.append(Series(name, joined([Path(log) for log in logs.split("+")], options.column)))
    write_text(options.out, standalone_chart(options.title or options.column, series))
    print(f"curves of {len(series)} networks -> {options.out}")


def joined(logs: list[Path], column: str) -> list[Point]:
    """(step, value) of a column, the steps counted on from one log to the next."""
    points, before = [], 0.0
    for log in logs:
        rows = column_of(log, column)
        points += [(before + step, value) for step, value in rows]
        before += rows[-1][0]
    return points


def column_of(path: Path, column: str) -> list[Point]:
    """(step, value) of a trainer's log; UserError where it is none, or holds no such column."""
    rows = [(row["step"], row[column]) for row in read_log(path) if column in row]
    if not rows:
        raise UserError(f"{path}: holds no values of {column}")
    return rows


def standalone_chart(title: str, series: list[Series]) -> str:
    """A picture that stands alone: white ground, its own style, the legend inside."""
    drawn = chart(title, "step", title, series).partition("</svg>")[0]
    rules = "".join(
        f".c{number}{{stroke:{colour}}}circle.c{number}{{fill:{colour}}}"
        for number, colour in enumerate(COLOURS)
    )
    style = (
        "<style>text{font:11px sans-serif;fill:#24292f}.grid{stroke:#d0d7de}.axis{stroke:#57606a}"
        f".curve{{fill:none;stroke-width:1.8}}{rules}</style>"
    )
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    names = "".join(
        f'<line class="curve c{number % len(COLOURS)}" x1="{LEFT + 10}" x2="{LEFT + 32}" y1="{y}" y2="{y}"/>'
        f'<text x="{LEFT + 38}" y="{y + 4}">{escape(curve.label)}</text>'
        for number, curve in enumerate(series)
        for y in [TOP + 8 + LEGEND * number]
    )
    head, _, rest = drawn.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg" width="{WIDTH}">{style}{ground}{rest}{names}</svg>\n'


if __name__ == "__main__":
    run(main)
