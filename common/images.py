"""The only place that reads and writes images and arrays: colour order, dtype, range and rounding are fixed
here."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from common.errors import UserError
from common.runtime.files import atomic_write, require_regular

MOST_PIXELS = 2**27
"""Largest picture that is decoded, 16384 x 8192 (384 MiB as RGB): a damaged or hostile header may claim any
size."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def read_image(path: Path) -> np.ndarray:
    """A PNG or JPEG file as uint8 RGB (H, W, 3). Grey images are repeated to three channels, alpha is
    dropped, of 16 bits the upper 8 are kept.

    Raises UserError naming the file when it is missing, cannot be decoded completely, or has more than
    MOST_PIXELS.
    """
    try:
        require_regular(path)
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: image cannot be read ({error.strerror})") from None
    if Path(path).suffix.lower() == ".png" and not data.startswith(_PNG):
        raise UserError(f"{path}: truncated or not a PNG image; copy the file again")
    try:
        width, height = encoded_size(data)
    except ValueError as error:
        raise UserError(f"{path}: {error}; copy or export the file again") from None
    if width * height > MOST_PIXELS:
        raise UserError(
            f"{path}: claims {width} x {height} pixels, more than {MOST_PIXELS} are not read; copy or export the "
            "file again, smaller if it really is so large"
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path}: not a readable image; copy or export the file again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def encoded_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels that the header of a PNG or JPEG file's content states; nothing is decoded.

    Raises ValueError, in words for a user, for other content, and for what OpenCV would decode in part
    without a word: a file that was cut off, or a PNG whose checksums do not hold.
    """
    if data.startswith(_PNG):
        return _png_size(data)
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    raise ValueError("not a readable image (neither PNG nor JPEG)" if data else "the file is empty")


def _png_size(data: bytes) -> tuple[int, int]:
    position, size = len(_PNG), None
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(
                f"damaged PNG image (the checksum of its part {kind.decode('ascii', 'replace')!r} is wrong)"
            )
        if size is None:
            if kind != b"IHDR" or length != 13:
                raise ValueError("damaged PNG image (no header)")
            size = struct.unpack_from(">II", data, position + 8)
        if kind == b"IEND":
            return size
        position = end
    raise ValueError("truncated PNG image")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    position, size = 2, None
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and position + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, position + 5)
            size = width, height
        if marker == 0xDA:
            # In what follows the two bytes of the end's marker stand nowhere else.
            if size is None or data.find(b"\xff\xd9", position) < 0:
                break
            return size
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    raise ValueError("truncated or damaged JPEG image")


def write_image(path: Path, image: np.ndarray) -> None:
    """Write uint8 RGB (H, W, 3) or grey (H, W) whole or not at all."""
    if image.dtype != np.uint8:
        raise ValueError(f"expected uint8, received {image.dtype}")
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    encoded, data = cv2.imencode(Path(path).suffix, stored, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not encoded:
        raise ValueError(f"{path}: image of shape {image.shape} cannot be encoded")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.tobytes())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file whole or not at all."""
    # Into a file NumPy writes by ways of its own, whose errors do not say why.
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.getbuffer())


def read_array(path: Path, ndim: int, hint: str) -> np.ndarray:
    """A float32 .npy file with `ndim` dimensions and finite values; UserError names the file and `hint` says
    how it is made."""
    return np.array(open_array(path, ndim, hint, finite=True))


def open_array(path: Path, ndim: int, hint: str, finite: bool = False) -> np.ndarray:
    """The same, but values are read from the file whenever they are needed and take no memory that others
    want; they are only looked at where they have to be `finite`."""
    try:
        require_regular(path)
        # Mapped, a file that is shorter than its header claims is refused before memory for the claim is
        # asked for; a claim beyond all numbers of bytes overflows.
        with np.errstate(over="raise"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    # Damaged bytes can fail in any way: ValueError, EOFError, BadZipFile, TokenError, ...
    except Exception:
        raise UserError(f"{path}: missing or not a readable .npy array; {hint}") from None
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != ndim or not array.size:
        raise UserError(f"{path}: expected a float32 array with {ndim} dimensions; {hint}")
    if finite and not np.isfinite(array).all():
        raise UserError(f"{path}: contains values that are not finite; {hint}")
    return array


def to_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 (..., H, W, 3) -> float32 (..., 3, H, W) in [0, 1] on `device`, where the bytes go as they
    are."""
    return (
        on_device(torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, -3))), device)
        .float()
        .div_(255)
    )


def on_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """The CPU tensor on `device`; to a GPU from pinned memory, so that the copy runs beside the
    computation."""
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_image(tensor: torch.Tensor) -> np.ndarray:
    """Float (..., 3, H, W) in [0, 1] (clamped) -> uint8 (..., H, W, 3), rounded half up as in the released
    code."""
    scaled = tensor.detach().float().clamp(0, 1).mul(255).add(0.5).to(torch.uint8)
    return np.ascontiguousarray(np.moveaxis(scaled.cpu().numpy(), -3, -1))


def pad_to_multiple(tensor: torch.Tensor, multiple: int, minimum: int = 0) -> torch.Tensor:
    """Replicate-pad (..., H, W) at the right and bottom so that both are multiples of `multiple`, at least
    `minimum`.

    Crop back with `[..., :height, :width]`.
    """
    height, width = tensor.shape[-2:]
    bottom, right = (
        max(size + (-size) % multiple, minimum + (-minimum) % multiple) - size for size in (height, width)
    )
    if not bottom and not right:
        return tensor
    flat = tensor.reshape(-1, *tensor.shape[-3:])
    padded = F.pad(flat, (0, right, 0, bottom), mode="replicate")
    return padded.reshape(*tensor.shape[:-2], height + bottom, width + right)
