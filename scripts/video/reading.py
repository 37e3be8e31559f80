"""The frames of a video file, each with its time stamp, and what is missing of them."""

from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from common.errors import UserError
from scripts.video import damage
from scripts.video.colour import Colour
from scripts.video.media import NOT_A_VIDEO, opened, refuse_without_memory, video_stream
from scripts.video.orientation import swaps_sides
from scripts.video.pictures import Pictures
from scripts.video.scan import Scan, scan

_DECODING = {"err_detect": "explode"}
"""Broken frames are refused. Without it the decoder would conceal missing parts."""
_PATIENCE = 25
"""If so many packets at the beginning of a file all fail, its encoder is at fault, not its copy."""
_MOST_WITHOUT = 0.1
"""Share of a healthy file's packets that may hold no picture of their own (hidden reference frames)."""


class VideoReader:
    """Reads a video file from start to end.

    Complete when all pictures are read: `times`, a time stamp for each in units of `base` seconds, counted
    as in the file; `end`, that of the last one's end; `rate`, frames a second on average; `notes`, messages
    to the user; `colour`, what the file says of its colours; `aspect`, width of an upright
    pixel by its height; `missing`, which frames of a damaged file are lost, empty otherwise.
    """

    def __init__(self, path: Path, keep_going: bool = False) -> None:
        self.path, self.keep_going = path, keep_going
        self.base, self.rate, self.end = Fraction(1, 25), 25.0, 0
        self.times: list[int] = []
        self.notes: list[str] = []
        self.colour, self.aspect = Colour(), Fraction(1)
        self.missing, self._unordered = "", False

    def pictures(self) -> Iterator[np.ndarray]:
        """All pictures, uint8 RGB (H, W, 3), upright.

        Raises UserError where the file is no video or holds no frame, and, after the last picture, where
        frames are lost, unless `keep_going`.
        """
        found, pictures, original = scan(self.path), Pictures(self.path), array("q")
        strict = not _always_fails(self.path, found)
        with opened(self.path) as container:
            stream = video_stream(container, self.path)
            self._decoder = _Decoder(stream, found, strict)
            self.base, self.aspect = stream.time_base, stream.sample_aspect_ratio or Fraction(1)
            self._stated = stream.average_rate or stream.guessed_rate or Fraction(25)
            nominal = max(1, round(1 / (self._stated * self.base)))
            begin = stream.start_time if container.format.name == "avi" else None
            for frame in self._decoder.frames(container):
                if frame.pts is None:
                    frame.pts = original[-1] + nominal if original else 0
                original.append(frame.pts)
                frame.time_base = self.base
                for picture, time in pictures.push(frame):
                    yield self._shown(picture, time, nominal)
            for picture, time in pictures.finish():
                yield self._shown(picture, time, nominal)
        if begin is not None and self.times:
            # An AVI file has no time stamps; those that are made for it count the decoder's delay.
            shift = self.times[0] - begin
            self.times = [time - shift for time in self.times]
        self.notes += pictures.notes
        self.colour = pictures.colour
        if swaps_sides(pictures.turn):
            self.aspect = 1 / self.aspect
        self._finish(found, original, nominal)

    def _shown(self, picture: np.ndarray, time: int, nominal: int) -> np.ndarray:
        if self.times and time <= self.times[-1]:
            self._unordered = True
            time = self.times[-1] + nominal
        self.times.append(time)
        return picture

    def _finish(self, found: Scan, original: array, nominal: int) -> None:
        if not original:
            reason = (
                "holds no frame that can be decoded (damaged or cut off?)"
                if len(found.expected)
                else NOT_A_VIDEO
            )
            raise UserError(f"{self.path}: {reason}")
        if self._unordered:
            self.notes.append(
                "time stamps that go back were replaced by the usual distance between two frames"
            )
        usual = found.interval or nominal
        self.end = self.times[-1] + max(1, round(self._decoder.last_duration or usual))
        lost = self._lost(found, original)
        if len(lost):
            self.rate = float(1 / (usual * self.base))
            self._refuse_or_tell(found, lost)
            return
        count, span = len(self.times), self.times[-1] - self.times[0]
        stated = float(self._stated)
        self.rate = float((count - 1) / (span * self.base)) if span else stated
        steps = np.diff(np.array(self.times, np.int64))
        if len(steps) and steps.max() > damage.GAP * max(1.0, float(np.median(steps))):
            self.notes.append("the frame rate varies, each frame keeps its time")
        elif abs((count - 1) / stated / float(self.base) - span) < 2:
            # Time stamps in milliseconds do not tell 23.976 from 24 frames a second.
            self.rate = stated

    def _lost(self, found: Scan, original: array) -> np.ndarray:
        """Times of the frames that a damaged file lacks; none of a healthy one."""
        self._expected, first = found.expected, self._decoder.first_key
        if first is not None and self._decoder.skipped:
            early = int((found.expected < first).sum())
            self.notes.append(f"{early} frames before the first key frame cannot be shown")
        if first is not None:
            self._expected = found.expected[found.expected >= first]
        lost = damage.without(self._expected, original)
        certain = found.broken or self._decoder.errors or len(lost) > _MOST_WITHOUT * len(self._expected)
        return lost if certain else lost[:0]

    def _refuse_or_tell(self, found: Scan, lost: np.ndarray) -> None:
        later = damage.after_losses(np.array(self.times, np.int64), lost, found.keys)
        usual = found.interval or float(self.end - self.times[-1])
        first = int(self._expected[0])
        words = damage.told(lost, len(self._expected), later, self.base, first, usual)
        self.missing = f"the file is damaged: {words}"
        if not self.keep_going:
            raise UserError(
                f"{self.path}: damaged or cut off: {words}; copy the file again, or add --keep-going "
                "for a result "
                "without them"
            )
        self.notes.append(self.missing)


