"""The four stages on a clip's shots, with a fallback where adaptation has nothing to learn from or does
harm."""

from pathlib import Path

from BlurringModel.main import reblur_regions
from common.checkpoints import load_checkpoint
from common.layout import ADAPTED, BASELINE, BEST, LAST
from common.regions_file import Region, read_regions
from common.stage import Stage
from DBCGM.main import make_conditions
from DeblurringModel.borrowing import borrow
from DeblurringModel.deblur_finetune_DDP import finetune
from DeblurringModel.deblur_inference import infer
from DeblurringModel.evaluation import sanity_problems
from DeblurringModel.fused import around, fuse
from DeblurringModel.pairs import NothingToLearn
from DeblurringModel.variants import network_layout
from RSDM.main import NoRegion, find_sharp_regions
from scripts.video.estimate import seconds_left

Positions = dict[str, list[int]]
PREVIEW_FRAMES = 10


def adapt_and_restore(stage: Stage, preview: bool) -> tuple[dict[str, Path], list[str]]:
    """Adapt the network to all shots, restore them, borrow from their sharp moments: (shot -> folder with its
    restored frames, messages to the user).

    preview: restore PREVIEW_FRAMES frames only. Of the unadapted network's result, which the report compares
    with, that many are made as well.
    """
    shown, notes = preview_positions(stage), []
    wanted = shown if preview else None
    reason = learn(stage, sum(map(len, shown.values())) if preview else frame_count(stage))
    if reason is not None:
        notes.append(f"{reason}: the unadapted network's result is delivered")
        stage.say(notes[0])
        folder = infer(stage, BASELINE, wanted)
        restored = {video.name: folder / video.name for video in stage.videos}
    else:
        restored = adapted_result(stage, shown, preview, notes)
    if stage.config.deblurring.fusion == "aligned":
        restored = with_borrowed(stage, restored, wanted, notes)
    return restored, notes


def adapted_result(stage: Stage, shown: Positions, preview: bool, notes: list[str]) -> dict[str, Path]:
    """Shot -> folder with its frames as the adapted network restores them, or the unadapted one where that
    is sounder. Messages to the user are added to `notes`."""
    wanted = shown if preview else None
    baseline, adapted = infer(stage, BASELINE, shown), infer(stage, ADAPTED, wanted)
    found = {} if preview else sanity_problems(stage, adapted)
    for video, problems in found.items():
        notes.append(
            f"{video}: the adapted result {'; '.join(problems)}: the unadapted network's is delivered"
        )
        stage.say(notes[-1])
    if found:
        infer(
            stage,
            BASELINE,
            {
                video.name: range(len(video.frames)) if video.name in found else shown[video.name]
                for video in stage.videos
            },
        )
    if kept_unadapted(stage):
        notes.append(
            "no adapted state was better on the held-out pairs than the unadapted network, which was used"
        )
    return {video.name: (baseline if video.name in found else adapted) / video.name for video in stage.videos}


def with_borrowed(
    stage: Stage,
    restored: dict[str, Path],
    wanted: Positions | None,
    notes: list[str],
) -> dict[str, Path]:
    """Shot -> folder with its frames, what its own sharp moments show laid over the network's result in
    `restored`; that result alone where the two together look unsound. Adds to `notes`."""
    borrow(stage, around(stage, wanted))
    fused = fuse(stage, restored, wanted)
    found = {} if wanted is not None else sanity_problems(stage, fused)
    for video, problems in found.items():
        notes.append(f"{video}: with what was borrowed {'; '.join(problems)}: delivered without it")
        stage.say(notes[-1])
    return {name: folder if name in found else fused / name for name, folder in restored.items()}


def learn(stage: Stage, restored: int) -> str | None:
    """Stages 1 to 3 and the fine-tuning; the reason, as text, where there is nothing to learn from."""
    try:
        find_sharp_regions(stage)
    except NoRegion as error:
        return str(error)
    regions = read_regions(stage.layout.sharp_regions, stage.videos)
    if stage.config.deblurring.select == "best_pairs" and len(set(regions)) < 2:
        return "one sharp region, too few to learn from some and judge by others"
    announce(stage, regions, restored)
    make_conditions(stage)
    reblur_regions(stage)
    try:
        finetune(stage)
    except NothingToLearn as error:
        return str(error)
    return None


def announce(stage: Stage, regions: list[Region], restored: int) -> None:
    """Print the remaining steps and their estimated time; nothing where the fine-tuning had begun before."""
    if any(network_layout(stage.config).weights.glob(f"**/{LAST}")):
        return
    parts = seconds_left(stage, regions, restored)
    total = sum(parts.values())
    stage.say(
        f"{frame_count(stage)} frames in {len(stage.videos)} shots, {len(regions)} sharp regions; about "
        f"{duration(total)} to go ({', '.join(f'{name} {duration(seconds)}' for name, seconds in parts.items())})"
    )


def duration(seconds: float) -> str:
    """Seconds, minutes or hours as text, as precise as the estimate is."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def frame_count(stage: Stage) -> int:
    """Frames of all shots."""
    return sum(len(video.frames) for video in stage.videos)


def preview_positions(stage: Stage) -> Positions:
    """PREVIEW_FRAMES frames (all of fewer) spread evenly over all shots, by the name of the shot."""
    places = [(video.name, position) for video in stage.videos for position in range(len(video.frames))]
    count = min(PREVIEW_FRAMES, len(places))
    chosen: Positions = {video.name: [] for video in stage.videos}
    for index in range(count):
        name, position = places[(2 * index + 1) * len(places) // (2 * count)]
        chosen[name].append(position)
    return chosen


def kept_unadapted(stage: Stage) -> bool:
    """Whether deblurring.select best_pairs ended with the unadapted network."""
    best = list(network_layout(stage.config).weights.glob(f"**/{BEST}"))
    return stage.config.deblurring.select == "best_pairs" and all(
        load_checkpoint(path)["step"] == 0 for path in best
    )
