"""From blurred crops to pictures on disk."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from BlurringModel.reblurring.crops import Box, context_crop
from BlurringModel.reblurring.measured import blurred
from BlurringModel.reblurring.moments import REACH, blend_still
from BlurringModel.reblurring.noise import with_noise_of
from BlurringModel.reblurring.patches import Frame, Patch
from BlurringModel.reblurring.sampling import Model
from BlurringModel.reblurring.windows import Portion
from common.config import BlurringConfig
from common.images import pad_to_multiple, to_tensor, write_image
from common.layout import Layout
from common.rendering.condition_view import condition_picture
from common.runtime.background import Writer
from common.runtime.memory import Splitter
from common.runtime.seeding import derive_seed, numpy_generator
from common.stage import groups

Placed = tuple[Patch, Box]
"""A patch and the crop of its padded frame that is blurred."""
Canvases = dict[tuple[Frame, int, int], np.ndarray]
"""Pictures uint8 RGB (H, W, 3) by (frame, copy, index)."""


def blurred_pictures(
    patches: Iterable[Patch],
    model: Model,
    config: BlurringConfig,
    seed: int,
    split: Splitter,
) -> Canvases:
    """The patches' pictures with their boxes blurred, sampled in batches of equal size."""
    patches = list(patches)
    canvases = {(patch.frame, patch.copy, patch.index): patch.image.copy() for patch in patches}
    for patch in patches:
        if patch.kernels is not None:
            r0, c0, r1, c1 = patch.box
            box = blurred(patch.image, patch.kernels(), patch.box)
            canvases[patch.frame, patch.copy, patch.index][r0:r1, c0:c1] = finished(
                (patch, patch.box), box, config, seed
            )
    patches = [patch for patch in patches if patch.kernels is None]
    for padded, same_size in by_size(patches, model, config.area).items():
        for batch in groups(same_size, config.batch_size):
            for placed, window in zip(
                batch, split(lambda part: sample(part, model, padded[2:], seed), batch)
            ):
                patch, (r0, c0, r1, c1) = placed[0], placed[0].box
                canvas = canvases[patch.frame, patch.copy, patch.index]
                canvas[r0:r1, c0:c1] = finished(placed, window, config, seed)
    return canvases


def by_size(
    patches: Iterable[Patch],
    model: Model,
    area: str,
) -> dict[tuple[int, int, int, int], list[Placed]]:
    """The patches by height and width of their crop and of their padded frame."""
    found = defaultdict(list)
    for patch in patches:
        height, width = (side + (-side) % model.multiple for side in patch.image.shape[:2])
        if area == "frame":
            place = (0, 0, height, width)
        else:
            margin = model.margin(patch.condition(), patch.box)
            place = context_crop(patch.box, margin, height, width)
        found[place[2] - place[0], place[3] - place[1], height, width].append((patch, place))
    return dict(found)


def sample(batch: list[Placed], model: Model, padded: tuple[int, int], seed: int) -> np.ndarray:
    """Blurred crops, uint8 RGB (B, h, w, 3), of crops of one size in frames of one padded size."""
    seeds = [derive_seed(seed, "reblur", *patch.identity) for patch, _ in batch]
    crops = torch.stack([crop_of(patch, place, model.multiple) for patch, place in batch])
    return model(crops, seeds, [place for _, place in batch], padded)


def crop_of(patch: Patch, place: Box, multiple: int) -> Tensor:
    """The crop at `place` of the padded frame, float32 (6, h, w): RGB in [0, 1] and the condition in pixels."""
    r0, c0, r1, c1 = place
    whole = torch.cat([to_tensor(patch.image), torch.from_numpy(patch.condition())])
    return pad_to_multiple(whole, multiple)[:, r0:r1, c0:c1]


def finished(placed: Placed, blurred: np.ndarray, config: BlurringConfig, seed: int) -> np.ndarray:
    """The patch's box (h, w, 3) uint8, cut from its blurred crop, with what the configuration adds."""
    patch, (top, left, _, _) = placed
    r0, c0, r1, c1 = patch.box
    result = blurred[r0 - top : r1 - top, c0 - left : c1 - left]
    if patch.still is not None:
        result = blend_still(result, patch.still[r0:r1, c0:c1], patch.condition()[2, r0:r1, c0:c1])
    if config.renoise:
        rng = numpy_generator(seed, "noise", *patch.identity, *patch.box)
        result = with_noise_of(result, patch.noise, rng)
    return result


def write_portion(
    made: Portion,
    canvases: Canvases,
    config: BlurringConfig,
    layout: Layout,
    writer: Writer,
) -> None:
    """Pass the pictures of a portion's frames to `write`."""
    for frame, original in made.originals.items():
        own = {(copy, index): canvas for (of, copy, index), canvas in canvases.items() if of is frame}
        shown = [
            patch for patch in made.patches if (patch.frame, patch.copy, patch.index) == (frame, 0, REACH)
        ]
        writer(
            write_frame,
            layout,
            frame,
            own if config.window != "center" else {},
            original,
            target_picture(original, shown) if shown and config.moved.denoise_target else None,
            own.get((0, REACH)),
            shown[0].condition() if shown else None,
        )


def target_picture(original: np.ndarray, patches: list[Patch]) -> np.ndarray:
    """The frame with its boxes without noise. patches: one for each box."""
    canvas = original.copy()
    for patch in patches:
        r0, c0, r1, c1 = patch.box
        canvas[r0:r1, c0:c1] = patch.target[r0:r1, c0:c1]
    return canvas


def write_frame(
    layout: Layout,
    frame: Frame,
    windows: dict[tuple[int, int], np.ndarray],
    original: np.ndarray,
    target: np.ndarray | None,
    reblurred: np.ndarray | None,
    condition: np.ndarray | None,
) -> None:
    """Write a frame's windows, pictures by (copy, index). With `reblurred`, write the frame's other pictures
    too."""
    for (copy, index), canvas in windows.items():
        write_image(layout.window_picture(*frame.key, copy, index), canvas)
    if reblurred is None or condition is None:
        return
    write_image(layout.original(*frame.key), original)
    if target is not None:
        write_image(layout.target(*frame.key), target)
    write_image(layout.blurred_with(*frame.key), condition_picture(condition))
    # Last, because a frame counts as done when this one exists.
    write_image(layout.reblurred(*frame.key), reblurred)
