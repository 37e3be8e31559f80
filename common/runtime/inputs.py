"""What identifies the frames that results were made from: their names and contents.

Contents are read once; afterwards names, sizes and times tell whether they have to be read again, so that a
copied data set is known and a re-exported one is not taken for it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.runtime.files import read_json, write_json

_DIGITS = 16


Note = dict[str, dict[str, str]]


def contents(files: Mapping[str, Sequence[Path]], kept: Path) -> tuple[dict[str, list[int | str]], Note]:
    """For each name, how many files there are and a digest of their names and contents; and the note for
    `note_down`, with the sizes and times that the digests belong to.

    kept: the JSON file of `note_down`, which need not be there.
    """
    known, found = _noted(kept), {}
    for name, paths in files.items():
        facts, entry = _facts(paths), known.get(name)
        whole = isinstance(entry, dict) and isinstance(entry.get("content"), str)
        if not whole or entry.get("facts") != facts:
            entry = {"facts": facts, "content": _content(paths)}
        found[name] = entry
    return {name: [len(paths), found[name]["content"]] for name, paths in files.items()}, found


def note_down(note: Note, kept: Path) -> None:
    """Add a note to the file, so that contents need not be read again."""
    known = _noted(kept)
    if any(known.get(name) != entry for name, entry in note.items()):
        write_json(kept, known | note)


def _noted(kept: Path) -> dict[str, Any]:
    try:
        content = read_json(kept) if kept.exists() else {}
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def _facts(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        facts = path.stat()
        digest.update(f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:_DIGITS]


def _content(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\n".encode())
        # A device or a pipe has no end; whoever reads the frame refuses it by name.
        if path.is_file():
            digest.update(_digest(path))
    return digest.hexdigest()[:_DIGITS]


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()
