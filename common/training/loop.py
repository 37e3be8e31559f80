"""One training loop for all networks: mixed precision, gradient clipping, exact resume, one or many processes.

Nothing here draws from a stream that a restart would lose: the batch of step k, the noise in it and the learning rate
depend on (seed, k) alone, so a killed run that is started again ends with the same weights (on the CPU, bit for bit).
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from common.checkpoints import save_checkpoint
from common.images import on_device
from common.layout import BEST, LAST, LOG
from common.runtime.background import prefetch
from common.runtime.distributed import World, compiled, mixed_precision, place
from common.runtime.files import write_csv
from common.runtime.seeding import derive_seed, seed_everything
from common.training.divergence import CHECK_EVERY, Divergence
from common.training.schedule import in_vain
from common.training.state import Averaged, WeightAverage, payload, resume

Batch = tuple[torch.Tensor, ...]
READ_EVERY = 10
"""Steps whose losses are read together: to read one, the process waits for the device, and the device then for it."""


@dataclass(frozen=True)
class Task:
    """What is trained.

    batch: global item numbers (step * batch_size + i) -> tensors on the CPU, first dimension the items.
    loss: (network, batch on the device) -> scalar.
    validate: network -> figures by name, every `validate_every` steps; called in the main process alone, or,
    with `shared`, in all of them, which have to return the same figures.
    best: name of the figure that chooses best.pth, or "" for none; higher_is_better says which way.
    """

    batch: Callable[[list[int]], Batch]
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    validate: Callable[[nn.Module], dict[str, float]] | None = None
    best: str = ""
    higher_is_better: bool = True
    shared: bool = False


@dataclass(frozen=True)
class Plan:
    """How it is trained.

    learning_rate: step -> rate. gradient_clip: largest gradient norm, 0 for none. validate_first: validate before the
    first step too, so that best.pth may be what the training started from. keep: step -> file name of a checkpoint to
    keep after that many steps, or None. section: the one of the configuration that holds learning_rate and
    gradient_clip, for messages. items: step -> numbers of its samples; None for batch_size of them in order.
    average: decay of the weights' moving average that is validated and kept as the result; 0 for none. patience:
    validations, `shared` ones, without a better state after which the training ends; 0 for no such end.
    """

    steps: int
    batch_size: int
    learning_rate: Callable[[int], float]
    gradient_clip: float = 0.0
    precision: str = "fp32"
    seed: int = 2023
    workers: int = 2
    validate_every: int = 1000
    save_every: int = 500
    validate_first: bool = False
    keep: Callable[[int], str | None] = lambda step: None
    label: str = "training"
    section: str = "schedule"
    compile: bool = False
    items: Callable[[int], list[int]] | None = None
    optimizer: str = "adam"
    weight_decay: float = 0.0
    average: float = 0.0
    patience: int = 0


class _WithLoss(nn.Module):
    """Network and loss as one module, so that DistributedDataParallel sees a forward call for any kind of
    loss."""

    def __init__(self, network: nn.Module, loss: Callable[[nn.Module, Batch], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, *batch: torch.Tensor) -> torch.Tensor:
        return self.loss(self.network, batch)


def fit(
    network: nn.Module,
    task: Task,
    plan: Plan,
    folder: Path,
    world: World,
    metadata: dict[str, Any],
) -> list[dict]:
    """Train `network` in place and return the log rows.

    Writes folder/last.pth (all that a restart needs), best.pth (weights with the best validation figure), kept
    checkpoints, and log.csv. `metadata` (network name, architecture, settings) go into every checkpoint. Starts from
    folder/last.pth where there is one. Raises UserError, and leaves the last good state on disk, where it diverges.
    """
    run = _Run(network, task, plan, folder, world, metadata)
    if run.in_vain:
        return run.state["log"]
    run.judge_start()
    # The bar is closed before an error is reported, or it would be drawn once more below it.
    with tqdm(
        total=plan.steps,
        initial=run.state["step"],
        desc=plan.label,
        unit="step",
        disable=not world.main,
        mininterval=1.0,
        dynamic_ncols=True,
    ) as progress:
        for step, batch in _batches(task.batch, plan, run.state["step"], world):
            done = step + 1
            last, kept = done == plan.steps, plan.keep(done)
            validates = done % plan.validate_every == 0 or last
            saves = bool(kept or last or done % plan.save_every == 0)
            run.step(step, batch, validates or saves, saves or done % CHECK_EVERY == 0)
            progress.update()
            if done % READ_EVERY == 0 or last:
                recent = run.losses[-50:]
                progress.set_postfix(loss=f"{sum(recent) / len(recent):.4g}", refresh=False)
            if validates:
                row = run.row(step)
                if world.main and task.validate is not None:
                    progress.write(" ".join(f"{name} {value:.5g}" for name, value in row.items()))
                world.barrier()
            ends = validates and run.in_vain
            if world.main and (saves or ends):
                run.save(done, kept, ends)
            if ends:
                break
    world.barrier()
    return run.state["log"]


class _Run:
    """One training while it runs: what it consists of, and what happens at a step, a validation, a checkpoint."""

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        plan: Plan,
        folder: Path,
        world: World,
        metadata: dict[str, Any],
    ) -> None:
        self.network, self.task, self.plan, self.folder = network, task, plan, folder
        self.world, self.metadata = world, metadata
        compiled(place(network, world.device), plan.compile).train()
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = _optimizer(self.parameters, plan)
        self.average = WeightAverage(network, plan.average) if plan.average else None
        self.module = _WithLoss(network, task.loss)
        self.divergence = Divergence(self.module, folder, world, plan.section, plan.label)
        self.state = resume(network, self.average, self.optimizer, folder / LAST, world)
        self.losses, self.unread = self.state["losses"], []
        if self.state["step"] and world.main:
            print(f"going on after step {self.state['step']} ({folder / LAST})")
        if world.size > 1:
            devices = [world.device] if world.device.type == "cuda" else None
            # The layout that is fastest for convolutions is not the one that buckets of gradients have;
            # copying them is a small part of a step and nothing that a user could change.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            self.module = DistributedDataParallel(self.module, device_ids=devices)

    def judge_start(self) -> None:
        """Validate before the first step, where the plan asks for it."""
        if self.plan.validate_first and not self.state["step"]:
            if self.validates:
                self.state["log"].append({"step": 0} | self.validated(0))
            self.world.barrier()

    def step(self, step: int, batch: Batch, to_be_kept: bool, compares: bool) -> None:
        """One optimiser step. to_be_kept: the weights after it go to disk or are validated. compares: its loss is
        compared with that of the weights that training started from."""
        plan, world, rate = self.plan, self.world, self.plan.learning_rate(step)
        batch = tuple(on_device(item, world.device) for item in batch)
        precision = (self.network, world.device, plan.precision)
        seed, start_loss = derive_seed(plan.seed, "step", step, world.rank), None
        if compares:
            seed_everything(seed)
            with mixed_precision(*precision):
                start_loss = self.divergence.start_loss(batch)
        # The same random numbers for the step itself.
        seed_everything(seed)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with mixed_precision(*precision):
            loss = self.module(*batch)
        loss.backward()
        if plan.gradient_clip:
            nn.utils.clip_grad_norm_(self.parameters, plan.gradient_clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(step)
        self.unread.append(loss.detach().reshape(()))
        if to_be_kept or compares or (step + 1) % READ_EVERY == 0:
            self.read_losses(step, start_loss, to_be_kept)

    def read_losses(self, step: int, start_loss: float | None, to_be_kept: bool) -> None:
        """Read the losses of the steps up to number `step` that have not been read. UserError where the training has
        diverged at one of them (see `Divergence.check` for `start_loss` and `to_be_kept`, which are of `step`)."""
        values = torch.stack(self.unread).tolist()
        self.unread.clear()
        for number, loss in enumerate(values, step + 1 - len(values)):
            self.losses.append(loss)
            of_step = (start_loss, to_be_kept) if number == step else (None, False)
            self.divergence.check(number, loss, self.plan.learning_rate(number), *of_step)

    def row(self, step: int) -> dict[str, float]:
        """A new row of the log after step number `step`: the mean loss since the last one, and figures."""
        losses, rate = self.losses, self.plan.learning_rate(step)
        row = {"step": step + 1, "loss": sum(losses) / len(losses), "learning_rate": rate}
        losses.clear()
        if self.validates:
            row |= self.validated(step + 1)
        self.state["log"].append(row)
        return row

    @property
    def validates(self) -> bool:
        """Whether this process calls the task's validation."""
        return self.task.validate is not None and (self.world.main or self.task.shared)

    @property
    def in_vain(self) -> bool:
        """Whether the plan's patience is at its end. The log alone decides, so a restart does too."""
        return in_vain(self.state["log"], self.task.best, self.task.higher_is_better, self.plan.patience)

    def validated(self, step: int) -> dict[str, float]:
        """The figures of the weights to use (see `common.training.state.payload`); best.pth where they are best."""
        network, task, state = self.network, self.task, self.state
        if task.shared:
            # Running means of a batch normalisation are each process's own until the next step.
            self.world.copy_from_main(network.buffers())
        with Averaged(network, self.average):
            network.eval()
            with torch.inference_mode(), mixed_precision(network, self.world.device, self.plan.precision):
                figures = task.validate(network)
            network.train()
            if task.best:
                value, best = figures[task.best], state["best"]
                # A first figure of NaN counts as worst: comparisons with NaN are always false.
                better = best is None or best != best
                if better or (value > best if task.higher_is_better else value < best):
                    state["best"] = value
                    content = {"model_state": network.state_dict(), "step": step, "figures": figures}
                    if self.world.main:
                        save_checkpoint({**content, **self.metadata}, self.folder / BEST)
        return figures

    def save(self, done: int, kept: str | None, ended: bool) -> None:
        """Write last.pth, log.csv and, where `kept` names it, a checkpoint that stays. ended: before its last step."""
        progress = {**self.state, "step": done, "losses": list(self.losses), "ended": ended}
        content = payload(self.network, self.average, self.optimizer, progress, self.metadata)
        if kept:
            save_checkpoint(content, self.folder / kept)
        write_csv(self.folder / LOG, self.state["log"])
        # Last: a restart relies on the other files where this one exists.
        save_checkpoint(content, self.folder / LAST)


def _optimizer(parameters: list[nn.Parameter], plan: Plan) -> torch.optim.Optimizer:
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=plan.learning_rate(0), weight_decay=plan.weight_decay)
    return torch.optim.Adam(parameters, lr=plan.learning_rate(0))


def _batches(
    make: Callable[[list[int]], Batch],
    plan: Plan,
    first: int,
    world: World,
) -> Iterator[tuple[int, Batch]]:
    """(step, this process's part of the batch) from step `first` on, prepared ahead in worker threads."""

    def items(step: int) -> list[int]:
        return list(range(step * plan.batch_size, (step + 1) * plan.batch_size))

    def build(step: int) -> Batch:
        return make(world.share((plan.items or items)(step)))

    steps = range(first, plan.steps)
    yield from zip(steps, prefetch(build, steps, plan.workers, waiting=plan.workers + 1))
