"""Stage 3, ID-Blau: blur the sharp regions the way their video blurs.

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png, <output>/rsdm/sharp_regions.json, <output>/dbcgm/condition
         (and <output>/dbcgm/motion with blurring.window moved)
Writes   <output>/blurring/<video>/ori/<frame>.png      the frame as it is
         <output>/blurring/<video>/reblur/<frame>.png   its regions (or all of it) blurred
         <output>/blurring/<video>/flow/<frame>.png     the condition as a colour wheel
         <output>/blurring/<video>/window/<frame>/<copy>/<0..4>.png
                                                        all five frames of a window (blurring.window all or
                                                        moved)
         <output>/blurring/<video>/target/<frame>.png   the frame, its regions without noise (blurring.clean_target)
Usage    python BlurringModel/main.py --config configs/demo.yaml
         torchrun --nproc_per_node=2 BlurringModel/main.py --config configs/demo.yaml
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import environment, interrupts

if __name__ == "__main__":
    environment.require()
    interrupts.end_at_once()

import numpy as np
import torch

from BlurringModel.id_blau.dataset import normalise_condition
from BlurringModel.id_blau.diffusion import GaussianDiffusion
from BlurringModel.id_blau.unet import UNet
from BlurringModel.moments import REACH, kept_still, moments, moved, moving_condition, patch_motion, poses
from BlurringModel.noise import noise_level, with_noise_of, without_noise
from BlurringModel.windows import Box, context_window, merge_overlapping, window_draws
from common.checkpoints import load_state, load_state_into, sha256, stored_entry
from common.condition_view import condition_picture
from common.config import BlurringConfig, require
from common.errors import UserError
from common.images import on_device, pad_to_multiple, read_array, read_image, to_image, to_tensor, write_image
from common.regions_file import Region, by_frame, read_regions
from common.runtime.background import Writer, ahead
from common.runtime.distributed import compiled, place
from common.runtime.entry import run
from common.runtime.files import read_json
from common.runtime.memory import Splitter
from common.runtime.seeding import derive_seed, numpy_generator
from common.stage import Stage, autocast, groups, open_stage, section_settings, unfinished
from common.videos import Video
from common.weights_keys import bare

WORK = "stage 3, ID-Blau"
HINT = "run python DBCGM/main.py first"
MOST_TIMESTEPS = 100_000
"""Steps of a noise schedule in a file; the published one has 2000."""
COPIES_TOGETHER = 8
"""Made-up windows of a frame that are in memory together, about."""


@dataclass(frozen=True)
class Frame:
    """A frame to reblur: its place in its video, and the boxes wanted (merged where they overlap)."""

    video: Video
    position: int
    boxes: tuple[Box, ...]

    @property
    def name(self) -> str:
        """The frame's name without ending."""
        return self.video.names[self.position]


@dataclass(frozen=True, eq=False)
class Shot:
    """One box of one picture to be blurred: picture number `index` (0 .. 4, the middle one is 2) of the
    frame's window number `copy`. image: uint8 RGB (H, W, 3), the whole frame; condition: gives float32 (3, H,
    W). noise: deviation the result is to have, in grey levels. still: the same as image with its own noise,
    where blurring.keep_still asks for it.
    target: the whole frame that the box was cut from without its noise, where blurring.clean_target asks for
    it."""

    frame: Frame
    copy: int
    index: int
    box: Box
    image: np.ndarray
    condition: Callable[[], np.ndarray]
    noise: float
    still: np.ndarray | None = None
    target: np.ndarray | None = None


def main() -> None:
    """Stage 3 as the command line asks for it."""
    stage = open_stage(__doc__.splitlines()[0])
    reblur_regions(stage)
    stage.say_report()


