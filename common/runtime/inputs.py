"""Names and contents of the frames that results were made from.

A file is read once; afterwards its size and time tell whether it has to be read again. So a copied data set is known,
and a re-exported one is not taken for it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.runtime.files import read_json, write_json

_DIGITS = 16

Contents = dict[str, dict[str, str]]
"""Name of a group of files (a video's frames) -> name of a file -> digest of its content."""
Note = dict[str, dict[str, list]]
"""Name of a group -> name of a file -> size in bytes, time of the last change in ns, digest."""


def contents(files: Mapping[str, Sequence[Path]], kept: Path) -> tuple[Contents, Note]:
    """What the files of each group hold, and the note for `note_down`.

    kept: the JSON file of `note_down`, which need not be there.
    """
    known = _noted(kept)
    note = {
        group: {path.name: _entry(path, known.get(group)) for path in paths} for group, paths in files.items()
    }
    return {group: {name: entry[-1] for name, entry in own.items()} for group, own in note.items()}, note


def note_down(note: Note, kept: Path) -> None:
    """Add a note to the file, so that contents need not be read again."""
    known = _noted(kept)
    if any(known.get(name) != entry for name, entry in note.items()):
        write_json(kept, known | note)


def summary(found: Contents) -> str:
    """One digest of everything that `contents` found."""
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:_DIGITS]


def with_unused(recorded: Any, now: Contents, used: Callable[[str, str], bool]) -> Any:
    """`recorded`, an earlier run's contents, as if it had read those files that nothing was made from as they are
    `now`: a damaged frame may be mended, or taken away, until there is a result of it.

    used: whether there is a result of a file, by the names of its group and its own.
    """
    if not isinstance(recorded, dict):
        return recorded
    amended = {}
    for group, before in recorded.items():
        after = now.get(group, {})
        if isinstance(before, dict):
            kept = {name: content for name, content in before.items() if used(group, name)}
            added = {
                name: content for name, content in after.items() if name not in kept and not used(group, name)
            }
            amended[group] = kept | added
        else:
            amended[group] = before
    return amended


def _noted(kept: Path) -> dict[str, Any]:
    try:
        content = read_json(kept) if kept.exists() else {}
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def _entry(path: Path, known: Any) -> list:
    status = path.stat()
    facts = [status.st_size, status.st_mtime_ns]
    entry = known.get(path.name) if isinstance(known, dict) else None
    if isinstance(entry, list) and len(entry) == 3 and entry[:2] == facts and isinstance(entry[2], str):
        return entry
    # A device or a pipe has no end. Reading the frame will refuse it by name.
    return [*facts, _digest(path) if path.is_file() else ""]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:_DIGITS]
