"""A training in stages: crop, frames and batch size may change at given shares of the steps."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from common.config import ScheduleConfig, StageConfig
from common.errors import UserError


@dataclass(frozen=True)
class Stage:
    """What holds from `first_step` and sample number `first_item` on."""

    first_step: int
    first_item: int
    crop_size: int
    frames: int
    batch_size: int


class Stages:
    """The stages of one training, in order; samples are numbered through all of them."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)

    def at_step(self, step: int) -> Stage:
        """The stage that step number `step` (from 0) belongs to."""
        return self.stages[bisect.bisect_right([stage.first_step for stage in self.stages], step) - 1]

    def at_item(self, item: int) -> Stage:
        """The stage that sample number `item` belongs to; negative numbers, to the first."""
        place = bisect.bisect_right([stage.first_item for stage in self.stages], max(item, 0))
        return self.stages[place - 1]

    def items(self, step: int) -> list[int]:
        """The numbers of the samples of step number `step`."""
        stage = self.at_step(step)
        first = stage.first_item + (step - stage.first_step) * stage.batch_size
        return list(range(first, first + stage.batch_size))


def planned(schedule: ScheduleConfig, steps: int) -> Stages:
    """The stages of `steps` steps: those of schedule.stages, or one with the schedule's own sizes. Each
    begins at the step nearest to its share. UserError unless the shares sum to 1 and each has a step."""
    listed = schedule.stages or [StageConfig(1.0)]
    total = sum(stage.share for stage in listed)
    if abs(total - 1) > 1e-6:
        raise UserError(f"schedule.stages: the shares have to sum to 1, found {total:g}")
    stages, passed, step, item = [], 0.0, 0, 0
    for number, stage in enumerate(listed):
        batch = stage.batch_size or schedule.batch_size
        stages.append(
            Stage(step, item, stage.crop_size or schedule.crop_size, stage.frames or schedule.frames, batch)
        )
        passed += stage.share
        following = round(passed * steps)
        if following <= step:
            raise UserError(f"schedule.stages[{number}]: share {stage.share:g} of {steps} steps is none")
        item += (following - step) * batch
        step = following
    return Stages(stages)
