"""One process at a time writes into a result folder.

The lock is the system's on the file `<folder>/.lock`, so it ends with the process however that ends, SIGKILL
included. The file itself only says who holds it; it is removed on release, and one that a killed process left
is taken over. On systems without POSIX locks (Windows) nothing is checked.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

from common.errors import UserError

try:
    import fcntl
except ImportError:
    fcntl = None

LOCK = ".lock"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_TAKEN = (errno.EAGAIN, errno.EACCES)

_held: dict[Path, int] = {}


def hold(folder: Path) -> None:
    """Keep `folder` (created when absent) for this process until `release`; at once where it has it already.

    Raises UserError naming the folder and the process that has it, and OSError where the folder cannot be
    made. A
    folder that cannot be written to is not locked: whoever tries to write there is told so.
    """
    path = folder.resolve() / LOCK
    if fcntl is None or (path in _held and _is_file(_held[path], path)):
        return
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno in _READ_ONLY:
                return
            raise
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno not in _TAKEN:
                # A network folder whose server keeps no locks.
                return
            raise UserError(
                f"{folder}: in use by another run (process {holder or 'unknown'}); wait for its end, or "
                "choose another output folder"
            ) from None
        # Whoever held it before may have removed the file between the opening and the locking.
        if _is_file(descriptor, path):
            break
        os.close(descriptor)
    _held[path] = descriptor
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError:
        # A full disk: the lock holds without the number, which is only for the other's message.
        pass


def hold_below(folder: Path) -> None:
    """Take over the locks that killed processes left below `folder`, so that `release` removes them: for a
    run whose work there may be done already, so that it claims none of these folders. UserError where one of
    them is in use."""
    for path in list(folder.rglob(LOCK)):
        hold(path.parent)


def release() -> None:
    """Give back every folder that this process holds."""
    while _held:
        path, descriptor = _held.popitem()
        # In a folder that has become read-only it stays, and the next run takes it over.
        with suppress(OSError):
            if _is_file(descriptor, path):
                path.unlink()
        os.close(descriptor)


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
