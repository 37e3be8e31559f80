"""The packets of a video file, read without decoding: which frames it should have, and which are missing."""

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.logging
import numpy as np

from scripts.video import damage, marks
from scripts.video.media import opened, video_stream

_AVI_HEADER = 8
"""Bytes before a chunk's content, from where AVI's index counts."""
_SILENCE = 3.0
"""Packets of sound that are missing in one place from which this is a gap."""


@dataclass(frozen=True)
class Scan:
    """What a file's packets tell of its picture. Times are in units of the stream's time base.

    expected: times of all frames that the file should show, int64, ascending. keys: times of those that need
    no other to be decoded. broken: whether packets are missing or said to be broken. retimed: place of a
    packet in the file -> its true time, where packets before it are missing. interval: usual distance of two
    frames.
    """

    expected: np.ndarray
    keys: np.ndarray
    broken: bool
    retimed: dict[int, int]
    interval: float


@dataclass
class Packets:
    """Times of one stream's packets, in the order of the file."""

    times: array = field(default_factory=lambda: array("q"))
    ends: array = field(default_factory=lambda: array("q"))
    places: array = field(default_factory=lambda: array("q"))
    keys: array = field(default_factory=lambda: array("q"))
    corrupt: bool = False

    def add(self, packet: av.Packet) -> None:
        """Note down a packet; those that only help to decode others have a place but no time."""
        time = packet.dts if packet.pts is None else packet.pts
        self.places.append(-1 if packet.pos is None else packet.pos)
        self.corrupt |= packet.is_corrupt
        if time is not None and not packet.is_discard:
            self.times.append(time)
            self.ends.append(time + (packet.duration or 0))
            if packet.is_keyframe:
                self.keys.append(time)


def scan(path: Path) -> Scan:
    """Read all packets of the file. Raises UserError where it is no video."""
    with opened(path) as container:
        stream, kinds = video_stream(container, path), container.format.name.split(",")
        sound = next(iter(container.streams.audio), None)
        # An AVI file that was cut off has lost its index, but not the number of its frames.
        listed = stream.frames if "avi" in kinds and len(stream.index_entries) < 2 else 0
        picture, heard, complained = _read(container, stream, sound)
        missing, retimed = _missing_of_index(stream, picture, kinds)
        base = stream.time_base
        declared = _declared_end(container, stream, heard, sound) if "matroska" in kinds else None
        sound_base = None if sound is None else sound.time_base
    times = np.unique(np.array(sorted(retimed.values()) if retimed else picture.times, np.int64))
    keys = np.unique(np.array(picture.keys, np.int64))
    interval = damage.usual_interval(times)
    broken = picture.corrupt or complained or bool(missing) or marks.is_damaged(path, kinds)
    if missing:
        expected = np.union1d(times, np.array(missing, np.int64))
    elif interval and (broken or _both_silent(times, interval, base, heard, sound_base)):
        expected = damage.filled(times, interval, declared)
    else:
        expected = times
    if interval and 0 < len(expected) < listed:
        expected = damage.filled(
            expected, interval, float(expected[-1]) + interval * (listed - len(expected) + 1)
        )
    return Scan(expected, keys, broken or len(expected) > len(times), retimed, interval)


def _read(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    sound: av.AudioStream | None,
) -> tuple[Packets, Packets, bool]:
    """The packets of picture and sound, and whether the container's reader found errors. Of its log only the
    severity counts."""
    found = {stream.index: Packets()} | ({} if sound is None else {sound.index: Packets()})
    level, repeated, ended = av.logging.get_level(), av.logging.get_skip_repeated(), False
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as log:
            try:
                for packet in container.demux([stream] if sound is None else [stream, sound]):
                    if packet.size:
                        found[packet.stream_index].add(packet)
            except (av.FFmpegError, OSError):
                ended = True
            complained = any(
                severity <= av.logging.ERROR and who == container.format.name for severity, who, _ in log
            )
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(repeated)
    return found[stream.index], Packets() if sound is None else found[sound.index], ended or complained


def _missing_of_index(
    stream: av.VideoStream,
    picture: Packets,
    kinds: list[str],
) -> tuple[list[int], dict[int, int]]:
    """Times of frames that the container lists and that are not there; for AVI, whose packets have no times
    of their own, also the true time of each that is there, by its place."""
    index = stream.index_entries
    if not ({"mov", "avi"} & set(kinds)) or len(index) < len(picture.places):
        return [], {}
    header = _AVI_HEADER if "avi" in kinds else 0
    entries = {}
    for number in range(len(index)):
        entry = index[number]
        if entry.size:
            entries[entry.pos + header] = entry.timestamp
    there = set(picture.places)
    # MOV's index counts in the order of decoding, which begins earlier.
    shift = 0
    if picture.times and entries and not header:
        shift = min(picture.times) - min(
            (time for place, time in entries.items() if place in there), default=min(picture.times)
        )
    missing = sorted(time + shift for place, time in entries.items() if place not in there)
    if not missing or not header:
        return missing, {}
    return missing, {place: entries[place] for place in picture.places if place in entries}


def _declared_end(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    heard: Packets,
    sound: av.AudioStream | None,
) -> float | None:
    """End of the picture that a Matroska file states, in units of its time base: that of the stream, or that
    of the file where the sound does not reach it either."""
    stated = _clock(stream.metadata.get("DURATION", ""))
    if stated is None and container.duration:
        stated = Fraction(container.duration, av.time_base)
        if sound is not None and heard.ends and stated - max(heard.ends) * sound.time_base < Fraction(1, 2):
            stated = None
    return None if stated is None else float(stated / stream.time_base)


def _clock(text: str) -> Fraction | None:
    """Seconds of hours, minutes and seconds with colons between them; None for anything else."""
    parts = text.strip().split(":")
    try:
        hours, minutes, seconds = (Fraction(part) for part in parts)
    except (ValueError, ZeroDivisionError):
        return None
    return 3600 * hours + 60 * minutes + seconds


def _both_silent(
    times: np.ndarray,
    interval: float,
    base: Fraction,
    heard: Packets,
    sound_base: Fraction | None,
) -> bool:
    """Whether picture and sound are missing at the same time, which a variable frame rate does not
    explain."""
    if sound_base is None or len(heard.times) < 3:
        return False
    sounds = np.array(heard.times, np.int64)
    lengths = np.array(heard.ends, np.int64) - sounds
    usual = float(np.median(np.diff(sounds)))
    silent = np.flatnonzero(sounds[1:] - sounds[:-1] - lengths[:-1] > _SILENCE * max(usual, 1.0))
    spans = [
        (float((sounds[index] + lengths[index]) * sound_base), float(sounds[index + 1] * sound_base))
        for index in silent.tolist()
    ]
    return any(
        damage.overlap((float(start * base), float(stop * base)), span)
        for start, stop in damage.gaps(times, interval)
        for span in spans
    )
