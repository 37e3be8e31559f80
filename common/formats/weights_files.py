"""What a weights file holds, read without executing anything in it: PyTorch's formats and safetensors."""

import argparse
import json
import os
import re
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError

_SCALAR = np.float64(0).__reduce__()[0]
_ARRAY = np.zeros(1).__reduce__()[0]
_NUMPY = [
    *((_SCALAR, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")),
    *((_ARRAY, f"{module}.multiarray._reconstruct") for module in ("numpy.core", "numpy._core")),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bhilqBHILQefdSU"},
]
"""What numbers and arrays of NumPy need that stand beside weights: none of it runs what a file says."""
_ALLOWED_CLASSES = [argparse.Namespace, torch.device, *_NUMPY]
"""The released code keeps the command line of its run, with the device in it, beside the weights. Optimiser
and scheduler states of the published files need nothing that torch does not allow by itself."""
_HEADER_BYTES, _MOST_HEADER = 8, 100 * 2**20
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_SEEN = 512
_LISTED = 3


def read_weights_file(path: str | Path) -> Any:
    """The content of a file that torch.save wrote, in its present or older format, or of a safetensors
    file, on the CPU.

    Raises UserError, in one line, for a file that is missing, damaged, something else, or that needs any
    code to be run.
    """
    try:
        if os.path.getsize(path) == 0:
            raise UserError(f"{path}: the file is empty; fetch or make it again")
        with open(path, "rb") as file:
            begin = file.read(_SEEN)
        found = something_else(begin) or _archive(path)
        if found is not None:
            raise UserError(f"{path}: damaged, or not a PyTorch checkpoint ({found})")
        if _is_safetensors(begin, os.path.getsize(path)):
            return dict(_safetensors(Path(path)))
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED_CLASSES):
            # A doubtful file makes torch advise its user at length; the one line below replaces that.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except MemoryError:
        raise UserError(f"{path}: not enough memory to read it; close other programs") from None
    # Unpickling damaged bytes can fail in any way: KeyError, EOFError, RuntimeError, struct.error, ...
    except Exception as error:
        raise UserError(f"{path}: {_reason(error)}") from error


def something_else(begin: bytes) -> str | None:
    """What a file that begins with these bytes is, where it is something that people often save in place of
    weights."""
    text = begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the file it links to; download it again"
    if begin.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; fetch the file itself with git lfs pull"
    for magic, name in ((b"\x1f\x8b", "gzip"), (b"7z\xbc\xaf", "7z"), (b"Rar!", "RAR"), (b"\xfd7zXZ", "xz")):
        if begin.startswith(magic):
            return f"a {name} archive; unpack it"
    return None


def _archive(path: str | Path) -> str | None:
    """Which files an archive around a checkpoint holds, as text; None for torch's own archives and for other
    files."""
    # torch before 2.6 unpickles the storages of a tar archive without any restriction.
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            names = [member.name for member, _ in zip(archive, range(_LISTED))]
        held = f"a real tar archive with {', '.join(names)}; unpack it" if names else "only zeros"
        return f"{held}; published files named .tar are none"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if not any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
            return f"a ZIP archive with {', '.join(names[:_LISTED]) or 'nothing in it'}; unpack it"
    return None


def _is_safetensors(begin: bytes, size: int) -> bool:
    length = int.from_bytes(begin[:_HEADER_BYTES], "little")
    return begin[_HEADER_BYTES : _HEADER_BYTES + 1] == b"{" and 2 <= length <= size - _HEADER_BYTES


def _safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a safetensors file (https://github.com/huggingface/safetensors, "Format").

    Raises ValueError for a header that is too long, no such list, or does not fit the file.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(_HEADER_BYTES), "little")
        if length > _MOST_HEADER:
            raise ValueError(f"its header claims {length} bytes")
        header = json.loads(file.read(length))
        begin, size = _HEADER_BYTES + length, path.stat().st_size
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            dtype, shape = _DTYPES[entry["dtype"]], [int(side) for side in entry["shape"]]
            start, stop = (int(place) for place in entry["data_offsets"])
            count = 1
            for side in shape:
                count *= side
            if min(shape, default=0) < 0 or not 0 <= start <= stop <= size - begin:
                raise ValueError(f"{name} lies outside of the file")
            if stop - start != count * dtype.itemsize:
                raise ValueError(f"{name} has {stop - start} bytes, its shape needs {count * dtype.itemsize}")
            file.seek(begin + start)
            data = bytearray(file.read(stop - start))
            yield (
                name,
                torch.frombuffer(data, dtype=dtype).reshape(shape)
                if data
                else torch.empty(shape, dtype=dtype),
            )


def _reason(error: Exception) -> str:
    text = str(error)
    needed = re.search(r"(?:GLOBAL|unsupported class|unrecognized function) ([\w.]+\.\w+)", text)
    if needed:
        return f"refused, because reading it would need {needed[1]}; choose a file of nothing but weights"
    detail = type(error).__name__
    if text and "Weights only load failed" not in text:
        detail += ": " + " ".join(text.split())[:100]
    return f"damaged, or not a PyTorch checkpoint ({detail}); fetch or make it again"
