"""A training that runs away is stopped while the last good state is still on disk."""

import math
from pathlib import Path

import torch
from torch import nn

from common.errors import UserError
from common.layout import LAST
from common.runtime.distributed import World

CHECK_EVERY = 50
"""Steps between comparisons with the start; one costs a forward pass, so less than a hundredth of the
training."""

FAR = 10.0
"""How many times the start's loss is too much. The comparison is on one and the same batch with the same
random numbers,
so it is not the batch that is harder: the weights that training began from would do ten times better on it. A
training that works is below 1 here, and one that is disturbed for a while is not near 10."""

NEGLIGIBLE = 1e-3
"""Losses below this count as this much: near zero ratios say nothing (pairs without blur). All losses here
are of pictures in a range of 1 or of unit noise."""


class Divergence:
    """Watches one training. `module` maps a batch to its loss; `section` is where the settings to change
    are."""

    def __init__(self, module: nn.Module, folder: Path, world: World, section: str, label: str) -> None:
        """To be made while `module` still has the weights that training starts from."""
        self._module, self._folder, self._world, self._section, self._label = (
            module,
            folder,
            world,
            section,
            label,
        )
        # Each once, where a state dict lists a part that is used in several places (Shift-Net) under all of
        # its names.
        own = (*module.named_parameters(), *module.named_buffers())
        self._start = {name: value.detach().clone() for name, value in own}

    @torch.no_grad()
    def start_loss(self, batch: tuple[torch.Tensor, ...]) -> float:
        """The loss of the weights that training started from; statistics that a forward pass updates stay as
        they are."""
        return float(torch.func.functional_call(self._module, self._start, batch))

    def check(self, step: int, loss: float, rate: float, start_loss: float | None, to_be_kept: bool) -> None:
        """Raise UserError, in every process alike, where the training has diverged at `step` (from 0).

        With several processes only steps with a `start_loss` or a state `to_be_kept` are looked at: the
        others do not wait for each other. A state to be kept has to be finite itself: the step that spoils it
        may have had a good loss.
        """
        whole = start_loss is not None or to_be_kept
        if self._world.size > 1 and not whole:
            return
        problem = self._problem(loss, start_loss, to_be_kept)
        if whole:
            problem = next(filter(None, self._world.gather(problem)), None)
        if problem is not None:
            last = self._folder / LAST
            kept = f"{last} keeps the last good state" if last.exists() else "nothing had been saved yet"
            raise UserError(
                f"{self._label}: diverged at step {step + 1}, {problem}; {kept}. Lower "
                f"{self._section}.learning_rate (here {rate:g}), set or lower "
                f"{self._section}.gradient_clip, or use runtime.precision fp32, and start again with "
                "--overwrite"
            )

    def _problem(self, loss: float, start_loss: float | None, to_be_kept: bool) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if start_loss is not None and loss > FAR * max(start_loss, NEGLIGIBLE):
            return f"the loss is {loss:.4g}, that of the weights it started from {start_loss:.4g}"
        if to_be_kept and not all(_finite(value) for value in self._module.state_dict().values()):
            return "weights are NaN or infinite"
        return None


def _finite(value: torch.Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
