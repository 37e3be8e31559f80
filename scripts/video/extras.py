"""What a video file holds besides its pictures (sound, subtitles, metadata): what a result keeps, and what
not."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av

from scripts.video.containers import TEXT, Kind
from scripts.video.media import is_cover, opened, video_stream
from scripts.video.streams import SideStream, codec_name

_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "software"}
"""Entries that describe the source file itself, not the video."""
_ENTRIES = {
    "creation_time": "recording date",
    "location": "place",
    "com.apple.quicktime.location.iso6709": "place",
}
_COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}


def entries_of(container: av.container.InputContainer) -> dict[str, str]:
    """What a file says of its video as a whole: title, recording date and the like."""
    return {key: value for key, value in container.metadata.items() if key.lower() not in _OF_THE_FILE}


class Extras:
    """The sounds, subtitles, covers, chapters and entries of `source`, added to `file` before its pictures.

    zero: seconds of the source at which the result begins. `said`: messages to the user, complete when all is
    written and `look_back` was called.
    """

    def __init__(
        self,
        source: Path,
        file: av.container.OutputContainer,
        kind: Kind,
        zero: Fraction,
        held: ExitStack,
    ) -> None:
        self.kept: list[str] = []
        self.lost: list[str] = []
        self.said: list[str] = []
        self._streams: list[SideStream] = []
        self._covers: list[tuple[av.stream.Stream, bytes]] = []
        self._file = file
        container = held.enter_context(opened(source))
        picture = video_stream(container, source)
        self.entries = entries_of(container)
        file.metadata.update(self.entries)
        self._chapters(container, kind, zero)
        for stream in container.streams:
            if stream.type in ("audio", "subtitle"):
                self._ride(source, stream, kind, zero, held)
            elif is_cover(stream):
                self._cover(source, stream, kind)
            elif stream.type == "attachment" and kind.format == "matroska":
                file.add_attachment(
                    stream.name or "attachment", stream.mimetype or "", bytes(stream.data or b"")
                )
                self.kept.append("an attachment")
            elif stream.index != picture.index and not _names_chapters(container, stream):
                self.lost.append("another video" if stream.type == "video" else f"a stream of {stream.type}")

    def write_until(self, seconds: Fraction | None) -> None:
        """Write what belongs before this moment; None: all that is left."""
        for stream, picture in self._covers:
            packet = av.Packet(picture)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1000)
            packet.is_keyframe = True
            self._file.mux(packet)
        self._covers = []
        for side in self._streams:
            side.write_until(seconds)

    def look_back(self, path: Path) -> list[str]:
        """What was kept and what was not, as text, found by reading the file that was written."""
        with opened(path) as written:
            there = {key.lower(): value for key, value in written.metadata.items()}
            chapters = len(written.chapters())
        for key, value in self.entries.items():
            name = _ENTRIES.get(key.lower(), key)
            (self.kept if there.get(key.lower()) == value else self.lost).append(name)
        if self._wanted_chapters:
            words = f"{self._wanted_chapters} chapter{'s' * (self._wanted_chapters > 1)}"
            (self.kept if chapters == self._wanted_chapters else self.lost).append(words)
        lines = list(dict.fromkeys(self.said))
        if self.kept:
            lines.append(f"kept: {_counted(self.kept)}")
        if self.lost:
            lines.append(f"not kept: {_counted(self.lost)}")
        return lines

    def _chapters(self, container: av.container.InputContainer, kind: Kind, zero: Fraction) -> None:
        chapters = container.chapters()
        self._wanted_chapters = len(chapters)
        for chapter in chapters:
            shift = round(zero / chapter["time_base"])
            chapter["start"], chapter["end"] = (
                max(0, chapter["start"] - shift),
                max(0, chapter["end"] - shift),
            )
        if chapters and kind.format != "avi":
            self._file.set_chapters(chapters)

    def _ride(
        self,
        source: Path,
        stream: av.stream.Stream,
        kind: Kind,
        zero: Fraction,
        held: ExitStack,
    ) -> None:
        name, what = codec_name(stream), "sound" if stream.type == "audio" else "subtitles"
        words = f"{what} in {stream.metadata['language']}" if _language(stream) else what
        if name is None or (stream.type == "subtitle" and not _can_write(name, kind)):
            self.lost.append(words if name is None else f"{words} ({name})")
            return
        try:
            side = SideStream(source, stream.index, self._file, kind, zero, held)
        except (ValueError, av.FFmpegError):
            self.lost.append(f"{words} ({name})")
            return
        self._streams.append(side)
        self.kept.append(words)
        if side.words is not None:
            self.said.append(side.words)

    def _cover(self, source: Path, stream: av.stream.Stream, kind: Kind) -> None:
        name = codec_name(stream)
        picture = _first_packet(source, stream.index)
        if picture is None or name not in _COVERS or kind.format not in ("mp4", "matroska"):
            self.lost.append("cover picture")
            return
        if kind.format == "matroska":
            self._file.add_attachment(*_COVERS[name], picture)
        else:
            made = self._file.add_stream_from_template(stream, opaque=True)
            made.disposition = av.stream.Disposition.attached_pic.value
            self._covers.append((made, picture))
        self.kept.append("cover picture")


def _names_chapters(container: av.container.InputContainer, stream: av.stream.Stream) -> bool:
    """Whether a stream only holds the names of chapters, which are kept as such: MP4 has one with a packet
    for each."""
    return stream.type == "data" and 0 < stream.frames == len(container.chapters())


def _language(stream: av.stream.Stream) -> bool:
    return stream.metadata.get("language", "und") != "und"


def _can_write(name: str, kind: Kind) -> bool:
    """Whether subtitles of this kind can be kept, as they are or converted."""
    return kind.words is not None and (name in TEXT or kind.format == "matroska")


def _first_packet(source: Path, number: int) -> bytes | None:
    with opened(source) as container:
        packet = next(iter(container.demux(container.streams[number])), None)
        return bytes(packet) if packet is not None and packet.size else None


def _counted(words: list[str]) -> str:
    """Words with a number before those that come more than once."""
    return ", ".join(
        f"{words.count(word)} x {word}" if words.count(word) > 1 else word for word in dict.fromkeys(words)
    )
