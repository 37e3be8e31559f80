"""What several sections need of a video: how much of it is shown, its magnitude maps, a picture from a
file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.constants import MAGNITUDE_SCALE
from common.images import read_array, read_image
from common.layout import Layout
from common.videos import Video
from scripts.reporting import pictures
from scripts.reporting.markup import image

REMAKE = "make it again with --overwrite"


@dataclass(frozen=True)
class Budget:
    """How much is shown of one video: pictures' width in pixels, frames before and after, pairs."""

    width: int
    frames: int
    pairs: int


def budget_for(results: int) -> Budget:
    """Less of each where there are many results (videos times networks), so that the page stays a few
    megabytes."""
    return Budget(960, 3, 4) if results <= 2 else Budget(800, 2, 2) if results <= 5 else Budget(640, 1, 1)


def read_map(output: Path, video: Video, position: int) -> np.ndarray:
    """A frame's blur magnitude float32 (H, W) in pixels."""
    path = Layout(output).magnitude(*video.at(position))
    return read_array(path, 2, f"python RSDM/main.py: {REMAKE}") * MAGNITUDE_SCALE


def mean_magnitudes(output: Path, video: Video) -> dict[int, float]:
    """Mean blur magnitude, in pixels, by position of the frames that stage 1 has measured."""
    return {
        position: float(read_map(output, video, position).mean())
        for position in range(len(video.frames))
        if Layout(output).magnitude(*video.at(position)).exists()
    }


def image_tag(path: Path, width: int, alt: str, quality: int = 90) -> str:
    """The <img> of an image file, reduced to at most `width` pixels in width."""
    shown = pictures.fitted(read_image(path), width)
    return image(pictures.data_uri(shown, quality=quality), shown.shape, alt)
