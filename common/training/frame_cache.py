"""Decoded frames in memory, up to a limit."""

from pathlib import Path

import numpy as np

from common.images import read_image
from common.runtime.kept import Kept


class FrameCache:
    """Reads images once and keeps them until `gib` GiB are used; later ones are decoded every time, because
    a training draws them in random order. Several threads may read at once."""

    def __init__(self, gib: float) -> None:
        self._kept = Kept(gib, evicts=False)

    def __call__(self, path: Path) -> np.ndarray:
        """The image uint8 RGB (H, W, 3); not to be changed in place."""
        return self._kept(path, lambda: read_image(path))
