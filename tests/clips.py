"""Small video files for tests, made with PyAV: any codec, container, time stamps, colour, sound and
extras."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 48000
FAST = {"libx264": {"crf": "12", "preset": "ultrafast"}, "libx265": {"x265-params": "crf=12:log-level=none"}}


def moving(count: int, size: tuple[int, int] = (64, 96), seed: int = 0, step: int = 2) -> list[np.ndarray]:
    """`count` pictures, uint8 RGB (H, W, 3), of a smooth texture that moves `step` pixels a frame."""
    height, width = size
    generator, total = np.random.default_rng(seed), width + step * count
    coarse = generator.uniform(40, 216, (height // 8 + 2, total // 8 + 2, 3))
    rows, columns = np.arange(height) / 8, np.arange(total) / 8
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    scene = (1 - down) * ((1 - right) * coarse[top][:, left] + right * coarse[top][:, left + 1]) + down * (
        (1 - right) * coarse[top + 1][:, left] + right * coarse[top + 1][:, left + 1]
    )
    scene = scene.round().astype(np.uint8)
    return [np.ascontiguousarray(scene[:, step * index : step * index + width]) for index in range(count)]


def make(
    path: Path,
    frames: Sequence[np.ndarray | av.VideoFrame],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: Fraction | int = 25,
    base: Fraction | None = None,
    times: Sequence[int] | None = None,
    colour: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    sounds: Sequence[tuple[str, float, float]] = (),
    beep: float | None = None,
    languages: Sequence[str] = (),
    subtitles: tuple[str, Sequence[tuple[float, float, bytes]]] | None = None,
    metadata: dict[str, str] | None = None,
    chapters: Sequence[tuple[float, float, str]] = (),
    shape: Fraction | None = None,
    matrix: str = "bt601",
    span: str = "tv",
) -> Path:
    """Write `frames`, RGB pictures or frames of the format `pixels`, to `path`.

    rate: frames a second; base, times: time base and time stamps instead. colour: colorspace,
    color_primaries, color_trc, color_range as numbers, what the tags say. matrix, span: how pictures become
    YUV. sounds: codec, first and last second of each; beep: second from which they are loud (otherwise
    throughout). subtitles: codec, and start, end, payload of each.
    """
    base = base or 1 / Fraction(rate)
    times = list(range(len(frames))) if times is None else list(times)
    frames = [
        _as_yuv(frame, pixels, matrix, span) if isinstance(frame, np.ndarray) else frame for frame in frames
    ]
    with av.open(f"file:{path}", "w", container_options=container or {}) as file:
        file.metadata.update(metadata or {})
        if chapters:
            file.set_chapters(
                [
                    {
                        "id": index + 1,
                        "start": round(1000 * start),
                        "end": round(1000 * end),
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": title},
                    }
                    for index, (start, end, title) in enumerate(chapters)
                ]
            )
        video = file.add_stream(codec, rate=rate, options={**FAST.get(codec, {}), **(options or {})})
        context = video.codec_context
        context.width, context.height, context.pix_fmt = frames[0].width, frames[0].height, pixels
        context.time_base = base
        if shape is not None:
            context.sample_aspect_ratio = shape
        for name, value in (colour or {}).items():
            setattr(context, name, value)
        voices = [_add_sound(file, codec) for codec, _, _ in sounds]
        for voice, language in zip(voices, languages):
            voice.metadata["language"] = language
        words = None
        if subtitles is not None:
            words = file.add_mux_stream(subtitles[0])
            words.time_base = Fraction(1, 1000)
        file.start_encoding()
        packets = [
            packet
            for frame, time in zip(frames, times)
            for packet in _encode(video, frame, time, base, colour)
        ]
        packets += video.encode(None)
        for voice, (_, start, stop) in zip(voices, sounds):
            packets += _sound(voice, start, stop, beep)
        if words is not None:
            packets += [_subtitle(words, *line) for line in subtitles[1]]
        packets.sort(
            key=lambda packet: float(
                (packet.dts if packet.dts is not None else packet.pts) * packet.time_base
            )
        )
        for packet in packets:
            file.mux(packet)
    return path


def _as_yuv(picture: np.ndarray, pixels: str, matrix: str, span: str) -> av.VideoFrame:
    graph = av.filter.Graph()
    height, width = picture.shape[:2]
    source = graph.add("buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/25:pixel_aspect=1/1")
    scale = graph.add(
        "scale",
        f"out_color_matrix={matrix}:out_range={span}:flags=accurate_rnd+full_chroma_int:sws_dither=none",
    )
    wanted, sink = graph.add("format", pixels), graph.add("buffersink")
    for first, second in zip((source, scale, wanted), (scale, wanted, sink)):
        first.link_to(second)
    graph.configure()
    frame = av.VideoFrame.from_ndarray(picture)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    graph.push(frame)
    return graph.pull()


def _encode(stream, frame: av.VideoFrame, time: int, base: Fraction, colour: dict[str, int] | None) -> list:
    frame.pts, frame.time_base = time, base
    for name, value in (colour or {}).items():
        setattr(frame, name, value)
    return stream.encode(frame)


def _add_sound(file, codec: str):
    stream = file.add_stream(codec, rate=RATE)
    stream.codec_context.layout = "mono"
    return stream


def _sound(stream, start: float, stop: float, beep: float | None) -> list:
    """Packets of a tone of 1 kHz, from `beep` on loud."""
    moments = np.arange(round(start * RATE), round(stop * RATE))
    loud = np.ones(len(moments)) if beep is None else (moments >= beep * RATE).astype(float)
    samples = (0.4 * loud * np.sin(2 * np.pi * 1000 * moments / RATE)).astype(np.float32)
    packets = []
    for index in range(0, len(samples), 960):
        frame = av.AudioFrame.from_ndarray(samples[None, index : index + 960], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = int(moments[index])
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _subtitle(stream, start: float, stop: float, payload: bytes) -> av.Packet:
    packet = av.Packet(payload)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = round(1000 * start)
    packet.duration = round(1000 * (stop - start))
    return packet
