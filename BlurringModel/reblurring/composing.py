"""From blurred crops to pictures on disk."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from BlurringModel.reblurring.crops import Box, context_window
from BlurringModel.reblurring.moments import REACH, blend_still
from BlurringModel.reblurring.noise import with_noise_of
from BlurringModel.reblurring.sampling import Model
from BlurringModel.reblurring.shots import Frame, Shot
from BlurringModel.reblurring.windows import Portion
from common.config import BlurringConfig
from common.images import pad_to_multiple, to_tensor, write_image
from common.layout import Layout
from common.rendering.condition_view import condition_picture
from common.runtime.background import Writer
from common.runtime.memory import Splitter
from common.runtime.seeding import derive_seed, numpy_generator
from common.stage import groups

Placed = tuple[Shot, Box]
"""A shot and the window of its padded frame that is blurred."""
Canvases = dict[tuple[Frame, int, int], np.ndarray]
"""Pictures uint8 RGB (H, W, 3) by (frame, copy, index)."""


def blurred_pictures(
    shots: Iterable[Shot], model: Model, config: BlurringConfig, seed: int, split: Splitter
) -> Canvases:
    """The shots' pictures with their boxes blurred, sampled in batches of equal size."""
    shots = list(shots)
    canvases = {(shot.frame, shot.copy, shot.index): shot.image.copy() for shot in shots}
    for padded, same_size in by_size(shots, model, config.area).items():
        for batch in groups(same_size, config.batch_size):
            for placed, blurred in zip(
                batch, split(lambda part: sample(part, model, padded[2:], seed), batch)
            ):
                shot, (r0, c0, r1, c1) = placed[0], placed[0].box
                canvas = canvases[shot.frame, shot.copy, shot.index]
                canvas[r0:r1, c0:c1] = finished(placed, blurred, config, seed)
    return canvases


def by_size(shots: Iterable[Shot], model: Model, area: str) -> dict[tuple[int, int, int, int], list[Placed]]:
    """The shots by height and width of their window and of their padded frame."""
    found = defaultdict(list)
    for shot in shots:
        height, width = (side + (-side) % model.multiple for side in shot.image.shape[:2])
        if area == "frame":
            window = (0, 0, height, width)
        else:
            margin = model.margin(shot.condition(), shot.box)
            window = context_window(shot.box, margin, height, width)
        found[window[2] - window[0], window[3] - window[1], height, width].append((shot, window))
    return dict(found)


def sample(batch: list[Placed], model: Model, padded: tuple[int, int], seed: int) -> np.ndarray:
    """Blurred windows, uint8 RGB (B, h, w, 3), of windows of one size in frames of one padded size."""
    seeds = [derive_seed(seed, "reblur", *shot.identity) for shot, _ in batch]
    crops = torch.stack([crop_of(shot, window, model.multiple) for shot, window in batch])
    return model(crops, seeds, [window for _, window in batch], padded)


def crop_of(shot: Shot, window: Box, multiple: int) -> Tensor:
    """The window of the padded frame, float32 (6, h, w): RGB in [0, 1] and the condition in pixels."""
    r0, c0, r1, c1 = window
    whole = torch.cat([to_tensor(shot.image), torch.from_numpy(shot.condition())])
    return pad_to_multiple(whole, multiple)[:, r0:r1, c0:c1]


def finished(placed: Placed, blurred: np.ndarray, config: BlurringConfig, seed: int) -> np.ndarray:
    """The shot's box (h, w, 3) uint8, cut from its blurred window, with what the configuration adds."""
    shot, (top, left, _, _) = placed
    r0, c0, r1, c1 = shot.box
    result = blurred[r0 - top : r1 - top, c0 - left : c1 - left]
    if shot.still is not None:
        result = blend_still(result, shot.still[r0:r1, c0:c1], shot.condition()[2, r0:r1, c0:c1])
    if config.renoise:
        rng = numpy_generator(seed, "noise", *shot.identity, *shot.box)
        result = with_noise_of(result, shot.noise, rng)
    return result


def write_portion(
    made: Portion, canvases: Canvases, config: BlurringConfig, layout: Layout, writer: Writer
) -> None:
    """Have the pictures of a portion's frames written."""
    for frame, original in made.originals.items():
        own = {(copy, index): canvas for (of, copy, index), canvas in canvases.items() if of is frame}
        shown = [shot for shot in made.shots if (shot.frame, shot.copy, shot.index) == (frame, 0, REACH)]
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


def target_picture(original: np.ndarray, shots: list[Shot]) -> np.ndarray:
    """The frame with its boxes without noise. shots: one for each box."""
    canvas = original.copy()
    for shot in shots:
        r0, c0, r1, c1 = shot.box
        canvas[r0:r1, c0:c1] = shot.target[r0:r1, c0:c1]
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
    """Write a frame's windows, pictures by (copy, index), and where there is one its reblurred picture with
    what belongs to it."""
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
