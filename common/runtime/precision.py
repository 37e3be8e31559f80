"""Mixed precision only where it pays: many processors have no arithmetic for bf16 and emulate it."""

from dataclasses import replace
from typing import TypeVar

import torch

from common.config import Config, TrainConfig
from common.runtime.distributed import World

Settings = TypeVar("Settings", Config, TrainConfig)


def resolve_precision(config: Settings, world: World) -> Settings:
    """`config` with the precision that is computed in: fp32 in place of a bf16 that `world.device` would
    emulate; the main process says so. The results' settings then record what they were made with."""
    if config.runtime.precision != "bf16" or computes_bf16(world.device):
        return config
    if world.main:
        print(
            "runtime.precision: this device has no arithmetic for bf16; float32 is used, which is faster here",
            flush=True,
        )
    return replace(config, runtime=replace(config.runtime, precision="fp32"))


def computes_bf16(device: torch.device) -> bool:
    """Whether `device` itself computes in bf16. Emulated it is many times slower than float32, on a processor
    with AVX2 alone for example (the first lines of scripts/benchmark.py give the speed of a convolution in
    both)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # oneDNN's own answer; without it (a build of PyTorch for other processors) convolutions in bf16 have no
    # fast form.
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