def reblur_regions(stage: Stage) -> None:
    """Reblur every frame that stage 1 chose."""
    config, folder = stage.config.blurring, stage.output / "blurring"
    require(config.weights, "blurring.weights", "ID-Blau weights, see README.md (Published weights)")
    regions_path = stage.output / "rsdm" / "sharp_regions.json"
    frames = frames_to_blur(read_regions(regions_path, stage.videos))
    condition_settings = stage.output / "dbcgm" / "settings.json"
    if not condition_settings.exists():
        raise UserError(f"{condition_settings.parent}: no blur conditions; {HINT}")
    check_window(stage, frames)
    stage.claim(
        folder,
        {
            "blurring": section_settings(config),
            "sharp_regions": sha256(regions_path),
            "dbcgm": sha256(condition_settings),
            "seed": stage.config.runtime.seed,
            "precision": stage.precision,
        },
        WORK,
    )
    # Frames with windows of like size are neighbours in this order and share batches.
    frames.sort(key=lambda frame: sorted((b[2] - b[0], b[3] - b[1]) for b in frame.boxes))
    units = unfinished(
        groups(frames, config.batch_size),
        lambda unit: all(picture(folder, "reblur", frame).exists() for frame in unit),
        stage.world,
    )
    if units:
        with stage.timed(WORK):
            network, workers = load_network(stage), stage.config.runtime.workers
            split = Splitter("blurring.batch_size", stage.say)
            work = [part for unit in units for part in parts(stage, unit)]
            # One thread each: portions made side by side would all be in memory, and files have to appear in
            # order.
            made = ahead(lambda part: part(), work, min(1, workers), waiting=1)
            with Writer(min(1, workers), waiting=2) as writer:
                for some in stage.progress(made, "stage 3, reblurring", "batch", len(work)):
                    reblur(stage, network, folder, some, writer, split)
    stage.world.barrier()
    stage.say(f"stage 3: {len(frames)} frames reblurred -> {folder}")


def frames_to_blur(regions: list[Region]) -> list[Frame]:
    """Each frame once, with all its boxes."""
    return [
        Frame(found[0].video, position, tuple(merge_overlapping([region.box for region in found])))
        for (_, position), found in by_frame(regions).items()
    ]


def check_window(stage: Stage, frames: list[Frame]) -> None:
    """UserError where blurring.window needs what stage 2 has not made, before any work is done."""
    config = stage.config.blurring
    if config.copies > 1 and config.window != "moved":
        raise UserError(f"blurring.copies: more than 1 needs blurring.window moved, found {config.window}")
    if config.clean_target and not (config.window == "moved" and config.match_noise):
        raise UserError(
            "blurring.clean_target: needs blurring.window moved and blurring.match_noise, found "
            f"{config.window} and {str(config.match_noise).lower()}"
        )
    for frame in frames if config.window == "all" else ():
        for position in range(frame.position - REACH, frame.position + REACH + 1):
            if not (
                0 <= position < len(frame.video.frames)
                and array_path(stage, "condition", frame.video, position).exists()
            ):
                raise UserError(
                    "blurring.window: all needs the condition of every frame of a window, "
                    f"{frame.video.name}/{frame.name} lacks some; set dbcgm.frames to all and rsdm.border to "
                    "3 (4 with dbcgm.trajectory five_frame), and run the stages before again"
                )
    if config.window == "moved":
        check_complete(stage)
    for video in dict.fromkeys(frame.video for frame in frames) if config.window == "moved" else ():
        if not moments_of(stage, video):
            raise UserError(
                "blurring.window: moved needs five successive frames with condition and motion, "
                f"{video.name} has none; set dbcgm.frames to all and dbcgm.motion to true (a video needs 7 "
                "frames, 9 with dbcgm.trajectory five_frame), and run python DBCGM/main.py again"
            )


def check_complete(stage: Stage) -> None:
    """UserError where stage 2 has not come to its end: which moments there are to draw from must not depend
    on that."""
    path = stage.output / "dbcgm" / "settings.json"
    made = read_json(path)
    settings = made.get("dbcgm", {}) if isinstance(made, dict) else {}
    if not isinstance(settings, dict) or settings.get("frames") != "all":
        return
    first = 1 if settings.get("trajectory") == "central" else 2
    for video in stage.videos:
        for position in range(first, len(video.frames) - first):
            if not array_path(stage, "condition", video, position).exists():
                raise UserError(
                    f"{array_path(stage, 'condition', video, position)}: missing, stage 2 has not come to its end; "
                    "run python DBCGM/main.py again"
                )


def picture(folder: Path, kind: str, frame: Frame) -> Path:
    """Where a frame's picture of the kind ori, target, reblur or flow lies."""
    return folder / frame.video.name / kind / f"{frame.name}.png"


