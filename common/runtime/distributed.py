"""One process or many: the same code, read from torchrun's environment."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from torch import nn

from common.errors import UserError
from common.runtime.allocator import keep_freed_memory

Item = TypeVar("Item")
PATIENCE = timedelta(days=2)
"""How long processes wait for each other: one may validate, or read a data set, alone. The libraries' own ten
minutes end a healthy run; a process that dies is noticed by torchrun."""
_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """This process among all: `rank` of `size`, computing on `device`; `local_size` of them are on this
    machine."""

    rank: int
    size: int
    device: torch.device
    local_size: int = 1

    @property
    def main(self) -> bool:
        """True in the one process that prints and writes what belongs to all."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's part of `items`: every size-th, starting at rank."""
        return list(items[self.rank :: self.size])

    def memory_share(self, gib: float) -> float:
        """This process's part of the memory that all processes of a machine may use together."""
        return gib / self.local_size

    def barrier(self) -> None:
        """Wait until every process has come here."""
        if self.size > 1:
            # NCCL would have to guess the GPU.
            devices = [self.device.index] if self.device.type == "cuda" else None
            torch.distributed.barrier(device_ids=devices)

    def gather(self, value: Item) -> list[Item]:
        """The `value` of every process, in rank order, in every process."""
        if self.size == 1:
            return [value]
        values: list = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def copy_from_main(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give every process the main process's values, in place. All have to call it."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, 0)


def start(device: str = "auto", tf32: bool = False) -> World:
    """Join the process group if torchrun started this process, and choose the device.

    `device`: auto (CUDA where there is one), cpu or cuda. tf32: let CUDA round the factors of float32
    products to 10 bits of mantissa. Raises UserError when CUDA is asked for where there is
    none, or when only a part of torchrun's variables is set.
    """
    present = [name for name in _VARIABLES if os.environ.get(name)]
    if present and len(present) < len(_VARIABLES):
        missing = ", ".join(name for name in _VARIABLES if name not in present)
        raise UserError(
            f"distributed environment half set: {', '.join(present)} without {missing}; "
            "start with torchrun, or unset them"
        )
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise UserError(
            "runtime.device: cuda asked for, but PyTorch finds no CUDA device here; use auto or cpu"
        )
    use_cuda = cuda and device != "cpu"
    if use_cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        # Sizes hardly change within a stage, so trying the algorithms once for each pays.
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()
    if not present:
        return World(0, 1, torch.device("cuda" if use_cuda else "cpu"))
    try:
        rank, local_rank, size = (int(os.environ[name]) for name in _VARIABLES[:3])
    except ValueError:
        raise UserError(
            "distributed environment: RANK, LOCAL_RANK and WORLD_SIZE have to be whole numbers"
        ) from None
    if use_cuda and local_rank >= torch.cuda.device_count():
        raise UserError(
            f"{local_rank + 1} processes on this machine but {torch.cuda.device_count()} CUDA devices; "
            "use a smaller --nproc_per_node"
        )
    chosen = torch.device("cuda", local_rank) if use_cuda else torch.device("cpu")
    if use_cuda:
        # Objects that processes exchange pass through the current GPU.
        torch.cuda.set_device(chosen)
    if size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            "nccl" if use_cuda else "gloo",
            timeout=PATIENCE,
            device_id=chosen if use_cuda else None,
        )
    return World(rank, size, chosen, _local_size())


def _local_size() -> int:
    """How many processes torchrun started on this machine; 1 where another launcher does not say."""
    stated = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(stated)) if stated.isdecimal() else 1


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on `device`, in the layout that is fastest for images. Weights of three-dimensional
    convolutions have no such layout; a network with any of them stays as it is."""
    return network.to(
        device, memory_format=torch.preserve_format if _has_3d(network) else torch.channels_last
    )


def mixed_precision(network: nn.Module, device: torch.device, precision: str) -> torch.autocast:
    """bf16 autocast for `network` on `device` where `precision` is "bf16"; else a context that changes
    nothing.

    On the CPU a network with three-dimensional convolutions stays in float32: their backward pass in bf16
    with few channels writes outside its memory (seen with PyTorch 2.14 on a processor with AMX) and ends the
    process.
    """
    safe = device.type != "cpu" or not _has_3d(network)
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" and safe)


def precision_record(device: torch.device, precision: str, tf32: bool, compile: bool) -> str:
    """The part of runtime.precision, tf32 and compile that results depend on, as text."""
    return precision + " with TF32" * (tf32 and device.type == "cuda") + " compiled" * compile


def compiled(network: nn.Module, enabled: bool) -> nn.Module:
    """The network itself, its forward pass compiled by torch.compile where `enabled`; keys of its state
    stay."""
    if enabled:
        network.compile()
    return network


def _has_3d(network: nn.Module) -> bool:
    return any(parameter.ndim == 5 for parameter in network.parameters())


def stop() -> bool:
    """Leave the process group; whether this process was in one."""
    joined = torch.distributed.is_initialized()
    if joined:
        torch.distributed.destroy_process_group()
    return joined
