"""Smaller batches where memory runs out, and how much memory was used."""

import errno
import gc
import sys
from collections.abc import Callable
from typing import TypeVar

import cv2
import numpy as np
import torch

from common.errors import UserError
from common.runtime.allocator import give_back_freed_memory

try:
    import resource
except ImportError:  # Windows has no such module.
    resource = None

Result = TypeVar("Result")
Items = TypeVar("Items", list, np.ndarray)
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "could not create a primitive",
    "can't start new thread",
    "unable to mmap",
    "bad_alloc",
    "Insufficient memory",
    "Failed to allocate",
    "ALLOC_FAILED",
    "out of memory",
    "unable to find an engine",
)
"""Parts of messages of libraries that have no error class for it: PyTorch's allocators, oneDNN, Python's threads,
OpenCV, cuBLAS, the CUDA driver and NCCL. PyTorch's choice of a cuDNN algorithm says that it found none where none got
the memory that it wanted (https://github.com/pytorch/pytorch/issues/108645)."""
_NOT_MAPPED = "failed to map segment from shared object"
"""How a library that is imported while memory lasts no longer ends. Where mapping is forbidden, the reason follows."""
OUT_OF_MEMORY = "not enough memory; close other programs, use smaller frames or a smaller runtime.workers"


def out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device, or this machine, has no more memory to give."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, ImportError) and str(error).endswith(_NOT_MAPPED):
        return True
    if not isinstance(error, (RuntimeError, cv2.error, SystemError)):
        return False
    return any(words.lower() in str(error).lower() for words in _NO_MEMORY)


def halving(
    work: Callable[[int], Result],
    size: int,
    least: int,
    name: str,
    say: Callable[[str], None],
) -> tuple[Result, int]:
    """`work(size)`, with `size` halved for as long as memory does not suffice: (its result, the size that
    did).

    least: smallest size to try. name: what the size is, for the line that is said at each halving. Raises
    UserError where even `least` needs too much; any other error of `work` passes through.
    """
    while True:
        try:
            return work(size), size
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Outside of the except block, where nothing but reference cycles holds the failed attempt's tensors.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        give_back_freed_memory()
        if size <= least:
            raise UserError(
                f"{name}: not enough memory even with {size}; close other programs, use smaller frames or "
                "another device (runtime.device)"
            )
        smaller = max(least, size // 2)
        say(f"{name}: not enough memory with {size}, going on with {smaller}")
        size = smaller


class Splitter:
    """Batches in parts where memory does not suffice for the whole; a size that sufficed is kept for the
    batches after.

    name: the setting that batches come from, say: where to tell of a halving; see `halving`.
    """

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name, self._say = name, say
        self._most: int | None = None

    def __call__(self, work: Callable[[Items], np.ndarray], batch: Items) -> np.ndarray:
        """`work(batch)`, an array with one row an item, from as many calls as are needed."""
        size = min(self._most or len(batch), len(batch))
        rows, used = halving(
            lambda size: np.concatenate(
                [work(batch[start : start + size]) for start in range(0, len(batch), size)]
            ),
            size,
            1,
            self._name,
            self._say,
        )
        if used < size:
            self._most = used
        return rows


def peak_memory(device: torch.device) -> float | None:
    """Largest memory used so far in GiB: what PyTorch allocated on a GPU, this process's resident memory on a
    CPU (None where the system does not tell)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if resource is None:
        return None
    # Kilobytes, on macOS bytes.
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    )
