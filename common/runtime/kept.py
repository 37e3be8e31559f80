"""Results that are made once and kept in memory, up to a limit."""

import threading
from collections.abc import Callable, Hashable

import numpy as np


class Kept:
    """Keeps arrays by key until `gib` GiB are used. Several threads may use it at once.

    evicts: whether the one that was unused for longest then makes room for a new one, which suits a walk in
    order; otherwise what is kept stays, and later ones are made every time, which suits random order.
    """

    def __init__(self, gib: float, evicts: bool = True) -> None:
        self._arrays: dict[Hashable, np.ndarray] = {}
        self._most, self._used = int(gib * 2**30), 0
        self._evicts = evicts
        self._lock = threading.Lock()

    def __call__(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of `key`, from `make` where it is not kept; not to be changed in place."""
        with self._lock:
            array = self._arrays.get(key)
            if array is not None:
                if self._evicts:
                    # The dictionary's order is that of use.
                    self._arrays[key] = self._arrays.pop(key)
                return array
        # Made outside of the lock: threads are there to decode side by side.
        array = make()
        with self._lock:
            self._keep(key, array)
        return array

    def _keep(self, key: Hashable, array: np.ndarray) -> None:
        if key in self._arrays or array.nbytes > self._most:
            return
        while self._evicts and self._used + array.nbytes > self._most:
            self._used -= self._arrays.pop(next(iter(self._arrays))).nbytes
        if self._used + array.nbytes <= self._most:
            self._used += array.nbytes
            self._arrays[key] = array
