"""Small pieces of HTML that every section uses. Only alt texts and asides are escaped in here."""

from collections.abc import Sequence
from html import escape


def image(uri: str, shape: tuple[int, ...], alt: str) -> str:
    """An <img> of a data URI with the size (H, W, ...) of its pixels."""
    return f'<img src="{uri}" width="{shape[1]}" height="{shape[0]}" alt="{escape(alt)}">'


def figure(content: str, caption: str) -> str:
    """Content and its caption, both HTML."""
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"


def aside(text: str) -> str:
    """One grey line of plain text: what is missing, and why."""
    return f'<p class="missing">{escape(text)}</p>'


def table(rows: Sequence[Sequence[str]], kind: str) -> str:
    """A table of HTML cells, `kind` its class in the style sheet; the first row and the first column are
    headings. It scrolls by itself where it is wide."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in rows[0])
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>"
        for row in rows[1:]
    )
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )
