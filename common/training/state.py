"""All that a training goes on from: weights, their average, the optimiser's state, the log."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.checkpoints import load_checkpoint, load_state_into
from common.errors import UserError
from common.runtime.distributed import World

WARM_UP = 10
"""Steps that the average's memory starts from: (1 + step) / (WARM_UP + step) is below its decay at first,
or the initial weights would be in it for thousands of steps."""


class WeightAverage:
    """Exponential moving average of a network's weights; buffers are taken as they are.

    After step number `step` (from 0): average <- d average + (1 - d) weights, d the smaller of `decay` and
    (1 + step) / (WARM_UP + step).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._trained = {name for name, _ in network.named_parameters(remove_duplicate=False)}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step`."""
        decay = min(self._decay, (1 + step) / (WARM_UP + step))
        for name, value in self._network.state_dict().items():
            if name in self._trained:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`, an average of the same network."""
        for name, value in self.state.items():
            value.copy_(state[name])


class Averaged:
    """Within the block the network has the averaged weights, if there are any; its own afterwards."""

    def __init__(self, network: nn.Module, average: WeightAverage | None) -> None:
        self._network, self._average = network, average

    def __enter__(self) -> None:
        if self._average is not None:
            self._own = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
            self._network.load_state_dict(self._average.state)

    def __exit__(self, *_: Any) -> None:
        if self._average is not None:
            self._network.load_state_dict(self._own)


def payload(
    network: nn.Module,
    average: WeightAverage | None,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
    metadata: dict[str, Any],
) -> dict[str, Any]:
    """What last.pth holds. `model_state` are the weights to use: the averaged ones where there is an average;
    training then goes on from `trained_state`."""
    own = network.state_dict()
    weights = (
        {"model_state": own} if average is None else {"model_state": average.state, "trained_state": own}
    )
    return {**weights, "optimizer_state": optimizer.state_dict(), **progress, **metadata}


def resume(
    network: nn.Module,
    average: WeightAverage | None,
    optimizer: torch.optim.Optimizer,
    path: Path,
    world: World,
) -> dict[str, Any]:
    """Load `path` where it exists and return the progress: step, best, log, losses. UserError for a file that
    this training did not write, and where processes see different files. All processes have to call it."""
    progress = {"step": 0, "best": None, "log": [], "losses": []}
    if path.exists():
        progress = _loaded(network, average, optimizer, path, progress)
    # Processes that begin at different steps would wait for each other for days.
    steps = world.gather(progress["step"])
    if len(set(steps)) > 1:
        raise UserError(
            f"{path}: the processes see different files (steps {', '.join(map(str, steps))}); the output folder has to "
            "be the same on all nodes, and show new files at once; start again"
        )
    return progress


def _loaded(
    network: nn.Module,
    average: WeightAverage | None,
    optimizer: torch.optim.Optimizer,
    path: Path,
    names: Iterable[str],
) -> dict[str, Any]:
    """Load `path`; its values of the `names` of the progress."""
    stored = load_checkpoint(path)
    try:
        own = stored["model_state"] if average is None else stored["trained_state"]
        load_state_into(network, own, str(path))
        if average is not None:
            average.load(stored["model_state"])
        optimizer.load_state_dict(stored["optimizer_state"])
        if not isinstance(stored["step"], int) or not all(
            isinstance(stored[name], list) for name in ("log", "losses")
        ):
            raise TypeError("step, log or losses")
        return {name: stored[name] for name in names}
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path}: not a state that this training can go on from ({type(error).__name__}: {error}); "
            "remove it, or start again with --overwrite"
        ) from None
