"""Pictures -> a video file with their time stamps, and what else the original holds."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from common.errors import UserError
from scripts.video.colour import matrix_name, written_colour
from scripts.video.containers import KINDS, Kind
from scripts.video.extras import Extras, entries_of
from scripts.video.film import Film
from scripts.video.media import opened, video_stream
from scripts.video.pictures import EXACT

Frames = Callable[[], Iterable[np.ndarray]]
"""Gives the pictures of a video, uint8 RGB (H, W, 3) of one size, from the start each time it is called."""
_OWN_ZERO = {"mov", "matroska"}
"""Containers whose time begins at zero, so that a later start means something."""
_LIMITED = 1


def write_video(path: Path, frames: Frames, film: Film, source: Path | None, folder: Path) -> list[str]:
    """Write `path`, whole or not at all; returns messages to the user.

    source: the video that the pictures come from, whose sounds, subtitles, chapters and entries are taken
    over; None where there is none. folder: an existing place for the unfinished file, on the same disk.
    Raises UserError where the file cannot be written or does not read back with all its frames at their
    times.
    """
    kind, unfinished = KINDS[path.suffix.lower()], folder / f".tmp-video{path.suffix}"
    try:
        zero = _zero(source, film, kind)
        equal = not kind.times and _varies(film)
        film = _moved(film, zero, kind)
        extras, said = _write(unfinished, frames, film, kind, source, zero)
        _check(unfinished, film, kind)
        said += [f"a {path.suffix} file holds no time stamps: its frames have equal distances"] * equal
        said += extras.look_back(unfinished) if extras is not None else []
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished, path)
    except (av.FFmpegError, OSError) as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); choose another place with --out"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return said


def _varies(film: Film) -> bool:
    """Whether distances between frames differ by more than a rounding of their times."""
    steps = np.diff(np.array([*film.times, film.end], np.int64))
    return bool(np.ptp(steps) * film.base > Fraction(2, 1000) and np.ptp(steps) > 1)


def _zero(source: Path | None, film: Film, kind: Kind) -> Fraction:
    """Seconds of the source that become the result's zero: its first moment where its clock runs on from
    anywhere, as in a broadcast, and its first picture where streams cannot begin at different times."""
    first = film.times[0] * film.base
    if source is None or not kind.times:
        return first
    with opened(source) as container:
        if _OWN_ZERO & set(container.format.name.split(",")):
            return min(Fraction(0), first)
        begin = Fraction(container.start_time or 0, av.time_base)
    return min(begin, first)


def _moved(film: Film, zero: Fraction, kind: Kind) -> Film:
    """The film by the clock of the result; in containers without time stamps its frames have equal
    distances."""
    if kind.times:
        shift = round(zero / film.base)
        return replace(film, times=[time - shift for time in film.times], end=film.end - shift)
    count = len(film.times)
    return replace(film, times=list(range(count)), base=1 / _rate(film), end=count)


def _rate(film: Film) -> Fraction:
    """Frames a second as a fraction that every container can hold."""
    return Fraction(film.rate).limit_denominator(1001) or Fraction(film.rate).limit_denominator(10**6)


def _write(
    path: Path,
    frames: Frames,
    film: Film,
    kind: Kind,
    source: Path | None,
    zero: Fraction,
) -> tuple[Extras | None, list[str]]:
    height, width = next(iter(frames())).shape[:2]
    said: list[str] = []
    with ExitStack() as held:
        file = held.enter_context(
            av.open(f"file:{path}", "w", format=kind.format, container_options=_settings(kind, source))
        )
        stream = _video_stream(file, film, kind, width, height)
        if stream.codec_context.pix_fmt == "yuv444p":
            said.append(
                "the size is odd, so the video has full colour resolution (yuv444p), which some "
                "players do not show"
            )
        extras = None if source is None else Extras(source, file, kind, zero, held)
        for packet in _encoded(stream, frames, film):
            if extras is not None:
                extras.write_until(packet.dts * packet.time_base)
            file.mux(packet)
        if extras is not None:
            extras.write_until(None)
    return extras, said


def _settings(kind: Kind, source: Path | None) -> dict[str, str]:
    """The container's settings. QuickTime's own entries, as phones write them, need another list in MP4."""
    settings = dict(kind.settings)
    if source is not None and "movflags" in settings:
        with opened(source) as container:
            if any(key.startswith("com.") for key in entries_of(container)):
                settings["movflags"] += "+use_metadata_tags"
    return settings


def _video_stream(
    file: av.container.OutputContainer,
    film: Film,
    kind: Kind,
    width: int,
    height: int,
) -> av.VideoStream:
    stream = file.add_stream(kind.encoder, rate=_rate(film), options=dict(kind.options))
    context, colour = stream.codec_context, written_colour(film.colour)
    context.width, context.height = width, height
    odd = (width % 2 or height % 2) and kind.encoder == "libx264"
    context.pix_fmt = "yuv444p" if odd else "yuv420p"
    context.time_base = stream.time_base = film.base
    context.sample_aspect_ratio = film.aspect
    context.colorspace, context.color_primaries = colour.matrix, colour.primaries
    context.color_trc, context.color_range = colour.transfer, _LIMITED
    return stream


def _encoded(stream: av.VideoStream, frames: Frames, film: Film) -> Iterator[av.Packet]:
    """The compressed pictures, each with its time and duration."""
    context, colour = stream.codec_context, written_colour(film.colour)
    graph = _conversion(context.width, context.height, context.pix_fmt, film)

    def timed(packets: list[av.Packet]) -> Iterator[av.Packet]:
        for packet in packets:
            time = round(packet.pts * packet.time_base / film.base)
            place = bisect_right(film.times, time)
            end = film.times[place] if place < len(film.times) else film.end
            packet.duration = round((end - time) * film.base / packet.time_base)
            yield packet

    for picture, time in zip(frames(), film.times, strict=True):
        frame = av.VideoFrame.from_ndarray(picture)
        frame.pts, frame.time_base = time, film.base
        graph.push(frame)
        frame = graph.pull()
        frame.colorspace, frame.color_primaries = colour.matrix, colour.primaries
        frame.color_trc, frame.color_range = colour.transfer, _LIMITED
        frame.pict_type = 0
        yield from timed(stream.encode(frame))
    yield from timed(stream.encode(None))


def _conversion(width: int, height: int, pixels: str, film: Film) -> av.filter.Graph:
    matrix = matrix_name(written_colour(film.colour), width, height)
    graph = av.filter.Graph()
    chain = [
        graph.add(
            "buffer",
            f"video_size={width}x{height}:pix_fmt=rgb24:pixel_aspect=1/1:"
            f"time_base={film.base.numerator}/{film.base.denominator}",
        ),
        graph.add("scale", f"in_range=pc:out_color_matrix={matrix}:out_range=tv:{EXACT}"),
        graph.add("format", pixels),
        graph.add("buffersink"),
    ]
    for first, second in zip(chain, chain[1:]):
        first.link_to(second)
    graph.configure()
    return graph


def _check(path: Path, film: Film, kind: Kind) -> None:
    """UserError unless the file reads back with all frames at their times."""
    found, wrong, begin = 0, 0, Fraction(0)
    try:
        with opened(path) as container:
            stream = video_stream(container, path)
            # Matroska counts in milliseconds.
            most = max(stream.time_base, Fraction(1, 1000))
            for frame in container.decode(stream):
                time = (frame.dts if frame.pts is None else frame.pts) * stream.time_base
                if not found and not kind.times:
                    begin = time
                if found < len(film.times):
                    wrong += abs(time - begin - film.times[found] * film.base) > most
                found += 1
    except (av.FFmpegError, UserError):
        wrong += 1
    if wrong or found != len(film.times):
        raise UserError(
            f"{path.name}: the video that was written has {found} of {len(film.times)} frames, "
            f"{wrong} of them not at "
            "their times, when read again; free disk space, or name another kind of file with --out"
        )
