"""The C library's memory allocator, told that large blocks come back."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for the next ones, for the rest of the process (glibc; elsewhere
    nothing).

    By default glibc gives every large block back to the system at once, and the next tensor waits for its
    pages to be
    zeroed anew: up to a tenth of the time of a convolutional network on the CPU. Values do not change. The
    peak grows by what lies between blocks in use.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, 64 << 20)):
        mallopt(name, value)
