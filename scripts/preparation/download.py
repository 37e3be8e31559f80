"""A file from the web: resumed where it stopped, at its place whole or not at all."""

import os
import socket
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import IO, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from tqdm import tqdm

from common.errors import UserError

Found = TypeVar("Found")
LIMIT = 1 << 30
"""Bytes, a bound against answers that do not end."""
_BLOCK, _PATIENCE = 1 << 16, 30.0
_PAGE = (b"<!doctype", b"<html", b"<?xml", b"version https://git-lfs")
"""How answers begin that are no weights: pages, and what a repository holds in place of a large file."""


def download(url: str, target: Path, check: Callable[[Path], Found], limit: int = LIMIT) -> Found:
    """Download `url` to `target`; returns what `check` found.

    What arrived of a download that broke off lies beside it as <name>.part. The next one goes on from there, if the
    server still has the same file. check: raises UserError for a file that is not the expected one; such a file is
    removed. limit: largest size in bytes. Raises UserError where there is no network, no such file, a page in place of
    a file, or too much of it.
    """
    part, tag = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.tag")
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url}: no address to download from; it has to begin with https:// or http://")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _receive(url, part, tag, limit)
    except HTTPError as error:
        raise UserError(f"{url}: the server answers {error.code} ({error.reason})") from None
    except (URLError, socket.timeout, HTTPException, ConnectionError, SSLError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise UserError(
            f"{url}: cannot be reached ({reason}); behind a proxy set https_proxy; start again to go on"
        ) from None
    try:
        _refuse_pages(url, part)
        found = check(part)
    except UserError:
        part.unlink()
        tag.unlink(missing_ok=True)
        raise
    os.replace(part, target)
    tag.unlink(missing_ok=True)
    return found


def _receive(url: str, part: Path, tag: Path, limit: int) -> None:
    """Everything from where `part` ends; from the start where the server's file is another one by now."""
    have = part.stat().st_size if part.exists() and tag.exists() else 0
    known = tag.read_text() if have else ""
    # The server sends the rest only of the file that `known` names, else all of the new one.
    headers = {"Range": f"bytes={have}-", "If-Range": known} if have else {}
    try:
        answer = build_opener().open(Request(url, headers=headers), timeout=_PATIENCE)
    except HTTPError as error:
        # 416: nothing is left to send, or the file is shorter now.
        if error.code != 416 or not have:
            raise
        part.unlink()
        _receive(url, part, tag, limit)
        return
    with answer:
        going_on = answer.status == 206
        start = have if going_on else 0
        length = answer.headers.get("Content-Length")
        whole = start + int(length) if length and length.isdigit() else None
        if whole is not None and whole > limit:
            raise UserError(f"{url}: has {whole:,} bytes, more than the {limit:,} that are accepted")
        if not going_on:
            part.unlink(missing_ok=True)
            tag.write_text(_version(answer.headers))
        with part.open("ab") as file, _bar(url, start, whole) as bar:
            got = start + _copied(answer, file, limit - start, bar)
    if got > limit:
        part.unlink()
        tag.unlink()
        raise UserError(f"{url}: has more than the {limit:,} bytes that are accepted")
    if whole is not None and got < whole:
        raise UserError(f"{url}: broke off after {got:,} of {whole:,} bytes; start again to go on")


def _copied(answer: IO[bytes], file: IO[bytes], most: int, bar: tqdm) -> int:
    """Bytes copied; the copy ends with the first block that is beyond `most`."""
    got = 0
    while got <= most and (block := answer.read(_BLOCK)):
        file.write(block)
        got += len(block)
        bar.update(len(block))
    return got


def _bar(url: str, start: int, whole: int | None) -> tqdm:
    name = url.rpartition("/")[2]
    return tqdm(desc=name, initial=start, total=whole, unit="B", unit_scale=True, dynamic_ncols=True)


def _version(headers: dict[str, str]) -> str:
    # A weak tag does not promise the same bytes.
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", '"none"')


def _refuse_pages(url: str, part: Path) -> None:
    with part.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith(_PAGE):
        raise UserError(f"{url}: the server sent a page of text in place of the file")
