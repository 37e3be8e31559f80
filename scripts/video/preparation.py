"""Clips -> a data set of shots that the stages read, and a record of what came from where."""

import contextlib
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from common.errors import UserError
from common.images import write_image
from common.layout import Layout
from common.runtime import locks
from common.runtime.files import is_leftover, read_json, remove_leftovers, write_json
from scripts.video.cuts import CutDetector
from scripts.video.film import Film, film_of
from scripts.video.sources import Source

_UNFINISHED = ".frames-unfinished"
BLUR = Path("Blur") / "RGB"
FEWEST = 5
"""Frames a clip needs: a window is five."""


@dataclass(frozen=True)
class Shot:
    """Frames start .. stop - 1 of a clip, a video of their own for the stages: no window and no flow crosses
    a cut."""

    video: str
    start: int
    stop: int


@dataclass(frozen=True)
class Clip:
    """One clip as it was read. `names` are those of its images, empty for a video file; `film` is how its
    frames are shown, `missing` which frames of a damaged file are lost, in words."""

    name: str
    source: str
    identity: str
    is_video: bool
    film: Film
    frames: int
    width: int
    height: int
    names: list[str]
    notes: list[str]
    shots: list[Shot]
    missing: str = ""


def prepare(sources: list[Source], folder: Path) -> list[Clip]:
    """Write all frames to <folder>/frames/<shot>/Blur/RGB/<frame>.png and the record <folder>/clip.json,
    unless that is done already.

    Raises UserError for clips that cannot be read or have fewer than five frames, then nothing is left
    behind; where the folder was made from other clips; and for a folder with something else in it.
    """
    layout = Layout(folder)
    record, created, unfinished = layout.clip, _first_missing(folder), folder / _UNFINISHED
    try:
        locks.hold(folder)
        locks.hold_below(folder)
        known = _known(record, sources) if record.exists() else None
        if known is None and any(
            entry.name != locks.LOCK and not is_leftover(entry) for entry in folder.iterdir()
        ):
            raise UserError(
                f"{folder}: holds files that are not of this command; choose another place with --out"
            )
        remove_leftovers(folder)
        if known:
            return known
        # First, so that a run that is killed later finds the folder to be its own.
        write_json(record, {"clips": [], "begun": [str(source.path.absolute()) for source in sources]})
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); choose another place with --out"
        ) from None
    try:
        for leftover in (unfinished, layout.frames):
            shutil.rmtree(leftover, ignore_errors=True)
        clips = [_extract(source, name, unfinished) for source, name in zip(sources, _names(sources))]
        unfinished.rename(layout.frames)
        note(folder, clips, [])
    except BaseException:
        for begun in (unfinished, layout.frames):
            shutil.rmtree(begun, ignore_errors=True)
        with contextlib.suppress(OSError):
            record.unlink()
        locks.release()
        _remove_empty(folder, created)
        raise
    return clips


def note(folder: Path, clips: list[Clip], said: list[str]) -> None:
    """Write the record: the clips, and at its top what a report shows; `said`: notes beside those on the
    clips."""
    notes = [f"{clip.name}: {words}" for clip in clips for words in clip.notes]
    write_json(
        Layout(folder).clip,
        {
            "source": ", ".join(clip.source for clip in clips),
            "fps": clips[0].film.rate,
            "frames": sum(clip.frames for clip in clips),
            "notes": notes + said,
            "clips": [{**asdict(replace(clip, film=None)), "film": clip.film.as_record()} for clip in clips],
        },
    )


def recorded_sources(record: Path) -> list[tuple[str, str]]:
    """(path, identity) of the clips that a folder was made from; empty where there is no record of any."""
    if not record.is_file():
        return []
    try:
        content = read_json(record)
        begun = [(str(path), "") for path in content.get("begun", [])]
        return begun + [(clip["source"], clip["identity"]) for clip in content["clips"]]
    except (UserError, KeyError, TypeError, AttributeError):
        return []


def _first_missing(folder: Path) -> Path | None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    return missing[-1] if missing else None


def _remove_empty(folder: Path, created: Path | None) -> None:
    """Remove the folders that did not exist before, as far as they are empty."""
    for path in (folder, *folder.parents):
        if created is None or not path.is_relative_to(created):
            return
        with contextlib.suppress(OSError):
            path.rmdir()


def _names(sources: list[Source]) -> list[str]:
    """Names for the clips, those of the files; a number is added where two are alike."""
    names: list[str] = []
    for source in sources:
        name = stem = source.name
        number = 1
        while name in names:
            number += 1
            name = f"{stem}_{number}"
        names.append(name)
    return names


def _extract(source: Source, name: str, folder: Path) -> Clip:
    detector, starts, videos, size, count = CutDetector(), [], [], (0, 0), 0
    for count, frame in enumerate(
        tqdm(source.frames(), desc=f"reading {name}", unit="frame", dynamic_ncols=True), 1
    ):
        if detector.starts_shot(frame) or count == 1:
            starts.append(count - 1)
            videos.append(_free(folder, name, len(starts)))
            size = frame.shape[1::-1]
        write_image(folder / videos[-1] / BLUR / f"{count - 1:06d}.png", frame)
    if count < FEWEST:
        raise UserError(
            f"{source.path}: has {count} frame{'s' * (count != 1)}; at least {FEWEST} are needed (a "
            "window is "
            "five frames)"
        )
    if len(starts) > 1:
        source.notes.append(
            f"{len(starts)} shots, cut before frame {', '.join(str(start) for start in starts[1:])}"
        )
    shots = [Shot(*shot) for shot in zip(videos, starts, [*starts[1:], count])]
    return Clip(
        name,
        str(source.path.absolute()),
        source.identity(),
        source.is_video,
        source.film,
        count,
        *size,
        source.names,
        source.notes,
        shots,
        source.missing,
    )


def _free(folder: Path, name: str, number: int) -> str:
    """A name for a clip's shot that no other has: the clip's own for the first."""
    video = name if number == 1 else f"{name}_shot{number}"
    while (folder / video).exists():
        video += "_"
    return video


def _known(record: Path, sources: list[Source]) -> list[Clip]:
    """The clips of an earlier run, which have to be these; none where it did not come to the end of reading
    them."""
    try:
        clips = [
            Clip(**{**clip, "shots": [Shot(**shot) for shot in clip["shots"]], "film": film_of(clip["film"])})
            for clip in read_json(record)["clips"]
        ]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{record}: damaged; start again with --overwrite") from None
    before, now = [clip.identity for clip in clips], [source.identity() for source in sources]
    if clips and before != now:
        raise UserError(
            f"{record.parent}: was made from {', '.join(clip.source for clip in clips)}, which "
            f"{'has changed' if len(before) == len(now) else 'was not given alone'}; use --overwrite "
            "to start "
            "again, or another place with --out"
        )
    for clip, source in zip(clips, sources):
        if clip.missing and not source.keep_going:
            raise UserError(f"{source.path}: {clip.missing}; add --keep-going for a result without them")
    return clips
