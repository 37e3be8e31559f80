"""Stage 2's arrays, as stage 3 reads them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from BlurringModel.reblurring.moments import moments
from common.errors import UserError
from common.images import read_array
from common.layout import SETTINGS, Layout
from common.runtime.files import read_json
from common.runtime.kept import Kept
from common.videos import Video

HINT = "run python DBCGM/main.py first"


@dataclass(frozen=True)
class Conditions:
    """Stage 2's arrays below an output folder. kind: "condition", float32 (3, H, W), or "motion", (2, H, W).
    kept: where arrays are kept that were read; by default nothing is."""

    layout: Layout
    kept: Kept = field(default_factory=lambda: Kept(0))

    def path(self, kind: str, video: Video, position: int) -> Path:
        """Where the array of a frame lies."""
        kinds = {"condition": self.layout.condition, "motion": self.layout.motion}
        return kinds[kind](*video.at(position))

    def read(self, kind: str, video: Video, position: int, shape: tuple[int, ...]) -> np.ndarray:
        """The array of a frame, not to be changed in place; UserError where it is missing or has another shape
        than the frame."""
        path = self.path(kind, video, position)
        array = self.kept(path, lambda: read_array(path, len(shape), HINT))
        if array.shape != shape:
            raise UserError(
                f"{path}: is {array.shape}, the frame needs {shape}; run python DBCGM/main.py --overwrite"
            )
        return array

    def moments(self, video: Video) -> list[int]:
        """Positions of the video's moments (see `moments`) that have condition and motion."""
        known = {
            position
            for position in range(len(video.frames))
            if all(self.path(kind, video, position).exists() for kind in ("condition", "motion"))
        }
        return moments(known)

    def check_complete(self, videos: list[Video]) -> None:
        """UserError where stage 2 is incomplete: the moments that can be drawn must not depend on how far it
        came."""
        made = read_json(self.layout.dbcgm / SETTINGS)
        settings = made.get("dbcgm", {}) if isinstance(made, dict) else {}
        if not isinstance(settings, dict) or settings.get("frames") != "all":
            return
        first = 1 if settings.get("trajectory") == "central" else 2
        for video in videos:
            for position in range(first, len(video.frames) - first):
                path = self.path("condition", video, position)
                if not path.exists():
                    raise UserError(f"{path}: missing, stage 2 is incomplete; run python DBCGM/main.py again")
