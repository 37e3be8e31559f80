"""The C library's memory allocator, told that large blocks come back."""

import ctypes
import sys

try:
    import resource
except ImportError:  # Windows has no such module.
    resource = None

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
_GLIBC = ((_MMAP_MAX, 65536), (_TRIM_THRESHOLD, 128 << 10), (_TOP_PAD, 128 << 10))
"""glibc's own values."""


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for the next ones, for the rest of the process (glibc; elsewhere
    nothing).

    By default glibc gives every large block back to the system at once, and the next tensor waits for its
    pages to be
    zeroed anew: up to a tenth of the time of a convolutional network on the CPU. Values do not change. The
    peak grows by what lies between blocks in use. Where the address space is limited (ulimit -v) nothing is
    kept: what one stage keeps would count against the next.
    """
    if resource is not None and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return
    _set(((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, 64 << 20)))


def give_back_freed_memory() -> None:
    """Give what is free back to the system, and keep nothing from now on: for a process that has run short.
    What one stage keeps is lost to the next, and to libraries that do not ask the C library's allocator."""
    library = _set(_GLIBC)
    if library is not None:
        library.malloc_trim(0)


def _set(values: tuple[tuple[int, int], ...]) -> ctypes.CDLL | None:
    """The C library, told these values; None where it is not glibc."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        mallopt, _ = library.mallopt, library.malloc_trim
    except (OSError, AttributeError):
        return None
    for name, value in values:
        mallopt(name, value)
    return library
