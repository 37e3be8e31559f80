"""Names of a network's weights as files have them: wrappers put prefixes before them."""

from collections.abc import Iterable, Mapping

from torch import Tensor

_WRAPPERS = ("_orig_mod", "module", "net", "network", "model", "generator")
"""Parts of a name that compiling, data-parallel training, averaging or a module that holds the network
add."""
_ANYWHERE = ("_orig_mod", "module")
"""Those of them that may also be added to a part of the network."""
_COUNTERS = ("n_averaged",)
"""What `torch.optim.swa_utils.AveragedModel` stores beside the weights."""


def bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without the wrappers that stand before all of its names, in any nesting."""
    state = {key: tensor for key, tensor in state.items() if key not in _COUNTERS}
    while state:
        first = {key.split(".")[0] if "." in key else "" for key in state}
        if len(first) != 1 or not first <= set(_WRAPPERS):
            break
        start = len(first.pop()) + 1
        state = {key[start:]: tensor for key, tensor in state.items()}
    return state


def fitted(state: Mapping[str, Tensor], own: Iterable[str]) -> Mapping[str, Tensor]:
    """The state under the names `own` of a network, where both are the same but for wrappers; otherwise as it
    is."""
    own = list(own)
    if set(state) == set(own):
        return state
    stored = {key: tensor for key, tensor in state.items() if key in own or key not in _COUNTERS}
    by_core = {_core(key): key for key in own}
    renamed = {by_core.get(_core(key)): tensor for key, tensor in stored.items()}
    unique = len(by_core) == len(own) and len(renamed) == len(stored)
    return renamed if unique and set(renamed) == set(own) else state


def _core(key: str) -> tuple[str, ...]:
    """The parts of a name that are the network's own."""
    parts = key.split(".")
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        parts = parts[1:]
    return tuple(part for part in parts[:-1] if part not in _ANYWHERE) + (parts[-1],)
