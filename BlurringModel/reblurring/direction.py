"""Does the blur change when the condition is turned? A model may reblur well on average and ignore the
direction."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from BlurringModel.reblurring.composing import crop_of
from BlurringModel.reblurring.crops import Box
from BlurringModel.reblurring.patches import Patch
from BlurringModel.reblurring.sampling import Model
from common.rendering.line_blur import turned
from common.runtime.seeding import derive_seed

SIDE = 128
"""Side in pixels of the crop that is blurred both ways, where the region is not smaller."""
LEAST_BLUR = 3.0
"""Mean blur in pixels from which on a crop can show a direction."""
LEAST_CHANGE = 1.0
"""Root mean square change by the blur, in grey levels, below which the crop is too smooth to show one."""
SHARE = 0.1
"""A model ignores the direction if turning it changes less than this share of what the blur itself changes."""
MESSAGE = "this ID-Blau ignores the direction: turning the blur conditions by 90 degrees hardly changes its pictures"


def ignores_direction(sharp: np.ndarray, blurred: np.ndarray, across: np.ndarray) -> bool | None:
    """Whether `across`, blurred with the turned condition, is nearly the same as `blurred`.

    Pictures uint8 (h, w, 3). None where the blur changes too little for an answer.
    """
    sharp, blurred, across = (picture.astype(np.float32) for picture in (sharp, blurred, across))
    change = np.sqrt(np.square(blurred - sharp).mean())
    if change < LEAST_CHANGE:
        return None
    return bool(np.sqrt(np.square(blurred - across).mean()) < SHARE * change)


class DirectionTest:
    """Blurs a small crop both ways, once; says so in one line where that makes no difference."""

    def __init__(self, model: Model, seed: int, say: Callable[[str], None]) -> None:
        self._model, self._seed, self._say = model, seed, say
        self._judged = False

    def __call__(self, patches: Sequence[Patch]) -> None:
        """Judge by the first of the patches that is blurred enough; nothing once that was done."""
        if self._judged:
            return
        for patch in patches:
            place = self._place(patch)
            crop = crop_of(patch, place, self._model.multiple)
            if float(crop[5].mean()) >= LEAST_BLUR:
                self._judge(crop, place)
                return

    def _place(self, patch: Patch) -> Box:
        """The place of a crop in the middle of the patch's box, of sides that the model takes."""
        r0, c0, r1, c1 = patch.box
        multiple = self._model.multiple
        sides = []
        for start, stop in ((r0, r1), (c0, c1)):
            side = max(multiple, min(SIDE, stop - start) // multiple * multiple)
            first = (start + stop - side) // 2 // multiple * multiple
            sides.append((first, first + side))
        return sides[0][0], sides[1][0], sides[0][1], sides[1][1]

    def _judge(self, crop: torch.Tensor, place: Box) -> None:
        across = torch.cat([crop[:3], turned(crop[3:])])
        # One seed for both: the same noise.
        seed = derive_seed(self._seed, "direction")
        both = self._model(torch.stack([crop, across]), [seed, seed], [place, place], place[2:])
        sharp = (crop[:3].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
        answer = ignores_direction(sharp, *both)
        self._judged = answer is not None
        if answer:
            self._say(MESSAGE)
