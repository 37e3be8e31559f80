"""The only place that reads and writes images and arrays: colour order, dtype, range and rounding are fixed
here."""

import io
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from common.errors import UserError
from common.formats.image_formats import decoded
from common.runtime.files import atomic_write, require_regular
from common.runtime.memory import out_of_memory


def read_image(path: Path) -> np.ndarray:
    """A PNG, JPEG, TIFF, WebP or BMP file, by its content, as uint8 RGB (H, W, 3), upright. Grey images are
    repeated to three channels, alpha is dropped, of 16 bits the upper 8 are kept.

    Raises UserError naming the file when it is missing, cannot be decoded completely, holds several pictures,
    or has more than `common.formats.image_formats.MOST_PIXELS`.
    """
    return read_with_changes(path)[0]


def read_with_changes(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The same, and what was changed to make it 8-bit RGB, of the words of `common.formats.image_formats`."""
    try:
        require_regular(path)
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: image cannot be read ({error.strerror})") from None
    try:
        return decoded(data)
    except ValueError as error:
        raise UserError(f"{path}: {error}; copy or export the file again") from None


def write_image(path: Path, image: np.ndarray) -> None:
    """Write uint8 RGB (H, W, 3) or grey (H, W) whole or not at all."""
    if image.dtype != np.uint8:
        raise ValueError(f"expected uint8, received {image.dtype}")
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    encoded, data = cv2.imencode(Path(path).suffix, stored, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not encoded:
        # libpng says no more than that it failed. Of a shape that OpenCV takes, it only lacks memory.
        raise MemoryError(f"{path}: image of shape {image.shape} cannot be encoded")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.tobytes())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file whole or not at all."""
    # Into memory first: NumPy's errors in writing a file do not name the cause.
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.getbuffer())


def read_array(path: Path, ndim: int, hint: str) -> np.ndarray:
    """A float32 .npy file with `ndim` dimensions and finite values; UserError names the file and `hint` says
    how it is made. Memory that does not suffice is told as such, by MemoryError or OSError."""
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
    except Exception as error:
        if out_of_memory(error):
            # The file is as good as it was.
            raise
        raise UserError(f"{path}: missing or not a readable .npy array; {hint}") from None
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != ndim or not array.size:
        raise UserError(f"{path}: expected a float32 array with {ndim} dimensions; {hint}")
    if finite and not np.isfinite(array).all():
        raise UserError(f"{path}: contains values that are not finite; {hint}")
    return array


def to_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 (..., H, W, 3) -> float32 (..., 3, H, W) in [0, 1] on `device`; what is copied there is uint8."""
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
