"""Flips and quarter turns that move images and blur conditions together."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Augmentation:
    """Mirror left-right, mirror up-down, then turn counter-clockwise on the screen by `quarters` times 90
    degrees."""

    mirror_x: bool = False
    mirror_y: bool = False
    quarters: int = 0

    @staticmethod
    def draw(rng: np.random.Generator, rotate: bool) -> "Augmentation":
        """Each mirror with probability 1/2; with `rotate`, one of the four quarter turns."""
        return Augmentation(
            bool(rng.integers(2)), bool(rng.integers(2)), int(rng.integers(4)) if rotate else 0
        )

    def image(self, image: np.ndarray) -> np.ndarray:
        """The picture (..., H, W, C), turned; a view where possible."""
        return np.moveaxis(self.plane(np.moveaxis(image, -1, -3)), -3, -1)

    def plane(self, array: np.ndarray) -> np.ndarray:
        """The maps (..., H, W), moved without changing their values."""
        array = array[..., ::-1] if self.mirror_x else array
        array = array[..., ::-1, :] if self.mirror_y else array
        return np.rot90(array, self.quarters, axes=(-2, -1))

    def vectors(self, condition: np.ndarray) -> np.ndarray:
        """The condition (3, H, W) with its direction vectors turned, the map left where it is."""
        x, y = (
            (-1.0 if self.mirror_x else 1.0) * condition[0],
            (-1.0 if self.mirror_y else 1.0) * condition[1],
        )
        for _ in range(self.quarters % 4):
            # y points down: a counter-clockwise quarter turn takes right (1, 0) to up (0, -1).
            x, y = y, -x
        return np.stack([x, y, condition[2]])

    def condition(self, condition: np.ndarray) -> np.ndarray:
        """The condition (3, H, W), map and vectors both turned: it stays true for the turned picture."""
        return self.plane(self.vectors(condition))

    def condition_as_published(self, condition: np.ndarray) -> np.ndarray:
        """What ID-Blau's published training does (specification, section 5): the map is not moved, and
        quarter turns take the vectors the other way round than the picture. For faithful training only."""
        return Augmentation(self.mirror_x, self.mirror_y, -self.quarters).vectors(condition)
