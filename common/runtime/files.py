"""Files that appear whole or not at all, JSON and CSV."""

import atexit
import csv
import errno
import io
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.errors import UserError

_TEMPORARY = ".tmp-"

_unfinished: set[Path] = set()
"""Temporary files that are being written."""

_REFUSALS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.EIO,
    errno.ESTALE,
    errno.ENAMETOOLONG,
    errno.EISDIR,
    errno.ENOTDIR,
}


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends, or vanishes when it fails.

    The temporary file lies in the folder of `path` (created when absent), starts with a dot, and has the
    suffix of `path`, because image encoders choose the format by it. Raises UserError when the folder cannot
    be created, or when the system refuses to write: a full disk, a quota, a folder that has become read-only.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot create this folder ({error.strerror}); choose another one"
        ) from error
    # The token keeps writers apart that share a process number: two machines on one network folder.
    temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    _unfinished.add(temporary)
    try:
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        # The folder may refuse this too; report the first error.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (error.errno in _REFUSALS or not path.parent.is_dir()):
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); check the disk, then start again to go on "
                "where it stopped"
            ) from error
        raise
    finally:
        _unfinished.discard(temporary)


@atexit.register
def remove_unfinished() -> None:
    """Remove the temporary files of this process. Python calls it when it ends normally."""
    # A signal can raise between the end of a block and the code that would tidy up after it.
    for path in list(_unfinished):
        # A forked process has its parent's list.
        if path.name.startswith(f"{_TEMPORARY}{os.getpid()}-"):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether a file is a temporary one, which a writer left that was killed or which is being written."""
    return path.name.startswith(_TEMPORARY)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed writers left in `folder` and below it; nobody may be writing
    there."""
    for path in folder.rglob(f"{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    """Without this a power failure after the renaming can leave a file with the right name and no content."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write `data` as JSON, keys in their own order, atomically."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def require_regular(path: str | Path) -> None:
    """OSError unless the path is a regular file. A device or a pipe may have no end."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises UserError when it is missing, unreadable or not JSON."""
    try:
        require_regular(path)
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: not valid JSON (line {error.lineno}: {error.msg}); remake or correct it"
        ) from error
    # A number of more digits than Python reads is a ValueError.
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({type(error).__name__}); remake or correct it") from error


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV whole or not at all; the columns are all names in them, in the order of their first use."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
