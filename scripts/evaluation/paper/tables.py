"""The result as Markdown, CSV and JSON: measured figures beside published ones, and every gap named."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.evaluation.paper.metrics import METRICS, Figures

NONE = "–"
MISSING = "missing"

PROTOCOL = (
    "Pictures: RGB, 8 bits, whole frames, PNG files. A figure is the mean over all frames of all videos together.",
    "PSNR: per frame, data range 255. SSIM: scikit-image's structural_similarity with a Gaussian window of sigma 1.5 "
    "(11 x 11 pixels), population covariance, data range 255, mean over pixels and colours.",
    'Frames: 2 .. n-3 of each video (counted from 0), those with two neighbours on both sides; the columns "all '
    'frames" hold the others too, restored with the video mirrored at its ends. Networks that read longer clips than '
    "ESTRNN's five frames are fed clips of their own length, from the first frame on.",
    '"last epoch" uses no ground truth. "epoch chosen by ground truth" is what the released code does: of the same '
    "training, the epoch with the best PSNR (ours: standard, frames 2 .. n-3) against the ground truth. "
    "For comparison only.",
    '"released code\'s PSNR" and "released code\'s SSIM" are not what these names say elsewhere: the mean over image '
    "columns of the PSNR of each column (never below the frame's PSNR), and a Gaussian over rows, columns and colours "
    "of values in [-0.5, 0.5]. They are here for comparison with published figures only.",
    "Published figures and differences: which of the two PSNR the paper used is not known, so the difference is given "
    "to both. "
    + NONE
    + ': no published figure on record. "'
    + MISSING
    + '": not measured, with the reason below.',
)


@dataclass(frozen=True)
class Row:
    """One line: a result of a set. `result` is the machine's name of it, `label` the reader's. `figures` is
    None where nothing was measured; `missing` then says why, or is empty where nothing is measured here at
    all (published only).
    """

    name: str
    title: str
    network: str
    patches: str
    condition: str
    result: str
    label: str
    figures: Figures | None
    missing: str
    published_psnr: float | None


def difference(row: Row, metric: str) -> float | None:
    """The row's PSNR by `metric` less the published figure, where there are both."""
    if row.figures is None or row.published_psnr is None:
        return None
    return row.figures.table[metric] - row.published_psnr


def markdown(heading: str, rows: Sequence[Row], header: dict[str, list[str]]) -> str:
    """The tables, one a set, below a heading, the protocol and the lists of `header` (title -> lines)."""
    lines = [f"# {heading}", "", "Protocol", "", *(f"- {line}" for line in PROTOCOL), ""]
    for title, entries in header.items():
        lines += [title, "", *(f"- {entry}" for entry in entries or ["none"]), ""]
    for name in dict.fromkeys(row.name for row in rows):
        chosen = [row for row in rows if row.name == name]
        lines += [f"## {chosen[0].title}", "", *_table(chosen), ""]
    gaps: dict[str, list[str]] = {}
    for row in rows:
        if row.missing:
            gaps.setdefault(row.missing, []).append(f"{row.title}: {row.label}")
    if gaps:
        lines += [
            "## Missing",
            "",
            *(f"- {'; '.join(labels)} — {reason}" for reason, labels in gaps.items()),
            "",
        ]
    return "\n".join(lines)


def _table(rows: Sequence[Row]) -> list[str]:
    columns = [
        "result",
        "PSNR",
        "published",
        "difference",
        "SSIM",
        "PSNR, all frames",
        "SSIM, all frames",
        "released code's PSNR",
        "difference",
        "released code's SSIM",
    ]
    lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
    for row in rows:

        def cell(part: str, metric: str, digits: int, row: Row = row) -> str:
            if row.figures is None:
                return MISSING if row.missing else NONE
            return f"{getattr(row.figures, part)[metric]:.{digits}f}"

        published = NONE if row.published_psnr is None else f"{row.published_psnr:.2f}"
        cells = [
            row.label,
            cell("table", "psnr", 2),
            published,
            _signed(difference(row, "psnr")),
            cell("table", "ssim", 4),
            cell("every", "psnr", 2),
            cell("every", "ssim", 4),
            cell("table", "psnr_column_mean", 2),
            _signed(difference(row, "psnr_column_mean")),
            cell("table", "ssim_three_axis", 4),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _signed(value: float | None) -> str:
    return NONE if value is None else f"{value:+.2f}"


def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as flat mappings of text and numbers; None where there is no figure."""
    flat = []
    for row in rows:
        entry = {key: value for key, value in asdict(row).items() if key not in ("figures", "label", "title")}
        entry["difference"] = difference(row, "psnr")
        entry["difference_column_mean"] = difference(row, "psnr_column_mean")
        for part, suffix in (("table", ""), ("every", "_all_frames")):
            for name in METRICS:
                entry[name + suffix] = None if row.figures is None else getattr(row.figures, part)[name]
            entry["frames" + suffix] = None if row.figures is None else getattr(row.figures, f"{part}_frames")
        # JSON knows no infinity, which the PSNR of identical pictures is.
        flat.append(
            {
                key: "inf" if isinstance(value, float) and math.isinf(value) else value
                for key, value in entry.items()
            }
        )
    return flat


def comma_separated(rows: Sequence[Row]) -> str:
    """`plain` as CSV with a head line; empty where there is no figure."""
    flat, text = plain(rows), io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()
