"""Deblur your own clip: adapt the network to it and restore all of its frames.

CLIP is a video file or a folder of images, or several of either, to which one network is adapted together.
The results of `clip.mp4` are written to the folder `clip_deblurred` below the current one: clip.mp4 (for
images the folder restored/clip), all intermediate results, and report.html. A run that was stopped goes
on with the same command.

Reads    the clips; a configuration (default configs/video.yaml: the bundled small networks)
Writes   <folder>/<name>.mp4 for each video file, <folder>/restored/<name>/<image>.png for each folder of
         images, or with --out FILE.mp4 (.mov, .mkv, .webm, .avi) that file, <folder> being FILE_files
         <folder>/clip.json, frames/ and what the four stages write; <folder>/report.html
Usage    python scripts/deblur_video.py holiday.mp4
         python scripts/deblur_video.py frames/ --out restored.mp4 --set deblurring.min_steps=600
"""

import argparse
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from common.config import Config, as_dict
from common.config_loader import load_config
from common.errors import UserError
from common.layout import Layout
from common.runtime import distributed
from common.runtime.command_line import add_config_options
from common.runtime.entry import run
from common.runtime.memory import peak_memory
from common.stage import section_settings, stage_of
from DeblurringModel.checks import BY_GROUND_TRUTH
from scripts.check_settings import check_settings as check_all
from scripts.evaluation.runner import ROOT, assign
from scripts.report import make_report
from scripts.video.adaptation import PREVIEW_FRAMES, adapt_and_restore
from scripts.video.delivery import deliver
from scripts.video.place import Place
from scripts.video.preparation import Clip, note, prepare
from scripts.video.sources import IMAGES_FPS, open_source

MIN_FPS, MAX_FPS = 0.001, 100000.0


def main() -> None:
    """Read the clips, adapt, restore, deliver."""
    started, options = time.perf_counter(), parse()
    check_settings(options)
    sources = [open_source(path) for path in options.clips]
    for source in sources:
        source.fps, source.keep_going = options.fps, options.keep_going
    place = Place(options.out, sources)
    if options.overwrite:
        place.empty()
    clips = prepare(sources, place.folder)
    place.check(clips)
    describe(clips)
    overrides = [
        *options.overrides,
        assign("dataset.root", Layout(place.folder).frames),
        # A shot may be of any length.
        "dataset.min_frames=1",
        assign("output", place.folder),
    ]
    config = load_config(Config, options.config, overrides)
    settings = {
        name: section_settings(getattr(config, name)) for name in ("rsdm", "dbcgm", "blurring", "deblurring")
    }
    settings |= {"runtime": as_dict(config.runtime)}
    if not options.preview and place.done(clips, settings):
        print("done already: " + ", ".join(map(str, place.results(clips))))
        return
    stage = stage_of(config, argparse.Namespace(overwrite=False))
    restored, notes = adapt_and_restore(stage, options.preview)
    if not options.preview:
        place.begin(clips)
        for clip, target in zip(clips, place.results(clips)):
            notes += [f"{clip.name}: {words}" for words in deliver(clip, restored, target, place.folder)]
            print(f"{clip.name}: {clip.frames} frames -> {target}", flush=True)
        place.finish(clips, settings)
    note(place.folder, clips, notes)
    for words in notes:
        print(words)
    print(f"report: {make_report(place.folder, Layout(place.folder).report)}")
    peak = peak_memory(stage.world.device)
    print(
        f"took {time.perf_counter() - started:.0f} s"
        + ("" if peak is None else f", peak memory {peak:.2f} GiB")
    )


def check_settings(options: argparse.Namespace) -> None:
    """UserError for settings with which no clip could be delivered, before anything is read."""
    config = load_config(Config, options.config, options.overrides)
    if distributed.start(config.runtime.device).size > 1:
        raise UserError("scripts/deblur_video.py runs as one process; start it without torchrun")
    if config.deblurring.borders == "drop":
        raise UserError(
            "deblurring.borders: drop leaves out the first and last frames, a clip comes back whole; "
            "set mirror, or use configs/video_published.yaml"
        )
    if config.deblurring.select in BY_GROUND_TRUTH or config.deblurring.pairs == "ground_truth":
        raise UserError(
            f"deblurring.select: {config.deblurring.select}, deblurring.pairs: {config.deblurring.pairs}: a clip "
            "has no ground truth; use best_pairs or last, and reblurred"
        )
    check_all(config)


def parse() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "clips", type=Path, nargs="+", metavar="CLIP", help="a video file or a folder of images"
    )
    parser.add_argument("--out", type=Path, default=None, help="a video file (for one clip), or the folder")
    add_config_options(
        parser,
        "settings and weights",
        ROOT / "configs" / "video.yaml",
        overwrite="remove what an earlier run wrote and start again",
    )
    parser.add_argument(
        "--preview",
        action="store_true",
        help=f"adapt, but restore {PREVIEW_FRAMES} frames only, for the report; a run without it goes on",
    )
    parser.add_argument(
        "--fps",
        type=float,
        default=IMAGES_FPS,
        help=f"frames per second of a folder of images (default {IMAGES_FPS:g}; a video keeps its own)",
    )
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="deliver what is left of a damaged video file; without it such a file is refused",
    )
    # A clip's name may begin with a dash.
    options = parser.parse_args(
        [f"./{word}" if word.startswith("-") and Path(word).exists() else word for word in sys.argv[1:]]
    )
    if not (math.isfinite(options.fps) and MIN_FPS <= options.fps <= MAX_FPS):
        raise UserError(f"--fps: expected a number from {MIN_FPS:g} to {MAX_FPS:g}, found {options.fps}")
    return options


def describe(clips: list[Clip]) -> None:
    """Say what was read."""
    for clip in clips:
        rate = f"{clip.film.rate:.2f}".rstrip("0").rstrip(".")
        print(f"{clip.name}: {clip.frames} frames of {clip.width} x {clip.height}, {rate} a second")
        for words in clip.notes:
            print(f"{clip.name}: {words}")
    sys.stdout.flush()


if __name__ == "__main__":
    run(main)
