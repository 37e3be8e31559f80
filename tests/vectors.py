"""Test vectors: deterministic weights and inputs made from names alone, and the stored expected outputs.

Two implementations of one network that use the same parameter names and shapes get the same weights from
`fill`, so outputs can be compared without a checkpoint file. `numpy.random.RandomState` is used because its
stream is frozen across NumPy releases.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "data"


def _random(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)


def values(name: str, shape: tuple[int, ...], gain: float = 1.0) -> np.ndarray:
    """Float32 values of the state-dict entry `name`: kernels and matrices normal with deviation
    gain / sqrt(fan_in), biases and running means 0.05 normal, running variances 1 + 0.1 |normal|,
    other vectors and scalars 1 + 0.1 normal."""
    noise = _random(name).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if name.endswith(("bias", "running_mean")):
        return 0.05 * noise
    if len(shape) >= 2:
        return noise * np.float32(gain / np.sqrt(int(np.prod(shape[1:]))))
    return 1 + 0.1 * noise


def fill(module: torch.nn.Module, gain: float = 1.0, skip: tuple[str, ...] = ()) -> torch.nn.Module:
    """Overwrite every floating-point state-dict entry of `module` whose name does not start with one of
    `skip`."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and not any(name.startswith(prefix) for prefix in skip):
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(values(name, tuple(tensor.shape), gain))))
    return module


def image(name: str, *shape: int) -> torch.Tensor:
    """Smooth float32 test tensor in [0, 1], upsampled low-frequency noise; the last two dimensions are H,
    W."""
    *lead, height, width = shape
    coarse = _random(name).rand(int(np.prod(lead or [1])), 1, max(2, height // 8), max(2, width // 8))
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(coarse.astype(np.float32)), size=(height, width), mode="bilinear", align_corners=True
    )
    return smooth.reshape(*lead, height, width)


def normal(name: str, *shape: int) -> torch.Tensor:
    """Standard normal float32 tensor made from `name`."""
    return torch.from_numpy(_random(name).standard_normal(shape).astype(np.float32))


def manifest(network: str) -> dict:
    """The stored manifest tests/data/<network>.json: keys, shapes, configuration, cases."""
    return json.loads((DATA / f"{network}.json").read_text())


def expected(network: str) -> dict[str, np.ndarray]:
    """The stored arrays of tests/data/<network>.npz by name."""
    with np.load(DATA / f"{network}.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def relative_error(actual: torch.Tensor | np.ndarray, reference: np.ndarray) -> float:
    """Relative L2 distance ||actual - reference|| / ||reference|| in float64."""
    actual = np.asarray(actual, dtype=np.float64)
    if actual.shape != reference.shape:
        raise ValueError(f"shapes differ: {actual.shape} against {reference.shape}")
    return float(np.linalg.norm(actual - reference) / np.linalg.norm(reference.astype(np.float64)))


def shapes(module: torch.nn.Module) -> dict[str, list[int]]:
    """State-dict keys and shapes as plain lists, to compare with a manifest."""
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
