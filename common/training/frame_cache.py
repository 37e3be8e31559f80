"""Decoded frames in memory, up to a limit."""

from pathlib import Path

import numpy as np

from common.images import read_image


class FrameCache:
    """Reads images once and keeps them until `gib` GiB are used; later ones are decoded every time."""

    def __init__(self, gib: float) -> None:
        self._images: dict[Path, np.ndarray] = {}
        self._free = int(gib * 2**30)

    def __call__(self, path: Path) -> np.ndarray:
        """The image uint8 RGB (H, W, 3); not to be changed in place."""
        image = self._images.get(path)
        if image is None:
            image = read_image(path)
            if image.nbytes <= self._free:
                self._free -= image.nbytes
                self._images[path] = image
        return image
