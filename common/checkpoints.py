"""Checkpoint files: the published ones of every network, and our own. Nothing in a file is ever executed."""

import hashlib
import io
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.formats.weights_files import read_weights_file
from common.formats.weights_keys import fitted
from common.runtime.files import atomic_write

# Where files keep their weights, averaged ones first: they are what their authors measured. Some hold the
# network's name, a string, under `model`.
_WEIGHT_KEYS = (
    "model_state",
    "params_ema",
    "state_dict_ema",
    "model_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "net",
    "network",
    "generator",
    "module",
    "weights",
)
_DEEPEST = 3
"""Dictionaries within each other in which weights are looked for."""

# What wrappers (data-parallel, or a module holding the network) put before every key, the longer ones first.
_WRAPPER_PREFIXES = ("model.module.", "module.model.", "module.")

# A buffer that only ID-Blau's diffusion wrapper has.
_DIFFUSION_BUFFER = "sqrt_alphas_cumprod"

_PLAIN_VALUES = (
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    Tensor,
    nn.Parameter,
    torch.Size,
    torch.dtype,
    torch.device,
)
_LISTED = 3


def load_state(path: str | Path) -> dict[str, Tensor]:
    """The weights of a checkpoint file as CPU tensors in the precision they were stored in.

    Read are weights under one of _WEIGHT_KEYS (the first of these that maps names to tensors, or holds such
    a mapping), or a file that is such a mapping itself; in torch's present or its older format, or
    safetensors. `n_averaged`, a counter of averaged weights, is left out. Three rules turn its keys into
    those of the bare network: - `_orig_mod.`, which compiling adds, is removed wherever it stands; -
    `model.module.`, `module.model.` or `module.` is removed from the start of the keys, if every key starts
    with it; - in a diffusion model (known by its buffer `sqrt_alphas_cumprod`) only the network below
    `model.` is wrapped, not the schedule buffers; there `model.module.X` becomes `model.X`, if all its keys
    are so. No other part of a key changes; `load_state_into` removes further wrappers where the network's
    own keys tell that they are none of it.

    Raises UserError, in one line, for a file that is missing, damaged, no checkpoint, without weights, or
    that needs any code to be run.
    """
    for candidate in _candidates(read_weights_file(path), _DEEPEST):
        if _is_state(candidate):
            return _without_wrappers({key: tensor.detach() for key, tensor in candidate.items()})
    raise UserError(
        f"{path}: holds no weights, neither directly nor under {', '.join(_WEIGHT_KEYS)}; "
        "choose a checkpoint of the network"
    )


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """The whole dictionary of a training checkpoint that `save_checkpoint` wrote, on the CPU.

    Raises UserError, in one line, for a file that `load_state` would refuse to read, or that has no
    `model_state`.
    """
    content = read_weights_file(path)
    if (
        not isinstance(content, dict)
        or not _is_state(content.get("model_state"))
        or not all(type(content.get(name, 0)) is int for name in ("step", "epochs", "steps_per_epoch"))
    ):
        raise UserError(
            f"{path}: not a training checkpoint of this project (no weights under model_state, or no "
            "step); training resumes only from a file that it wrote"
        )
    return content


def stored_entry(path: str | Path, name: str) -> Any:
    """What a checkpoint of this project says of itself under `name`; None where it, or another's file, says
    nothing.

    Raises UserError for a file that `load_state` would refuse to read.
    """
    content = read_weights_file(path)
    return content.get(name) if isinstance(content, dict) else None


