"""Random streams that depend on what is drawn for, never on when: order, process and restart do not
matter."""

import hashlib
import random

import numpy as np
import torch


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from any mix of names and numbers, for example (seed, video, frame).

    The parts are joined unambiguously and hashed, so neighbouring numbers give unrelated streams.
    """
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(*parts: str | int) -> np.random.Generator:
    """NumPy generator for `derive_seed(*parts)`."""
    return np.random.default_rng(derive_seed(*parts))


def torch_generator(*parts: str | int) -> torch.Generator:
    """CPU generator for `derive_seed(*parts)`: drawing on the CPU gives equal numbers on every device."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators (weight initialisation, dropout)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
