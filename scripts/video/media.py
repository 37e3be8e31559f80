"""Video files opened with PyAV: which stream is the picture, and what cannot be opened in one line."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from common.errors import UserError

NOT_A_VIDEO = "not a video that can be decoded (damaged, cut off, or not a video at all)"


def refuse_without_memory(error: Exception) -> None:
    """MemoryError for an error that says that there is no memory, or no thread, to be had: the file is not to
    blame."""
    if getattr(error, "errno", None) in (errno.ENOMEM, errno.EAGAIN):
        raise MemoryError("while a video file was read") from None


@contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    """The file, opened for reading. Raises UserError where it is no video file."""
    try:
        # Without the protocol's name a colon in a file's name would be taken for one.
        container = av.open(f"file:{path}", metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        refuse_without_memory(error)
        if isinstance(error, PermissionError):
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        raise UserError(f"{path}: {NOT_A_VIDEO}") from None
    with container:
        yield container


def video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream that a player shows. Raises UserError where there is none, or no way to decode it."""
    moving = [stream for stream in container.streams.video if not is_cover(stream)]
    best = container.streams.best("video")
    stream = best if best in moving else next(iter(moving), None)
    if stream is None:
        found = (
            "a cover picture"
            if container.streams.video
            else "sound"
            if container.streams.audio
            else "no picture"
        )
        raise UserError(f"{path}: holds {found} but no video")
    if stream.codec_context is None:
        raise UserError(f"{path}: its video is of a kind that is not decoded here; convert it to H.264")
    return stream


def is_cover(stream: av.stream.Stream) -> bool:
    """Whether a stream of pictures is a cover, a thumbnail or another still one."""
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return stream.type == "video" and bool(stream.disposition & still)
