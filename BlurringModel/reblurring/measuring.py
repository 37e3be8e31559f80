"""Walks over the videos and measures their own blur (blurring.model measured)."""

from functools import partial

from BlurringModel.reblurring.measured import Measured, kernels_of_frames
from common.images import write_array
from common.layout import Layout
from common.stage import Stage
from common.videos import FrameReader


def measure_kernels(stage: Stage, layout: Layout, reader: FrameReader, work: str) -> Measured:
    """Measure the blur of every frame of the videos, where that is not done yet, and write it;
    the time counts as that of `work`."""
    measured = Measured(layout)
    for video in stage.videos:
        wanted = stage.world.share(range(len(video.frames)))
        missing = [position for position in wanted if not measured.path(video, position).exists()]
        if missing:
            found = kernels_of_frames(partial(reader.read, video), len(video.frames), missing)
            with stage.timed(work):
                for position, values in stage.progress(
                    found, f"stage 3, measuring blur {video.name}", "frame", len(missing)
                ):
                    write_array(measured.path(video, position), values)
    stage.world.barrier()
    for video in stage.videos:
        if not measured.has_any(video):
            stage.say(f"{video.name}: no frame's blur can be measured, so it is blurred along lines")
    return measured
