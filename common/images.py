"""The only place that reads and writes images and arrays: colour order, dtype, range and rounding are fixed here."""
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from common.errors import UserError
from common.files import atomic_write


def read_image(path: Path) -> np.ndarray:
    """An image file as uint8 RGB (H, W, 3). Grey images are repeated to three channels, alpha is dropped.

    Raises UserError naming the file when it is missing or cannot be decoded completely.
    """
    try:
        data = np.frombuffer(Path(path).read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{path}: image cannot be read ({error.strerror})") from None
    if Path(path).suffix.lower() == ".png" and b"IEND" not in data[-12:].tobytes():
        # OpenCV decodes what is there of a truncated PNG and returns it without an error.
        raise UserError(f"{path}: truncated or not a PNG image; copy the file again")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        # A damaged header that claims an impossible size.
        image = None
    if image is None:
        raise UserError(f"{path}: not a readable image; copy or export the file again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path, ndim: int, hint: str) -> np.ndarray:
    """A float32 .npy file with `ndim` dimensions; UserError names the file and `hint` says how it is made."""
    try:
        array = np.load(path, allow_pickle=False)
    # Damaged bytes can fail in any way: ValueError, EOFError, BadZipFile, TokenError, ...
    except Exception:
        raise UserError(f"{path}: missing or not a readable .npy array; {hint}") from None
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != ndim:
        raise UserError(f"{path}: expected a float32 array with {ndim} dimensions; {hint}")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: contains values that are not finite; {hint}")
    return array


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 (..., H, W, 3) -> float32 (..., 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, -3))).float().div_(255)


def to_image(tensor: torch.Tensor) -> np.ndarray:
    """Float (..., 3, H, W) in [0, 1] (clamped) -> uint8 (..., H, W, 3), rounded half up as in the released code."""
    scaled = tensor.detach().float().clamp(0, 1).mul(255).add(0.5).to(torch.uint8)
    return np.ascontiguousarray(np.moveaxis(scaled.cpu().numpy(), -3, -1))


def pad_to_multiple(tensor: torch.Tensor, multiple: int, minimum: int = 0) -> torch.Tensor:
    """Replicate-pad (..., H, W) at the right and bottom so that both are multiples of `multiple`, at least `minimum`.

    Crop back with `[..., :height, :width]`.
    """
    height, width = tensor.shape[-2:]
    bottom, right = (max(size + (-size) % multiple, minimum + (-minimum) % multiple) - size
                     for size in (height, width))
    if not bottom and not right:
        return tensor
    flat = tensor.reshape(-1, *tensor.shape[-3:])
    padded = F.pad(flat, (0, right, 0, bottom), mode="replicate")
    return padded.reshape(*tensor.shape[:-2], height + bottom, width + right)