def _always_fails(path: Path, found: Scan) -> bool:
    """Whether strict decoding of frames that need no other fails from the first one on: some cameras write
    headers that break the rules around pictures that do not."""
    if len(found.keys) < max(1, len(found.expected)):
        return False
    with opened(path) as container:
        decoder = _Decoder(video_stream(container, path), found, strict=True)
        for _ in decoder.frames(container, most_errors=_PATIENCE):
            return False
    return decoder.errors >= min(_PATIENCE, len(found.keys))


class _Decoder:
    """Packets -> frames. `errors`: packets that could not be decoded; `first_key`: time of the first frame
    that needs no other; `skipped`: packets before it; `last_duration`: of the last frame, in units of
    time."""

    def __init__(self, stream: av.VideoStream, found: Scan, strict: bool) -> None:
        self.errors = self.skipped = self.last_duration = 0
        self.first_key: int | None = None
        self._stream, self._found = stream, found
        if strict:
            stream.codec_context.options = _DECODING

    def frames(
        self,
        container: av.container.InputContainer,
        most_errors: float = np.inf,
    ) -> Iterator[av.VideoFrame]:
        """All frames that decode; none after so many errors."""
        started = not len(self._found.keys)
        packets = container.demux(self._stream)
        while self.errors < most_errors:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as error:
                refuse_without_memory(error)
                self.errors += 1
                return
            if packet.size and not started:
                if not (packet.is_keyframe or packet.is_discard):
                    self.skipped += 1
                    continue
                started = True
                if not packet.is_discard:
                    self.first_key = packet.dts if packet.pts is None else packet.pts
            if packet.pos in self._found.retimed:
                packet.pts = packet.dts = self._found.retimed[packet.pos]
            try:
                decoded = packet.decode()
            except av.FFmpegError as error:
                refuse_without_memory(error)
                self.errors += 1
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    self.errors += 1
                    continue
                self.last_duration = frame.duration or 0
                yield frame
