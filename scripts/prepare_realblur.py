"""Bring RealBlur-J into the layout of configs/realblur_j.yaml: a scene's stills become the frames of a video.

Reads    SOURCE/.../<scene>/blur/blur_<N>.png and <scene>/gt/gt_<N>.png, as unpacked from the download of the data set's
         authors (github.com/rimchang/RealBlur), and with --list their RealBlur_J_test_list.txt
Writes   OUT/<scene>/{Blur,Sharp}/RGB/<N>.png: a link where a still has the scene's common size, else a cropped copy
Usage    python scripts/prepare_realblur.py ~/Downloads/RealBlur --list ~/Downloads/RealBlur_J_test_list.txt

The stills of a scene differ slightly in size, and a video needs one size. The common size is the least height
and the least width in the scene; larger stills are cropped to it around their centre, the ground truth like
the still. (How the published figures were made to cope is not on record.) Neighbours in time are neighbours
by number.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

import numpy as np

from common.errors import UserError
from common.images import read_image, write_image
from common.runtime.entry import run
from scripts.datasets import (
    Pair,
    finish,
    frames_in,
    link,
    number,
    pair_by_number,
    png_size,
    unexpected_entries,
)

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Prepare every scene."""
    options = parse()
    wanted = None if options.list is None else listed_stills(options.list)
    scenes = find_scenes(options.source)
    if wanted is None:
        print(
            f"warning: no --list, so all {len(scenes)} scenes are taken; the published figures are of the test list"
        )
    problems = [
        f"{scene}: in {options.list}, but not in {options.source}"
        for scene in sorted(set(wanted or ()) - set(scenes))
    ]
    kept = sorted(set(scenes) & set(wanted)) if wanted is not None else sorted(scenes)
    for scene in kept:
        pairs, missing = pair_by_number(*scenes[scene], scene)
        if wanted is not None:
            numbers = {number(blur) for blur, _ in pairs}
            missing = [
                f"{scene}: still {still} of the list is missing" for still in sorted(wanted[scene] - numbers)
            ]
            pairs = [pair for pair in pairs if number(pair[0]) in wanted[scene]]
        problems += missing
        if pairs:
            problems += place(pairs, options.out / scene)
    problems += unexpected_entries(options.out, kept)
    finish("realblur_j", options.out, problems)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with the unpacked scenes, at any depth")
    parser.add_argument(
        "--list", type=Path, help="RealBlur_J_test_list.txt: take only the stills that it names"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "data" / "RealBlur_J",
        help="folder to write (default data/RealBlur_J)",
    )
    return parser.parse_args()


def listed_stills(path: Path) -> dict[str, set[int]]:
    """Scene -> numbers of the stills that a list file (`.../<scene>/gt/gt_<N>.png
    .../<scene>/blur/blur_<N>.png` a line) names. Raises UserError for another format."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    stills: dict[str, set[int]] = {}
    for line in filter(str.strip, lines):
        named = re.search(r"([^/\s]+)/(?:blur/)?blur_(\d+)\.png", line)
        if named is None:
            raise UserError(
                f"{path}: expected lines with .../<scene>/blur/blur_<N>.png, found {line.strip()[:80]!r}"
            )
        stills.setdefault(named[1], set()).add(int(named[2]))
    return stills


def find_scenes(source: Path) -> dict[str, tuple[list[Path], list[Path]]]:
    """Scene -> its blurry stills and its ground truth. Raises UserError where there is none, or one name
    twice."""
    if not source.is_dir():
        raise UserError(f"{source}: no such folder")
    scenes: dict[str, tuple[list[Path], list[Path]]] = {}
    for folder in sorted({path.parent for path in source.rglob("blur_*.png")}):
        scene = folder.parent if folder.name == "blur" else folder
        if "RealBlur-R" in str(folder.relative_to(source)):
            # The download holds both sets, with scenes of the same names.
            continue
        if scene.name in scenes:
            raise UserError(
                f"{scene}: a second scene of the name {scene.name}; give the folder of RealBlur-J alone"
            )
        truth = scene / "gt" if folder.name == "blur" else scene
        scenes[scene.name] = (
            [path for path in frames_in(folder) if path.name.startswith("blur_")],
            [path for path in frames_in(truth) if path.name.startswith("gt_")],
        )
    if not scenes:
        raise UserError(f"{source}: no blur_<N>.png below it; give the folder of the unpacked RealBlur-J")
    return scenes


def place(pairs: list[Pair], folder: Path) -> list[str]:
    """Link or crop a scene's stills; returns a line for each file that does not belong there."""
    sizes = {path: png_size(path) for pair in pairs for path in pair}
    width, height = (min(size[axis] for size in sizes.values()) for axis in (0, 1))
    for pair in pairs:
        for path, kind in zip(pair, ("Blur", "Sharp")):
            target = folder / kind / "RGB" / f"{number(pair[0])}.png"
            if sizes[path] == (width, height):
                link(path, target)
            elif target.is_symlink() or not target.exists() or png_size(target) != (width, height):
                target.unlink(missing_ok=True)
                write_image(target, centre(read_image(path), height, width))
    names = [f"{number(blur)}.png" for blur, _ in pairs]
    return [line for kind in ("Blur", "Sharp") for line in unexpected_entries(folder / kind / "RGB", names)]


def centre(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle (height, width) of an image (H, W, 3) that is at least as large."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


if __name__ == "__main__":
    run(main)