def array_path(stage: Stage, kind: str, video: Video, position: int) -> Path:
    """Where stage 2's array of a frame lies; kind: condition or motion."""
    return stage.output / "dbcgm" / kind / video.name / f"{video.names[position]}.npy"


def load_network(stage: Stage) -> GaussianDiffusion:
    """ID-Blau with its weights; the schedule is the one stored with them."""
    config = stage.config.blurring
    state = bare(load_state(config.weights))
    if "betas" not in state:
        raise UserError(f"{config.weights}: holds no ID-Blau (its noise schedule `betas` is missing)")
    betas = state["betas"]
    if (
        betas.ndim != 1
        or not 2 <= len(betas) <= MOST_TIMESTEPS
        or not betas.is_floating_point()
        or not ((betas >= 0) & (betas < 1)).all()
    ):
        raise UserError(
            f"{config.weights}: its noise schedule `betas` is no list of 2 to {MOST_TIMESTEPS} numbers "
            "from 0 to 1; fetch or make it again"
        )
    trained = stored_entry(config.weights, "prediction")
    if trained not in (None, config.prediction):
        raise UserError(
            f"blurring.prediction: {config.weights} was trained to predict the {trained}, found "
            f"{config.prediction}"
        )
    try:
        network = GaussianDiffusion(UNet(**config.architecture), state["betas"], config.prediction)
    except (TypeError, ValueError) as error:
        raise UserError(f"blurring.architecture: {error}") from None
    if config.sampler == "ddim" and config.steps > network.num_timesteps // 2:
        raise UserError(
            f"blurring.steps: expected at most {network.num_timesteps // 2}, found {config.steps}"
        )
    load_state_into(network, state, str(config.weights))
    place(network, stage.world.device).eval()
    compiled(network.model, stage.config.runtime.compile)
    return network


@dataclass(frozen=True)
class Portion:
    """Shots that are in memory together, and the frames' pictures as they are."""

    originals: dict[Frame, np.ndarray]
    shots: list[Shot]


