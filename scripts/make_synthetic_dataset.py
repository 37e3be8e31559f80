r"""Render a data set of blurry videos with exact ground truth, from photographs or from video frames.

Reads    --content: folders of images (one still per clip) and video files (their frames in turn)
Writes   OUT/<video>/Blur/RGB/<frame>.png       blurry frame
         OUT/<video>/Sharp/RGB/<frame>.png      the same moment, sharp (mid-exposure, without noise)
         OUT/<video>/Condition/<frame>.npy      float32 (3, H, W): unit direction x, y, path length in pixels
         OUT/preview.png                        one row a clip: blurry, sharp, magnitude, direction
         OUT/dataset.json                       how it was made
Usage    python scripts/make_synthetic_dataset.py --preset source --clips 200 --out data/source
         python scripts/make_synthetic_dataset.py --preset real --clips 16 --frames 6 --frame-width 640 \
             --lengths 8 40 --seed 4 --content person.mp4 bigbuckbunny.mp4 cars.mp4 --out data/real_val
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import cv2
import numpy as np
from tqdm import tqdm

from common.errors import UserError
from common.images import read_image, write_array, write_image
from common.rendering.clips import render_clip
from common.rendering.condition_view import condition_picture, magnitude_picture
from common.rendering.content import IMAGES, Still, find_content, stills_of
from common.rendering.presets import PRESETS
from common.rendering.real import LENGTHS, render_real
from common.runtime import interrupts
from common.runtime.entry import run
from common.runtime.files import read_json, remove_leftovers, write_json
from common.runtime.locks import hold
from common.runtime.seeding import numpy_generator
from scripts.video.reading import VideoReader
from scripts.video.scan import scan

REAL = "real"
BUNDLED = Path(__file__).resolve().parents[1] / "assets" / "footage"


def main() -> None:
    """Parse the command line, render what is not there yet, and draw the preview."""
    options = parse()
    settings = {
        "preset": options.preset,
        "clips": options.clips,
        "frames": options.frames,
        "size": options.size,
        "seed": options.seed,
        "moving_content": options.moving,
        "content": content_names(options.content),
    }
    if options.preset == REAL:
        settings |= {"frame_width": options.frame_width, "lengths": list(options.lengths)}
        if options.sharp != "scene":
            settings["sharp"] = options.sharp
    record = options.out / "dataset.json"
    hold(options.out)
    remove_leftovers(options.out)
    if record.exists() and read_json(record) != settings:
        raise UserError(
            f"{options.out}: holds a data set made with other settings; choose another --out or delete it"
        )
    write_json(record, settings)
    sources = find_content(options.content)
    jobs = [(clip, sources, options) for clip in range(options.clips)]
    if options.jobs > 1:
        with ProcessPoolExecutor(options.jobs, initializer=interrupts.follow_parent) as pool:
            try:
                # Not pool.map: when that is left it cancels what waits, and Python 3.11's pool trips over
                # cancelled work when its processes end.
                made = [pool.submit(make_clip, *job) for job in jobs]
                rows = [clip.result() for clip in tqdm(made, desc="clips", unit="clip")]
            except BaseException:
                # Or their clips would first be finished.
                for worker in multiprocessing.active_children():
                    worker.terminate()
                raise
    else:
        rows = [make_clip(*job) for job in tqdm(jobs, desc="clips", unit="clip")]
    write_image(options.out / "preview.png", np.concatenate(rows[:12]))
    print(
        f"{options.clips} clips of {options.frames} frames in {options.out}; look at "
        f"{options.out / 'preview.png'}"
    )


def parse() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=sorted([*PRESETS, REAL]), required=True, help="domain to render")
    parser.add_argument("--clips", type=int, default=4, help="number of videos")
    parser.add_argument("--frames", type=int, default=12, help="frames a video")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(320, 224), metavar=("W", "H"), help="frame size"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--content",
        type=Path,
        nargs="+",
        default=[BUNDLED / "train"],
        help="image files, folders of images, video files",
    )
    parser.add_argument(
        "--moving",
        action="store_true",
        help="use successive frames of a video file as content, so that the scene moves by itself",
    )
    parser.add_argument(
        "--frame-width",
        type=int,
        metavar="W",
        help="preset real: frames are crops of frames of this width, and blurred as these (default: whole)",
    )
    parser.add_argument(
        "--lengths",
        type=float,
        nargs=2,
        default=LENGTHS,
        metavar=("LOW", "HIGH"),
        help="preset real: shortest and longest blur of frames that are not sharp, in pixels at a width of 640",
    )
    parser.add_argument(
        "--sharp",
        choices=("scene", "camera"),
        default="scene",
        help="preset real: sharp pictures as the scene was, or as the camera would have recorded them",
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same data set")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parallel processes")
    options = parser.parse_args()
    check(options)
    options.size = list(options.size)
    return options


def check(options: argparse.Namespace) -> None:
    """UserError for numbers and combinations that cannot be rendered."""
    if options.clips < 1 or options.frames < 5 or min(options.size) < 64 or options.jobs < 1:
        raise UserError("at least 1 clip, 5 frames, 64 x 64 pixels and 1 job are needed")
    if options.preset == REAL and (options.moving or options.size[0] % 2 or options.size[1] % 2):
        raise UserError("preset real: without --moving, and with an even width and height")
    stored = options.preset != REAL and PRESETS[options.preset].sensor.stored
    if stored == "h264" and (options.size[0] % 2 or options.size[1] % 2):
        raise UserError(f"preset {options.preset}: needs an even width and height, for H.264")
    if options.sharp != "scene" and options.preset != REAL:
        raise UserError("--sharp: for preset real")
    if options.frame_width and (options.preset != REAL or options.frame_width < options.size[0]):
        raise UserError("--frame-width: for preset real, and at least the width of --size")
    if not 0.5 <= options.lengths[0] <= options.lengths[1]:
        raise UserError("--lengths: expected two numbers from 0.5 on, the smaller first")


def content_names(paths: list[Path]) -> list[str]:
    """File names of all content (not their folders), as they stand in dataset.json."""
    return [path.name for path in find_content(paths)]


def make_clip(clip: int, sources: list[Path], options: argparse.Namespace) -> np.ndarray:
    """Render clip number `clip` unless it is complete, and return its preview row, uint8 (h, 4 w, 3)."""
    cv2.setNumThreads(1)
    rng = numpy_generator(options.seed, options.preset, clip)
    source = content_of(clip, sources, options)
    name = f"{clip:04d}_{source.stem}"
    folder = options.out / name
    names = [f"{frame:08d}" for frame in range(options.frames)]
    done = all((folder / "Condition" / f"{frame}.npy").exists() for frame in names)
    if not done:
        render = real_frames if options.preset == REAL else preset_frames
        for frame, (blurry, sharp, condition) in zip(names, render(clip, source, sources, options, rng)):
            write_image(folder / "Blur" / "RGB" / f"{frame}.png", blurry)
            write_image(folder / "Sharp" / "RGB" / f"{frame}.png", sharp)
            # The condition comes last: where it is, the frame is complete.
            write_array(folder / "Condition" / f"{frame}.npy", condition)
    middle = names[options.frames // 2]
    condition = np.load(folder / "Condition" / f"{middle}.npy", allow_pickle=False)
    return np.concatenate(
        [read_image(folder / kind / "RGB" / f"{middle}.png") for kind in ("Blur", "Sharp")]
        + [magnitude_picture(condition[2]), condition_picture(condition)],
        axis=1,
    )


def content_of(clip: int, sources: list[Path], options: argparse.Namespace) -> Path:
    """What clip number `clip` shows. With a varied preset that has stills and videos to choose from, every second
    clip is of a video."""
    if options.preset != REAL and PRESETS[options.preset].varied:
        stills = [path for path in sources if path.suffix.lower() in IMAGES]
        videos = [path for path in sources if path not in stills]
        if stills and videos:
            sources, clip = (videos if clip % 2 else stills), clip // 2
    order = numpy_generator(options.seed, "order").permutation(len(sources))
    return sources[order[clip % len(sources)]]


Frames = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]


def preset_frames(
    clip: int,
    source: Path,
    sources: list[Path],
    options: argparse.Namespace,
    rng: np.random.Generator,
) -> Frames:
    """Clip number `clip` of one of PRESETS: blurry and sharp uint8 (H, W, 3) and condition (3, H, W) of each
    frame."""
    preset = PRESETS[options.preset]
    moving = options.moving
    if preset.varied:
        moving = moving or (clip % 2 == 1 and source.suffix.lower() not in IMAGES)
        if clip % 3 == 2:
            preset = replace(preset, shake=replace(preset.shake, rest=0.0, rest_interval=0.0))
    pictures = load_content(source, options.frames if moving else 1, rng)
    stills = [path for path in sources if path.suffix.lower() in IMAGES] or sources
    objects = [
        load_content(stills[rng.integers(len(stills))], 1, rng)[0]
        for _ in range(rng.integers(0, preset.objects + 1))
    ]
    width, height = options.size
    if pictures[0].shape[0] > pictures[0].shape[1] and width > height:
        pictures = [np.ascontiguousarray(np.rot90(picture)) for picture in pictures]
    return render_clip(pictures, preset, options.frames, height, width, rng, objects)


def real_frames(
    _clip: int,
    source: Path,
    sources: list[Path],
    options: argparse.Namespace,
    rng: np.random.Generator,
) -> Frames:
    """As `preset_frames`, of the preset `real`."""
    width, height = options.size
    shown, others = (kept_stills(path) for path in (source, sources[rng.integers(len(sources))]))
    picture = shown[rng.integers(len(shown))]
    clip = render_real(
        [*shown, *others],
        options.frames,
        height,
        width,
        rng,
        options.frame_width or width,
        tuple(options.lengths),
        picture,
        options.sharp,
    )
    for frame in range(options.frames):
        yield clip.blurry[frame], clip.sharp[frame], clip.condition(frame)


@cache
def kept_stills(path: Path) -> list[Still]:
    """An image or the stills of a video, read once."""
    return stills_of(path)


def load_content(source: Path, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`count` pictures of an image file (repeated) or successive frames of a video file from a random
    start."""
    if source.suffix.lower() in IMAGES:
        return [read_image(source)] if count == 1 else [read_image(source)] * count
    total = len(scan(source).expected)
    start = int(rng.integers(0, max(1, total - count)))
    # Decoding from the start: seeking by frame number is not exact in every container.
    frames = list(islice(VideoReader(source).pictures(), start, start + count))
    if len(frames) < count:
        raise UserError(
            f"{source}: {len(frames)} of the {count} frames from number {start} on can be decoded; "
            "use a longer video or fewer --frames"
        )
    return frames


if __name__ == "__main__":
    run(main)
