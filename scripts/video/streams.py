"""Streams of sound and subtitles, copied or encoded anew into the file that is written."""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av

from scripts.video.containers import Kind
from scripts.video.media import opened

Packets = Iterator[av.Packet]
_USUAL = {1: "mono", 2: "stereo", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Usual layouts of channels, for files that only state their number."""


def codec_name(stream: av.stream.Stream) -> str | None:
    """The kind of a stream in FFmpeg's names, whichever decoder there is for it; None where there is none."""
    return None if stream.codec_context is None else stream.codec_context.codec.canonical_name


class SideStream:
    """One stream of sound or subtitles of the source, written in step with the pictures.

    number: of the stream in the source. zero: seconds of the source at which the result begins. words: how it
    was converted, where it was not copied.
    """

    def __init__(
        self,
        source: Path,
        number: int,
        file: av.container.OutputContainer,
        kind: Kind,
        zero: Fraction,
        held: ExitStack,
    ) -> None:
        container = held.enter_context(opened(source))
        stream = container.streams[number]
        name = codec_name(stream)
        self.words: str | None = None
        self.kind = stream.type
        if stream.type == "subtitle":
            copied = name == kind.words or (kind.format == "matroska" and name != "mov_text")
        else:
            copied = kind.copied is None or name in kind.copied
        try:
            made = file.add_stream_from_template(stream, opaque=True) if copied else None
        except ValueError:
            # The container does not take this kind.
            made = None
        if made is not None:
            self._stream, self._packets = made, _copied(container, stream)
        elif stream.type == "subtitle":
            self._stream = _words_stream(file, stream, kind.words)
            self._packets = _encoded_words(container, stream, self._stream)
            self.words = f"subtitles were converted from {name} to {kind.words}"
        else:
            self._stream = _sound_stream(file, stream, kind.sound)
            self._packets = _encoded_sound(container, stream, self._stream)
            made = self._stream.codec_context.codec.canonical_name
            self.words = f"sound was encoded anew, {name} as {made}"
        for key in ("language", "title"):
            if key in stream.metadata:
                self._stream.metadata[key] = stream.metadata[key]
        self._stream.disposition = stream.disposition.value
        self._zero, self._keeps_early = zero, kind.clips
        self._file, self._next = file, None

    def write_until(self, seconds: Fraction | None) -> None:
        """Write the packets up to this moment of the result; None: all that are left."""
        while (packet := self._waiting()) is not None:
            if seconds is not None and packet.dts * packet.time_base > seconds:
                return
            self._next = None
            packet.stream = self._stream
            self._file.mux(packet)

    def _waiting(self) -> av.Packet | None:
        while self._next is None:
            packet = next(self._packets, None)
            if packet is None:
                return None
            shift = round(self._zero / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            # A container that shows everything would move all streams by what lies before the beginning.
            if self._may_begin(packet):
                self._next = packet
        return self._next

    def _may_begin(self, packet: av.Packet) -> bool:
        if self._keeps_early or packet.pts >= 0:
            return True
        # Opus states the delay of its decoder, by which Matroska moves it back.
        return codec_name(self._stream) == "opus" and packet.pts + (packet.duration or 0) > 0


def _copied(container: av.container.InputContainer, stream: av.stream.Stream) -> Packets:
    """The stream's packets as they are. Of those that an edit list hides only the last is needed, for the
    decoder of the next."""
    hidden = None
    for packet in _demuxed(container, stream):
        if packet.is_discard:
            hidden = packet
            continue
        if hidden is not None:
            yield hidden
            hidden = None
        yield packet


def _demuxed(container: av.container.InputContainer, stream: av.stream.Stream) -> Packets:
    """Packets with a time, up to the file's end or where it cannot be read on."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.size and packet.pts is not None:
            yield packet


def _words_stream(
    file: av.container.OutputContainer,
    stream: av.stream.Stream,
    encoder: str,
) -> av.stream.Stream:
    made = file.add_stream(encoder)
    made.time_base = made.codec_context.time_base = Fraction(1, 1000)
    stream.codec_context.open(strict=False)
    made.codec_context.subtitle_header = stream.codec_context.subtitle_header
    return made


def _encoded_words(
    container: av.container.InputContainer,
    stream: av.stream.Stream,
    made: av.stream.Stream,
) -> Packets:
    for packet in _demuxed(container, stream):
        try:
            lines = stream.codec_context.decode2(packet)
        except av.FFmpegError:
            continue
        if lines is None:
            continue
        written = made.codec_context.encode_subtitle(lines)
        written.time_base = packet.time_base
        written.pts = written.dts = packet.pts
        written.duration = packet.duration
        yield written


def _sound_stream(
    file: av.container.OutputContainer,
    stream: av.AudioStream,
    encoder: tuple[str, int],
) -> av.AudioStream:
    name, bits = encoder
    codec, context = av.Codec(name, "w"), stream.codec_context
    rates = codec.audio_rates or [context.sample_rate]
    made = file.add_stream(name, rate=context.sample_rate if context.sample_rate in rates else 48000)
    wanted = context.layout.name, _USUAL.get(context.layout.nb_channels, "stereo"), "stereo"
    made.codec_context.layout = next(
        (layout for layout in wanted if _takes(name, made.codec_context, layout)), "stereo"
    )
    made.codec_context.bit_rate = bits * max(1, made.codec_context.layout.nb_channels // 2)
    return made


def _takes(name: str, like: av.AudioCodecContext, layout: str) -> bool:
    """Whether an encoder takes this layout of channels."""
    trial = av.CodecContext.create(name, "w")
    trial.sample_rate, trial.format, trial.layout = like.sample_rate, like.format, layout
    try:
        trial.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _encoded_sound(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    made: av.AudioStream,
) -> Packets:
    for packet in _demuxed(container, stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        for frame in frames:
            yield from made.encode(frame)
    yield from made.encode(None)
