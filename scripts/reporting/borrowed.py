"""Which frame each part of a frame was borrowed from, as a colour."""

from html import escape
from pathlib import Path

import cv2
import numpy as np

from common.images import read_image
from common.layout import ALIGNED, SOURCE, WEIGHT, borrowed_file
from common.videos import Video
from DeblurringModel.borrowing import THIS_FRAME
from scripts.reporting import pictures
from scripts.reporting.collect import Results
from scripts.reporting.maps import Budget
from scripts.reporting.markup import figure, image


def borrowed(results: Results, video: Video, shown: dict[int, str], budget: Budget) -> str:
    """A picture of the sources of each frame `shown`; nothing where nothing was borrowed (deblurring.fusion
    none)."""
    parts, width = [], min(budget.width, 640)
    for model in results.models:
        reach, folder = model.config.deblurring.aligned.reach, model.folder / ALIGNED
        for position in shown:
            weight, source = (borrowed_file(folder, kind, *video.at(position)) for kind in (WEIGHT, SOURCE))
            if weight.exists() and source.exists():
                parts.append(_frame(weight, source, width, reach, video.names[position]))
    if not parts:
        return ""
    bar = source_colours(np.linspace(-reach, reach, 256)[None].repeat(14, 0), np.ones((14, 256)), reach)
    shown_bar = image(pictures.data_uri(bar, "png"), bar.shape, "colours of the sources")
    scale = (
        f'<div class="scale">{shown_bar}<div><span>{reach} frames before</span><span>this frame</span>'
        f"<span>{reach} frames after</span></div></div>"
    )
    hint = (
        "The colour says how many frames earlier or later the sharp picture of this place was taken that is "
        "laid over the blurry one; the darker, the less of it. Black: nothing is borrowed."
    )
    grid = f'<div class="grid">{"".join(parts)}</div>'
    return f'<h3>Borrowed from</h3>{grid}{scale}<p class="hint">{hint}</p>'


def _frame(weight: Path, source: Path, width: int, reach: int, name: str) -> str:
    share, number = (read_image(path)[..., 0] for path in (weight, source))
    drawn = source_colours(number.astype(np.float32) - THIS_FRAME, share / 255, reach)
    drawn = pictures.fitted(drawn, width)
    alt = f"which frames the parts of frame {name} were borrowed from"
    return figure(
        image(pictures.data_uri(drawn, quality=92), drawn.shape, alt),
        f"Frame {escape(name)}: {share.mean() / 2.55:.0f} % borrowed",
    )


def source_colours(offset: np.ndarray, weight: np.ndarray, reach: int) -> np.ndarray:
    """uint8 RGB (H, W, 3): from blue, `reach` frames earlier, to red, as many later; the darker, the smaller
    the `weight` (H, W), 0..1."""
    levels = ((np.clip(offset, -reach, reach) / reach + 1) * 127.5).round().astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    return (colours * weight[..., None]).round().astype(np.uint8)
