"""One picture of a run: blurry input, before adaptation, adapted, fused and ground truth where there are any, whole and
below that a part of it, enlarged.

Reads    the videos and <output>/deblurring/<model>/{baseline,adapted,fused} of a config
Writes   <output>/deblurring/<model>/comparison.png: of each video the frame that the method changed most, and the part
         of it that it changed most
Usage    python scripts/compare.py --config configs/demo.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.errors import UserError
from common.images import read_image, write_image
from common.layout import ADAPTED, BASELINE, FUSED, NetworkLayout
from common.runtime.entry import run
from common.stage import open_stage
from common.videos import Video
from DeblurringModel.variants import network_layout

MOST_VIDEOS = 4
ENLARGED = 3
"""How many times the part of a frame is enlarged; it is as large as the frame then."""


def main() -> None:
    """Draw the comparison."""
    stage = open_stage(__doc__.splitlines()[0])
    layout = network_layout(stage.config)
    rows = [row(layout, video) for video in stage.videos[:MOST_VIDEOS]]
    width = max(picture.shape[1] for picture in rows)
    rows = [np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0))) for picture in rows]
    write_image(layout.comparison, np.concatenate(rows))
    print(f"look at {layout.comparison}")


def row(layout: NetworkLayout, video: Video) -> np.ndarray:
    """The pictures of one frame side by side with their names, uint8 (h, w, 3)."""
    results = {"before adaptation": BASELINE, "adapted": ADAPTED, "fused": FUSED}
    shown = {
        label: layout.variant(variant)
        for label, variant in results.items()
        if variant != FUSED or (layout.variant(FUSED) / video.name).is_dir()
    }
    complete = [
        position
        for position in range(len(video.frames))
        if all(video.restored(place, position).exists() for place in shown.values())
    ]
    if not complete:
        raise UserError(
            f"{layout.folder}: no restored frames of {video.name}; run python DeblurringModel/main.py first"
        )
    first, last = list(shown.values())[0], list(shown.values())[-1]
    position = max(complete, key=lambda at: changed(video.restored(first, at), video.restored(last, at)))
    paths = {"blurry input": video.frames[position]}
    paths |= {label: video.restored(place, position) for label, place in shown.items()}
    if video.sharp:
        paths["ground truth"] = video.sharp[position]
    pictures = {label: read_image(path) for label, path in paths.items()}
    part = most_changed(pictures["blurry input"], pictures[list(shown)[-1]])
    whole = np.concatenate([labelled(picture, label) for label, picture in pictures.items()], axis=1)
    return np.concatenate([whole, np.concatenate([enlarged(p, part) for p in pictures.values()], axis=1)])


def most_changed(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Top and left of the part of 1 / ENLARGED of the height and width in which two pictures differ most."""
    height, width = (side // ENLARGED for side in before.shape[:2])
    change = np.abs(before.astype(np.float32) - after).mean(2)
    mean = cv2.boxFilter(change, -1, (width, height), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    inside = mean[: before.shape[0] - height + 1, : before.shape[1] - width + 1]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return int(top), int(left)


def enlarged(picture: np.ndarray, part: tuple[int, int]) -> np.ndarray:
    """The part with this top and left as large as the whole picture, uint8 (h, w, 3)."""
    (top, left), (height, width) = part, picture.shape[:2]
    cut = picture[top : top + height // ENLARGED, left : left + width // ENLARGED]
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_CUBIC)


def changed(before: Path, after: Path) -> float:
    """Mean absolute difference of two pictures in grey levels."""
    return float(np.abs(read_image(before).astype(int) - read_image(after)).mean())


def labelled(picture: np.ndarray, label: str) -> np.ndarray:
    """A copy with its name in the upper left corner."""
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text(
        (6, 4), label, fill="white", stroke_width=2, stroke_fill="black", font=ImageFont.load_default(size=16)
    )
    return np.asarray(image)


if __name__ == "__main__":
    run(main)
