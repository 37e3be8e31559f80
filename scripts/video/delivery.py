"""Restored shots -> one result for each clip, of its size, length and rate."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from common.images import read_image, write_image
from common.runtime.files import remove_leftovers
from scripts.video.preparation import Clip
from scripts.video.sources import VIDEO_SUFFIXES
from scripts.video.writing import write_video


def deliver(clip: Clip, restored: Mapping[str, Path], target: Path, folder: Path) -> list[str]:
    """Write the clip's result to `target`, a video file or a folder for images; returns messages to the user.

    restored: shot -> folder with its restored frames. folder: an existing place for unfinished files.
    """

    def frames() -> Iterator[np.ndarray]:
        for shot in clip.shots:
            for index in range(shot.start, shot.stop):
                yield read_image(restored[shot.video] / f"{index:06d}.png")

    if target.suffix.lower() in VIDEO_SUFFIXES:
        return write_video(target, frames, clip.film, Path(clip.source) if clip.is_video else None, folder)
    names = clip.names or [f"{index:06d}" for index in range(clip.frames)]
    for name, frame in zip(names, frames()):
        write_image(target / f"{name}.png", frame)
    remove_leftovers(target)
    return []
