"""The page as a whole: one file, no network, everything from outside forbidden by a content security
policy."""

import base64
import hashlib
from html import escape
from pathlib import Path

from common.runtime.files import write_text
from scripts.reporting import run_sections
from scripts.reporting.collect import Results, collect
from scripts.reporting.maps import budget_for
from scripts.reporting.markup import aside
from scripts.reporting.video_section import video_section

HERE = Path(__file__).resolve().parent
MOST_VIDEOS = 12


def make_report(output: Path, target: Path) -> Path:
    """Write the report on the stages' output folder to `target`, whole or not at all; returns `target`.

    Raises UserError where the folder holds no results, or damaged ones.
    """
    write_text(target, page(collect(output)))
    return target


def page(results: Results) -> str:
    """The HTML of the report."""
    shown = results.videos[:MOST_VIDEOS]
    budget = budget_for(len(shown) * max(1, len(results.models)))
    videos = [(f"video-{number}", video) for number, video in enumerate(shown)]
    body = run_sections.overview(results) + _navigation(
        results, [(name, video.name) for name, video in videos]
    )
    body += run_sections.figures(results)
    body += "".join(video_section(results, video, name, budget) for name, video in videos)
    if len(results.videos) > len(shown):
        body += aside(f"{len(results.videos) - len(shown)} more videos are not shown in pictures")
    body += run_sections.trainings(results) + run_sections.times(results) + run_sections.settings(results)
    return document(escape(Path(str(results.clip.get("source") or results.output.resolve())).name), body)


def _navigation(results: Results, videos: list[tuple[str, str]]) -> str:
    links = [("figures", "Against ground truth")] if any(model.metrics for model in results.models) else []
    links += [*videos, ("training", "Fine-tuning"), ("times", "Times"), ("settings", "Settings")]
    return "<nav>" + "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in links) + "</nav>"


def document(title: str, body: str) -> str:
    """A complete HTML file around `body`; `title` and `body` are HTML."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"<title>{title}: test-time blurring</title><style>{style}</style></head>\n"
        f"<body><header><p>Test-time blurring</p><h1>{title}</h1></header>\n<main>{body}</main>\n"
        f"<script>{script}</script></body></html>\n"
    )


def _hash(text: str) -> str:
    """What the policy knows an inline style sheet or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