def load_state_into(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy `state` into `module`, whose precision and device stay as they are. Its keys may have further or
    fewer wrappers (`common.formats.weights_keys.fitted`).

    Raises UserError, in one line with `source`, when keys are missing, unexpected, wrongly shaped or no real
    numbers, or a value is NaN or infinite (also: too large for the module's precision); then the module is
    unchanged.
    """
    own = module.state_dict()
    state = fitted(state, own)
    wrong_shape = [
        f"{key} {_shape(state[key])} instead of {_shape(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [
        _listed("missing", [key for key in own if key not in state]),
        _listed("unexpected", [key for key in state if key not in own]),
        _listed("wrongly shaped", wrong_shape),
        _listed(
            "no real numbers in",
            [
                key
                for key in own
                if key in state and own[key].is_floating_point() and not state[key].is_floating_point()
            ],
        ),
    ]
    if any(problems):
        mismatch = "; ".join(filter(None, problems))
        raise UserError(
            f"{source}: does not fit {type(module).__name__}: {mismatch}; "
            "choose weights of this network, or its architecture as in the file"
        )
    broken = [key for key in own if not torch.isfinite(state[key].to(own[key].dtype)).all()]
    if broken:
        raise UserError(
            f"{source}: {_listed('NaN or infinite values in', broken)}; choose an undamaged checkpoint"
        )
    module.load_state_dict(state, strict=True)


def load_into(module: nn.Module, path: str | Path) -> None:
    """Load the weights of the file `path` into `module`: `load_state`, then `load_state_into`."""
    load_state_into(module, load_state(path), str(path))


def save_checkpoint(payload: dict[str, Any], path: str | Path) -> None:
    """Write a training checkpoint; the file appears whole or not at all, its folder is created when absent.

    Raises TypeError for a value that `load_checkpoint` would refuse later (NumPy scalars and arrays, other
    objects).
    """
    _require_plain(payload, "payload")
    # Into memory first. Given a path, torch.save writes the temporary file's name into the archive, so equal
    # states would give unequal files. Given a file, its errors do not name the cause.
    data = io.BytesIO()
    torch.save(_anew(payload), data)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.getbuffer())


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits. Raises UserError when the file cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _candidates(content: Any, depth: int) -> Iterator[Any]:
    """What may be weights in a file's content, the likeliest first."""
    if not isinstance(content, Mapping):
        return
    for key in _WEIGHT_KEYS:
        if depth and key in content:
            yield from _candidates(content[key], depth - 1)
    yield content


def _is_state(candidate: Any) -> bool:
    # Sparse and quantised tensors are not supported.
    return (
        isinstance(candidate, Mapping)
        and len(candidate) > 0
        and all(
            isinstance(key, str)
            and isinstance(value, Tensor)
            and not value.is_meta
            and value.layout == torch.strided
            and not value.is_quantized
            for key, value in candidate.items()
        )
    )


def _without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {key.replace("_orig_mod.", ""): tensor for key, tensor in state.items() if key != "n_averaged"}
    for prefix in _WRAPPER_PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: tensor for key, tensor in state.items()}
            break
    network = {key for key in state if key.startswith("model.")}
    if _DIFFUSION_BUFFER in state and all(key.startswith("model.module.") for key in network):
        state = {
            "model." + key[len("model.module.") :] if key in network else key: tensor
            for key, tensor in state.items()
        }
    return state


def _listed(what: str, items: list[str]) -> str:
    """`<what> <count> (<first few>)`, empty when there are none."""
    if not items:
        return ""
    return f"{what} {len(items)} ({', '.join(items[:_LISTED])}{', ...' if len(items) > _LISTED else ''})"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _anew(value: Any) -> Any:
    """The same content in new containers and interned words. A pickle depends on which of its objects are one
    and the
    same, which a restart changes: without this, equal states would be unequal files."""
    if type(value) in (dict, OrderedDict, Counter):
        return type(value)({_anew(key): _anew(inside) for key, inside in value.items()})
    if type(value) in (list, tuple):
        return type(value)([_anew(inside) for inside in value])
    return sys.intern(value) if type(value) is str else value


def _require_plain(value: Any, name: str) -> None:
    """Exact types: a NumPy float64 is a Python float to isinstance, and a foreign class in the file."""
    children: Iterable[tuple[Any, Any]] = ()
    if type(value) in (dict, OrderedDict, Counter):
        children = value.items()
    elif type(value) in (list, tuple):
        children = enumerate(value)
    elif type(value) not in _PLAIN_VALUES:
        raise TypeError(
            f"{name}: a checkpoint takes tensors and plain Python values, not "
            f"{type(value).__module__}.{type(value).__name__}; convert it first"
        )
    for key, child in children:
        if type(key) not in (str, int):
            raise TypeError(f"{name}: keys of a checkpoint are str or int, not {type(key).__name__}")
        _require_plain(child, f"{name}.{key}")
