"""Decoded frames in memory, up to a limit."""

import threading
from pathlib import Path

import numpy as np

from common.images import read_image
from common.runtime.distributed import World


class FrameCache:
    """Reads images once and keeps them until `gib` GiB are used; later ones are decoded every time. Several
    threads may read at once."""

    def __init__(self, gib: float) -> None:
        self._images: dict[Path, np.ndarray] = {}
        self._free = int(gib * 2**30)
        self._lock = threading.Lock()

    @classmethod
    def of_machine(cls, gib: float, world: World) -> "FrameCache":
        """This process's part of the memory that all processes of a machine may use together."""
        return cls(gib / world.local_size)

    def __call__(self, path: Path) -> np.ndarray:
        """The image uint8 RGB (H, W, 3); not to be changed in place."""
        image = self._images.get(path)
        if image is None:
            # Decoded outside of the lock: threads are there to decode side by side.
            image = read_image(path)
            with self._lock:
                if path not in self._images and image.nbytes <= self._free:
                    self._free -= image.nbytes
                    self._images[path] = image
        return image
