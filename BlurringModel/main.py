"""Stage 3, reblurring: blur the sharp regions the way their video blurs.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, <output>/rsdm/sharp_regions.json, <output>/dbcgm/condition
         (and <output>/dbcgm/motion with blurring.window moved)
Writes   <output>/blurring/<video>/ori/<frame>.png      the frame as it is
         <output>/blurring/<video>/reblur/<frame>.png   its regions (or all of it) blurred
         <output>/blurring/<video>/flow/<frame>.png     the condition as a colour wheel
         <output>/blurring/<video>/kernels/<frame>.npy  the frame's own blur, measured: (R, C, 31, 31)
                                                        (blurring.model measured)
         <output>/blurring/<video>/window/<frame>/<copy>/<0..4>.png
                                                        all five frames of a window (blurring.window all,
                                                        moved)
         <output>/blurring/<video>/target/<frame>.png   the frame, its regions without noise
                                                        (blurring.moved.denoise_target)
Usage    python BlurringModel/main.py --config configs/demo.yaml
         torchrun --nproc_per_node=2 BlurringModel/main.py --config configs/demo.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from typing import Any

from BlurringModel.reblurring.composing import blurred_pictures, write_portion
from BlurringModel.reblurring.conditions import HINT, Conditions
from BlurringModel.reblurring.direction import DirectionTest
from BlurringModel.reblurring.measured import Measured
from BlurringModel.reblurring.measuring import measure_kernels
from BlurringModel.reblurring.patches import Frame, frames_to_blur
from BlurringModel.reblurring.sampling import load_model
from BlurringModel.reblurring.windows import check_window, portions
from common.checkpoints import sha256
from common.config import Config, require
from common.errors import UserError
from common.layout import SETTINGS, Layout
from common.regions_file import read_regions
from common.runtime.background import Writer, prefetch
from common.runtime.entry import run
from common.runtime.kept import Kept
from common.runtime.memory import Splitter
from common.stage import Stage, groups, open_stage, section_settings, unfinished
from common.videos import FrameReader

WORK = "stage 3, ID-Blau"
ONLY_ID_BLAU = (
    "weights",
    "architecture",
    "sampler",
    "steps",
    "start",
    "eta",
    "prediction",
    "direction",
    "magnitude_scale",
)
"""Settings that the other models do not read."""


def main() -> None:
    """Run stage 3 with the settings of the command line."""
    stage = open_stage(__doc__.splitlines()[0])
    reblur_regions(stage)
    stage.say_report()


def reblur_regions(stage: Stage) -> None:
    """Reblur every frame that stage 1 chose."""
    config, layout = stage.config.blurring, stage.layout
    if config.model == "id_blau":
        require(config.weights, "blurring.weights", "ID-Blau weights, see README.md (Published weights)")
    frames = frames_to_blur(read_regions(layout.sharp_regions, stage.videos))
    kept = Kept(stage.world.memory_share(stage.config.runtime.cache_gib))
    conditions, reader = Conditions(layout, kept), FrameReader(stage.videos, kept)
    if not (layout.dbcgm / SETTINGS).exists():
        raise UserError(f"{layout.dbcgm}: no blur conditions; {HINT}")
    check_window(config, conditions, frames, stage.videos)
    stage.claim(layout.blurring, depends_on(stage.config, layout, stage.precision), WORK)
    # Frames with crops of like size are neighbours in this order and share batches.
    frames.sort(key=lambda frame: sorted((b[2] - b[0], b[3] - b[1]) for b in frame.boxes))
    units = unfinished(
        groups(frames, config.batch_size),
        lambda unit: all(layout.reblurred(*frame.key).exists() for frame in unit),
        stage.world,
    )
    measured = measure_kernels(stage, layout, reader, WORK) if config.model == "measured" else None
    if units:
        with stage.timed(WORK):
            reblur(stage, units, reader, conditions, measured)
    stage.world.barrier()
    stage.say(f"stage 3: {len(frames)} frames reblurred -> {layout.blurring}")


def depends_on(config: Config, layout: Layout, precision: str) -> dict[str, Any]:
    """What the results depend on. precision: as `Stage.precision` words it."""
    unread = ("gamma",) if config.blurring.model == "id_blau" else ONLY_ID_BLAU
    return {
        "blurring": section_settings(config.blurring, without=unread),
        "sharp_regions": sha256(layout.sharp_regions),
        "dbcgm": sha256(layout.dbcgm / SETTINGS),
        "seed": config.runtime.seed,
        "precision": precision,
    }


def reblur(
    stage: Stage,
    units: list[list[Frame]],
    reader: FrameReader,
    conditions: Conditions,
    measured: Measured | None,
) -> None:
    """Blur the units' frames and write the pictures."""
    config, runtime, layout = stage.config.blurring, stage.config.runtime, stage.layout
    model = load_model(config, stage.world, runtime.precision, runtime.compile)
    test = DirectionTest(model, runtime.seed, stage.say) if config.model == "id_blau" else None
    split = Splitter("blurring.batch_size", stage.say)
    work = [
        part
        for unit in units
        for part in portions(unit, config, reader, conditions, layout.sharp_regions, runtime.seed, measured)
    ]
    # One thread each: parallel portions would all be in memory, and files have to appear in order.
    threads = min(1, runtime.workers)
    made = prefetch(lambda part: part(), work, threads, waiting=1)
    with Writer(threads, waiting=2) as writer:
        for some in stage.progress(made, "stage 3, reblurring", "batch", len(work)):
            if test is not None:
                test(some.patches)
            canvases = blurred_pictures(some.patches, model, config, runtime.seed, split)
            write_portion(some, canvases, config, layout, writer)


if __name__ == "__main__":
    run(main)
