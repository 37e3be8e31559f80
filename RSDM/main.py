"""Stage 1, RSDM (Relative Sharpness Detection Module): where is this video sharp?

Reads    <dataset.root>/<video>/Blur/RGB/<frame>.png
Writes   <output>/rsdm/magnitude/<video>/<frame>.npy   float32 (H, W), BME's raw output (pixels / 205)
         <output>/rsdm/score/<video>/<frame>.npy       float32 (H, W), with a custom score (rsdm.score)
         <output>/rsdm/mask/<video>/<frame>.png        255 = sharp, at the video's threshold (not with
                                                       rsdm.patches random, which has none)
         <output>/rsdm/sharp_regions.json              the chosen boxes, and each video's threshold
Usage    python RSDM/main.py --config configs/demo.yaml
         torchrun --nproc_per_node=2 RSDM/main.py --config configs/demo.yaml
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import numpy as np
import torch

from common.config import RsdmConfig
from common.errors import UserError
from common.images import open_array, write_array, write_image
from common.layout import Layout
from common.runtime.background import Writer, prefetch
from common.runtime.distributed import compiled, place
from common.runtime.entry import run
from common.runtime.inputs import with_unused
from common.runtime.memory import Splitter
from common.runtime.seeding import derive_seed
from common.stage import Stage, autocast, groups, open_stage, section_settings, unfinished
from common.videos import FrameReader, Video
from RSDM.ablation import random_regions
from RSDM.choice import kept_choice, why_left_out, why_none, write_choice
from RSDM.estimators import check_weights, load_estimator, load_score, scored
from RSDM.magnitude import estimate, with_moving_neighbours
from RSDM.regions import search_threshold

WORK = "stage 1, RSDM"
REMAKE = "python RSDM/main.py --overwrite makes it again"


class NoRegion(UserError):
    """No video has a sharp region, so there is nothing to learn from."""


def main() -> None:
    """Run stage 1 with the settings of the command line."""
    stage = open_stage(__doc__.splitlines()[0])
    find_sharp_regions(stage)
    stage.say_report()


def find_sharp_regions(stage: Stage) -> None:
    """Magnitude maps of all frames, then each video's threshold, masks and boxes. Raises NoRegion where no
    video has a region."""
    config, layout = stage.config.rsdm, stage.layout
    check_weights(config)
    inputs = stage.inputs()

    def has_map(video: str, frame: str) -> bool:
        # The recorded names are those of a group (<video>/blurry) and of a file.
        return layout.magnitude(str(Path(video).parent), Path(frame).stem).exists()

    def amend(before: Any) -> Any:
        if layout.sharp_regions.exists() or not isinstance(before, dict):
            return before
        return before | {"dataset": with_unused(before.get("dataset"), inputs, has_map)}

    stage.claim(
        layout.rsdm,
        {
            "rsdm": section_settings(config),
            "dataset": inputs,
            "precision": stage.precision,
            "seed": stage.config.runtime.seed,
        },
        WORK,
        amend,
    )
    kept = finished_choice(layout, config, stage.videos) if stage.world.main else None
    choice = stage.world.gather(kept)[0]
    if choice is None:
        # Without a region the work counts for nothing: NoRegion has to come from within.
        with stage.timed(WORK):
            make_choice(stage)
    elif stage.world.main:
        say_choice(stage, choice)
    stage.world.barrier()


def make_choice(stage: Stage) -> None:
    """Make what is missing of the maps, choose the regions, and write and say what was chosen."""
    config, layout = stage.config.rsdm, stage.layout
    estimate_magnitudes(stage)
    stage.world.barrier()
    own = [
        choose_regions(layout, config, stage.config.runtime.seed, video)
        for video in stage.world.share(stage.videos)
    ]
    results = {row["video"]: row for rows in stage.world.gather(own) for row in rows}
    choice = choice_of(stage.config.dataset.root.resolve().name, stage.videos, results)
    if stage.world.main:
        if choice["sharp_regions"]:
            write_choice(layout.sharp_regions, choice)
        say_choice(stage, choice)


def finished_choice(layout: Layout, config: RsdmConfig, videos: list[Video]) -> dict | None:
    """The content of sharp_regions.json where an earlier run came to its end and all of its files are there;
    None where there is something to do."""
    kinds = [layout.magnitude]
    kinds += [layout.score] if has_own_score(config) else []
    kinds += [layout.mask] if config.patches != "random" else []
    whole = all(
        place(video.name, name).exists() for place in kinds for video in videos for name in video.names
    )
    return kept_choice(layout.sharp_regions, videos) if whole else None


def estimate_magnitudes(stage: Stage) -> None:
    """Run BME once on every frame whose map is not there yet."""
    units = [
        (video, batch)
        for video in stage.videos
        for batch in groups(list(range(len(video.frames))), stage.config.rsdm.batch_size)
    ]
    layout = stage.layout
    missing = unfinished(
        units,
        lambda unit: all(layout.magnitude(*unit[0].at(position)).exists() for position in unit[1]),
        stage.world,
    )
    if not missing:
        return
    config, runtime = stage.config.rsdm, stage.config.runtime
    network, score = load_estimator(config), load_score(config)
    network = compiled(place(network, stage.world.device).eval(), runtime.compile)

    def write(video: Video, batch: list[int], frames: np.ndarray, maps: np.ndarray) -> None:
        for position, frame, magnitude in zip(batch, frames, maps):
            if has_own_score(config):
                own = scored(score, config.score, frame, magnitude)
                write_array(layout.score(*video.at(position)), own)
            # Last, because a frame counts as done when this one exists.
            write_array(layout.magnitude(*video.at(position)), magnitude)

    reader = FrameReader(stage.videos)
    read, split = (
        prefetch(
            lambda unit: np.stack([reader.read(unit[0], position) for position in unit[1]]),
            missing,
            runtime.workers,
        ),
        Splitter("rsdm.batch_size", stage.say),
    )
    with Writer(runtime.workers) as writer:
        for (video, batch), frames in stage.progress(
            zip(missing, read), "stage 1, blur magnitude", "batch", len(missing)
        ):
            with torch.inference_mode(), autocast(stage.world, runtime.precision):
                maps = split(lambda part: estimate(network, part, stage.world.device), frames)
            writer(write, video, batch, frames, maps)


def has_own_score(config: RsdmConfig) -> bool:
    """Whether regions are chosen by a custom score. The published score is the magnitude map itself."""
    return config.score != "magnitude"


def choose_regions(layout: Layout, config: RsdmConfig, seed: int, video: Video) -> dict:
    """The video's threshold and boxes, and its masks on disk. A video too small for any box has none."""
    # Mapped from disk: the maps of a long video in high resolution do not fit into memory.
    maps = read_maps([layout.magnitude(video.name, name) for name in video.names])
    scores = maps
    if has_own_score(config):
        scores = read_maps([layout.score(video.name, name) for name in video.names])
    eligible = with_moving_neighbours(
        maps, range(config.border, len(maps) - config.border), config.min_neighbour_motion
    )
    target = max(config.min_regions, int(len(maps) * config.ratio))
    seed = derive_seed(seed, "regions", video.name)
    if config.patches == "random":
        regions = random_regions(len(eligible), maps[0].shape, target, config.min_size, seed)
        threshold, found = None, sum(map(len, regions))
    else:
        chosen = search_threshold(
            [scores[index] for index in eligible],
            target,
            config.min_size,
            config.initial_threshold,
            seed=seed,
        )
        regions, threshold, found = chosen.regions, chosen.threshold, chosen.found
        write_masks([layout.mask(video.name, name) for name in video.names], scores, threshold)
    boxes = [
        (video.names[index], box) for index, found_there in zip(eligible, regions) for box in found_there
    ]
    return {
        "video": video.name,
        "threshold": threshold,
        "target": target,
        "found": found,
        "boxes": boxes,
    }