def parts(stage: Stage, unit: list[Frame]) -> list[Callable[[], Portion]]:
    """What makes the portions of a unit, in order. Windows that are made up are many pictures: each frame
    alone then, and only so many of its windows together, so that memory does not grow with
    blurring.copies."""
    config = stage.config.blurring
    if config.window != "moved":
        return [partial(portion, stage, unit, range(1))]
    together = config.batch_size * max(1, COPIES_TOGETHER // config.batch_size)
    # Window 0 is in the last portion: with it comes the picture by which a frame counts as done.
    copies = groups(list(range(config.copies)), together)[::-1]
    return [partial(portion, stage, [frame], some) for frame in unit for some in copies]


def portion(stage: Stage, frames: list[Frame], copies: Sequence[int]) -> Portion:
    """Read the frames and make the shots of their windows number `copies`."""
    originals = {frame: read_image(frame.video.frames[frame.position]) for frame in frames}
    return Portion(
        originals, [shot for frame in frames for shot in shots_of(stage, frame, originals[frame], copies)]
    )


def reblur(
    stage: Stage, network: GaussianDiffusion, folder: Path, made: Portion, writer: Writer, split: Splitter
) -> None:
    """Sample the portion's shots in batches of equal size and have the pictures written."""
    config, multiple = stage.config.blurring, network.model.multiple
    canvases = {(shot.frame, shot.copy, shot.index): shot.image.copy() for shot in made.shots}
    by_size = defaultdict(list)
    for shot in made.shots:
        height, width = shot.image.shape[:2]
        padded = height + (-height) % multiple, width + (-width) % multiple
        window = (
            (0, 0, *padded) if config.area == "frame" else context_window(shot.box, config.margin, *padded)
        )
        by_size[window[2] - window[0], window[3] - window[1], padded].append((shot, window))
    for (_, _, padded), same_size in by_size.items():
        for batch in groups(same_size, config.batch_size):
            sampled = split(lambda part, padded=padded: sample(stage, network, part, padded), batch)
            for (shot, (top, left, _, _)), blurred in zip(batch, sampled):
                r0, c0, r1, c1 = shot.box
                result = blurred[r0 - top : r1 - top, c0 - left : c1 - left]
                if shot.still is not None:
                    result = kept_still(result, shot.still[r0:r1, c0:c1], shot.condition()[2, r0:r1, c0:c1])
                if config.match_noise:
                    rng = numpy_generator(stage.config.runtime.seed, "noise", *identity(shot), *shot.box)
                    result = with_noise_of(result, shot.noise, rng)
                canvases[shot.frame, shot.copy, shot.index][r0:r1, c0:c1] = result
    for frame, original in made.originals.items():
        own = {(copy, index): canvas for (of, copy, index), canvas in canvases.items() if of is frame}
        shown = [shot for shot in made.shots if (shot.frame, shot.copy, shot.index) == (frame, 0, REACH)]
        writer(
            write,
            folder,
            frame,
            own if config.window != "center" else {},
            original,
            target_picture(original, shown) if shown and config.clean_target else None,
            own.get((0, REACH)),
            shown[0].condition() if shown else None,
        )


def target_picture(original: np.ndarray, shots: list[Shot]) -> np.ndarray:
    """The frame with its boxes without noise. shots: one for each box."""
    canvas = original.copy()
    for shot in shots:
        r0, c0, r1, c1 = shot.box
        canvas[r0:r1, c0:c1] = shot.target[r0:r1, c0:c1]
    return canvas


def write(
    folder: Path,
    frame: Frame,
    windows: dict[tuple[int, int], np.ndarray],
    original: np.ndarray,
    target: np.ndarray | None,
    reblurred: np.ndarray | None,
    condition: np.ndarray | None,
) -> None:
    """Write a frame's windows, pictures by (copy, index), and where there is one its reblurred picture with
    what belongs to it."""
    for (copy, index), canvas in windows.items():
        write_image(folder / frame.video.name / "window" / frame.name / str(copy) / f"{index}.png", canvas)
    if reblurred is None or condition is None:
        return
    write_image(picture(folder, "ori", frame), original)
    if target is not None:
        write_image(picture(folder, "target", frame), target)
    write_image(picture(folder, "flow", frame), condition_picture(condition))
    # Last, because a frame counts as done when this one exists.
    write_image(picture(folder, "reblur", frame), reblurred)


def identity(shot: Shot) -> tuple[str | int, ...]:
    """What a shot's random numbers depend on, beside the seed."""
    own = shot.frame.video.name, shot.frame.name
    return own if (shot.copy, shot.index) == (0, REACH) else (*own, shot.copy, shot.index)


def shots_of(stage: Stage, frame: Frame, original: np.ndarray, copies: Sequence[int]) -> list[Shot]:
    """Everything of one frame that blurring.window wants blurred; of made-up windows those number
    `copies`."""
    config, height, width = stage.config.blurring, *original.shape[:2]
    if any(box[2] > height or box[3] > width for box in frame.boxes):
        raise UserError(
            f"{stage.output / 'rsdm' / 'sharp_regions.json'}: a box of {frame.video.name}/{frame.name} "
            f"lies outside the frame of {width} x {height} pixels"
        )
    boxes = ((0, 0, height, width),) if config.area == "frame" else frame.boxes
    if config.window == "moved":
        return moment_shots(stage, frame, original, boxes, copies)
    steps = range(-REACH, REACH + 1) if config.window == "all" else (0,)
    shots = []
    for step in steps:
        position = frame.position + step
        image = original if step == 0 else read_image(frame.video.frames[position])
        condition = fitting_array(stage, "condition", frame.video, position, (3, height, width))
        shots += [
            Shot(
                frame,
                0,
                REACH + step,
                box,
                image,
                partial(np.asarray, condition),
                measured_noise(config, image, box),
            )
            for box in boxes
        ]
    return shots


def moments_of(stage: Stage, video: Video) -> list[int]:
    """Positions of the video's moments (see BlurringModel/moments.py) that stage 2 has condition and motion
    of."""
    return moments(
        {
            position
            for position in range(len(video.frames))
            if all(array_path(stage, kind, video, position).exists() for kind in ("condition", "motion"))
        }
    )


def moment_shots(
    stage: Stage, frame: Frame, original: np.ndarray, boxes: Sequence[Box], copies: Sequence[int]
) -> list[Shot]:
    """Windows of the frame's sharp content as it would look at other moments of the video, drawn by seed.

    The content already is as blurred as its own frame, so only the difference to the moment's blur is added;
    an estimator's error that is the same for both cancels out.
    """
    config, video, size = stage.config.blurring, frame.video, original.shape[:2]
    choices, windows = moments_of(stage, video), []
    for copy in range(config.copies):
        rng = numpy_generator(stage.config.runtime.seed, "moment", video.name, frame.name, copy)
        moment = int(rng.choice(choices))
        windows.append(range(moment - REACH, moment + REACH + 1))
    # Of every moment only a few numbers are kept, because there may be as many as the video has frames. All
    # of them, not only those of `copies`, because the content's noise is judged by all.
    fields: dict[Box, dict[int, np.ndarray]] = {box: {} for box in boxes}
    noise: dict[Box, dict[int, float]] = {box: {} for box in boxes}
    for position in sorted({position for window in windows for position in window}):
        motion = fitting_array(stage, "motion", video, position, (2, *size))
        image = read_image(video.frames[position]) if config.match_noise else None
        for box in boxes:
            fields[box][position] = patch_motion(motion, box)
            noise[box][position] = measured_noise(config, image, box)
    present = fitting_array(stage, "condition", video, frame.position, (3, *size))[2]
    shots = []
    for box in boxes:
        own = float(present[box[0] : box[2], box[1] : box[3]].mean())
        content = without_noise(original, min(noise[box].values()))
        for copy in copies:
            placed = poses([fields[box][position] for position in windows[copy]])
            shots += [
                Shot(
                    frame,
                    copy,
                    index,
                    box,
                    moved(content, pose),
                    partial(moment_condition, stage, video, position, size, fields[box][position], own),
                    noise[box][position],
                    moved(original, pose) if config.keep_still else None,
                    content if config.clean_target else None,
                )
                for index, (position, pose) in enumerate(zip(windows[copy], placed))
            ]
    return shots


def moment_condition(
    stage: Stage, video: Video, position: int, size: tuple[int, int], field: np.ndarray, own: float
) -> np.ndarray:
    """The condition (3, H, W) of content that is blurred by `own` pixels already and moves by `field` at a
    moment."""
    magnitude = fitting_array(stage, "condition", video, position, (3, *size))[2]
    return moving_condition(field, np.maximum(magnitude - own, 0))


def measured_noise(config: BlurringConfig, image: np.ndarray | None, box: Box) -> float:
    """The noise level inside the box, where blurring.match_noise asks for it (`image` is not read
    otherwise)."""
    return noise_level(image[box[0] : box[2], box[1] : box[3]]) if config.match_noise else 0.0


def fitting_array(stage: Stage, kind: str, video: Video, position: int, shape: tuple[int, ...]) -> np.ndarray:
    """Stage 2's array of a frame; UserError where it is missing or has another shape than the frame."""
    path = array_path(stage, kind, video, position)
    array = read_array(path, len(shape), HINT)
    if array.shape != shape:
        raise UserError(
            f"{path}: is {array.shape}, the frame needs {shape}; run python DBCGM/main.py --overwrite"
        )
    return array


def sample(
    stage: Stage, network: GaussianDiffusion, batch: list[tuple[Shot, Box]], padded: tuple[int, int]
) -> np.ndarray:
    """Reblurred windows, uint8 RGB (B, h, w, 3), for windows of one size in frames of one padded size."""
    config, multiple = stage.config.blurring, network.model.multiple
    given = []
    for shot, (r0, c0, r1, c1) in batch:
        normalised = normalise_condition(torch.from_numpy(shot.condition()), config.magnitude_scale)
        whole = torch.cat([to_tensor(shot.image) - 0.5, normalised])
        given.append(pad_to_multiple(whole, multiple)[:, r0:r1, c0:c1])
    condition = on_device(torch.stack(given), stage.world.device)
    seeds = [derive_seed(stage.config.runtime.seed, "reblur", *identity(shot)) for shot, _ in batch]
    draw = window_draws(seeds, [window for _, window in batch], *padded)
    noise = on_device(draw(0, torch.Size((len(batch), 3, *condition.shape[2:]))), stage.world.device)
    with torch.inference_mode(), autocast(stage.world, stage.config.runtime.precision):
        if config.sampler == "ddim":
            sampled = network.ddim_sample(condition, noise, config.steps, config.eta, draw)
        else:
            sampled = network.ddpm_sample(condition, noise, draw)
    return to_image(sampled + 0.5)


if __name__ == "__main__":
    run(main)
