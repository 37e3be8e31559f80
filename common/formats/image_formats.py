"""Image files' content -> 8-bit RGB, whatever the file's name says, and what that changes."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps

MOST_PIXELS = 2**27
"""Largest picture that is decoded, 16384 x 8192 (384 MiB as RGB): a damaged or hostile header may claim any
size."""
DEEP, GREY, ALPHA = (
    "had more than 8 bits and were reduced to 8",
    "were grey",
    "had transparency, which was dropped",
)
"""What was changed, as the predicate of a sentence about several images."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_OTHERS = {"TIFF", "WEBP", "BMP", "DIB"}
_GREY_MODES, _ALPHA_MODES = {"1", "L", "LA", "I", "I;16", "I;16B"}, {"LA", "PA", "RGBA", "RGBa", "La"}
_READ_MODES = _GREY_MODES | _ALPHA_MODES | {"P", "RGB", "RGBX", "YCbCr"}
_BITS_TAG = 258
_ROOM = 16 << 20
"""Bytes beside the picture that a decoder may need."""

# OpenCV would print lines beside the one that says what is wrong.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True)
class Header:
    """What a file says of its picture. changes: what making it 8-bit RGB will change, of the words above."""

    width: int
    height: int
    changes: tuple[str, ...]


def decoded(data: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """An image file's content as uint8 RGB (H, W, 3), upright, and what was changed for that.

    Grey is repeated to three channels, alpha is dropped, of 16 bits the upper 8 are kept. Raises
    ValueError, with a message for the user, for content that is no PNG, JPEG, TIFF, WebP or BMP image, is
    damaged
    or cut off, holds several pictures, stores its colours in another way than grey or RGB, or has more than
    MOST_PIXELS; MemoryError where memory does not suffice.
    """
    if not data:
        raise ValueError("the file is empty")
    if not data.startswith((_PNG, _JPEG)):
        return _other(data)
    header = _png_header(data) if data.startswith(_PNG) else _jpeg_header(data)
    _check_size(header.width, header.height)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        _require_memory(header)
        raise ValueError("not a readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), header.changes


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(f"claims {width} x {height} pixels, more than {MOST_PIXELS} are not read")


def _require_memory(header: Header) -> None:
    """MemoryError where there is none to decode the picture: OpenCV says of that what it says of damage."""
    np.ones(2 * 3 * header.width * header.height + _ROOM, np.uint8)


def _png_header(data: bytes) -> Header:
    position, header = len(_PNG), None
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(
                f"damaged PNG image (the checksum of its part {kind.decode('ascii', 'replace')!r} is wrong)"
            )
        if header is None:
            if kind != b"IHDR" or length != 13:
                raise ValueError("damaged PNG image (no header)")
            width, height, bits, colour = struct.unpack_from(">IIBB", data, position + 8)
            true = ((DEEP, bits > 8), (GREY, colour in (0, 4)), (ALPHA, colour in (4, 6)))
            header = Header(width, height, tuple(words for words, is_so in true if is_so))
        if kind == b"acTL" and length == 8 and (count := struct.unpack_from(">I", data, position + 8)[0]) > 1:
            raise ValueError(_animated(count))
        if kind == b"IEND":
            return header
        position = end
    raise ValueError("truncated PNG image")


def _jpeg_header(data: bytes) -> Header:
    position, header = 2, None
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and position + 10 <= len(data):
            height, width, channels = struct.unpack_from(">HHB", data, position + 5)
            header = Header(width, height, (GREY,) if channels == 1 else ())
        if marker == 0xDA:
            # In what follows the two bytes of the end's marker stand nowhere else.
            if header is None or data.find(b"\xff\xd9", position) < 0:
                break
            return header
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    raise ValueError("truncated or damaged JPEG image")


def _other(data: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """TIFF, WebP or BMP, by Pillow."""
    try:
        with warnings.catch_warnings():
            # What Pillow warns of (a size, tags that are not understood) is checked here or of no matter.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if image.format not in _OTHERS:
                    raise ValueError(f"a {image.format} image, which is not read; save it as PNG")
                _check_size(*image.size)
                count = getattr(image, "n_frames", 1)
                if count > 1:
                    raise ValueError(_animated(count))
                if image.mode not in _READ_MODES:
                    raise ValueError(f"its colours are stored as {image.mode}; save it as RGB")
                changes = _changes(image)
                image.load()
                return _as_rgb(ImageOps.exif_transpose(image)), changes
    except Image.DecompressionBombError:
        raise ValueError(f"claims more than the {MOST_PIXELS} pixels that are read") from None
    # Pillow's readers fail in many ways on damaged content.
    except (OSError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, OverflowError):
        raise ValueError(
            "not a readable image (none of PNG, JPEG, TIFF, WebP and BMP, damaged or cut off)"
        ) from None


def _animated(count: int) -> str:
    return f"holds {count} pictures (an animation or several pages); save each as a file of its own"


def _changes(image: Image.Image) -> tuple[str, ...]:
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_TAG, (8,))
    deep = max(bits if isinstance(bits, tuple) else (bits,)) > 8 or image.mode.startswith("I")
    alpha = image.mode in _ALPHA_MODES or "transparency" in image.info
    true = ((DEEP, deep), (GREY, image.mode in _GREY_MODES), (ALPHA, alpha))
    return tuple(words for words, is_so in true if is_so)


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("its values have more than 16 bits; save it with 8 or 16")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))
