"""What a container's own marks say of damage that its reader passes over in silence."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_TS_PACKET, _TS_SYNC = 188, 0x47
_BLOCK = _TS_PACKET * 50000


def is_damaged(path: Path, kinds: Sequence[str]) -> bool:
    """Whether a Matroska or WebM file is shorter than it says, or a packet of an MPEG transport stream lacks
    its mark. kinds: FFmpeg's names of the container. False for others, and for files without such marks."""
    if "matroska" in kinds:
        return _shorter_than_stated(path)
    return "mpegts" in kinds and _lacks_marks(path)


def _shorter_than_stated(path: Path) -> bool:
    """By the size of the segment, which holds everything (Matroska specification, RFC 9559). A recording that
    was streamed states none."""
    with path.open("rb") as file:
        start = file.read(4096)
    if not start.startswith(_EBML):
        return False
    header, place = _size(start, len(_EBML))
    if header is None or not start.startswith(_SEGMENT, place + header):
        return False
    segment, begin = _size(start, place + header + len(_SEGMENT))
    return segment is not None and begin + segment > path.stat().st_size


def _size(data: bytes, place: int) -> tuple[int | None, int]:
    """(a size as EBML stores it, where what it is of begins); None for one that is not known."""
    if place >= len(data) or not data[place]:
        return None, place
    length = 9 - data[place].bit_length()
    value = int.from_bytes(data[place : place + length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), place + length


def _lacks_marks(path: Path) -> bool:
    """Every 188 bytes begin with 0x47 (ISO/IEC 13818-1)."""
    with path.open("rb") as file:
        first = True
        while block := file.read(_BLOCK):
            marks = np.frombuffer(block, np.uint8)[::_TS_PACKET]
            if first and (len(marks) < 2 or (marks[:2] != _TS_SYNC).any()):
                return False
            if (marks != _TS_SYNC).any():
                return True
            first = False
    return False