def read_maps(paths: list[Path]) -> list[np.ndarray]:
    """A video's maps of one kind (H, W); UserError where one is missing or of another size."""
    maps = [open_array(path, 2, REMAKE, finite=True) for path in paths]
    for path, found in zip(paths, maps):
        if found.shape != maps[0].shape:
            raise UserError(
                f"{path}: is {found.shape}, the map of the video's first frame {maps[0].shape}; {REMAKE}"
            )
    return maps


def write_masks(paths: list[Path], scores: list[np.ndarray], threshold: float) -> None:
    """The masks of all frames that are not there yet."""
    for path, score in zip(paths, scores):
        if not path.exists():
            write_image(path, np.where(score < threshold, 255, 0).astype(np.uint8))


def choice_of(dataset: str, videos: list[Video], results: dict[str, dict]) -> dict:
    """The content of sharp_regions.json, from what `choose_regions` found in each video of the data set."""
    regions, thresholds = [], {}
    for video in videos:
        row = results[video.name]
        thresholds[video.name] = {key: row[key] for key in ("threshold", "target", "found")}
        for frame, box in row["boxes"]:
            regions.append(
                {
                    # The released stage 4 takes the names of data set and video from it.
                    "path": f"{dataset}/test/{video.name}/ori/{frame}.png",
                    "bbox": [int(side) for side in box],
                    "video": video.name,
                    "frame": frame,
                }
            )
    return {"sharp_regions": regions, "videos": thresholds}


def say_choice(stage: Stage, choice: dict) -> None:
    """Say what was found, and which videos are left out. Raises NoRegion where all are."""
    config, regions = stage.config.rsdm, choice["sharp_regions"]
    kept = {region["video"] for region in regions}
    for video in stage.videos:
        if video.name not in kept:
            size = open_array(stage.layout.magnitude(video.name, video.names[0]), 2, REMAKE).shape
            target = choice["videos"][video.name]["target"]
            stage.say(f"{video.name}: left out, {why_left_out(config, target, len(video.frames), size)}")
    if not regions:
        wanted = any(row["target"] for row in choice["videos"].values())
        raise NoRegion(why_none(config, wanted, max(len(video.frames) for video in stage.videos)))
    frames = len({(region["video"], region["frame"]) for region in regions})
    stage.say(
        f"stage 1: {len(regions)} sharp regions in {frames} frames of {len(stage.videos)} videos -> "
        f"{stage.layout.sharp_regions}"
    )


if __name__ == "__main__":
    run(main)
