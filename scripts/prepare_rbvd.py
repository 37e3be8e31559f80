"""Bring RBVD's test videos into the layout of configs/rbvd.yaml, by links, and check them.

Reads    SOURCE/<video>/<blur>/<frame>.png and SOURCE/<video>/<sharp>/<frame>.png, or SOURCE/<blur>/<video>/<frame>.png
         and SOURCE/<sharp>/<video>/<frame>.png (download: github.com/XJTU-CVLAB-LOWLEVEL/RNN-MBP)
Writes   OUT/<video>/{Blur,Sharp}/RGB/<frame>.png: links to the frames
Usage    python scripts/prepare_rbvd.py ~/Downloads/RBVD/test [--blur Blur] [--sharp GT]

What the two folders are called in the download is not on record here. Usual names are tried; --blur and
--sharp give others. Blurry frame and ground truth belong together by the number in their names.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from common.errors import UserError
from common.runtime.entry import run
from scripts.datasets import finish, frames_in, link, pair_by_number, unexpected_entries

ROOT = Path(__file__).resolve().parents[1]
BLUR = ("Blur/RGB", "Blur", "blur", "Blurry", "blurry", "Input", "input")
SHARP = ("Sharp/RGB", "Sharp", "sharp", "GT", "gt", "Target", "target")


def main() -> None:
    """Prepare every video."""
    options = parse()
    if not options.source.is_dir():
        raise UserError(f"{options.source}: no such folder")
    videos = find_videos(options.source, options.blur, options.sharp)
    if not videos:
        raise UserError(
            f"{options.source}: no video found in <video>/<folder> or <folder>/<video>, with folder one of "
            f"{', '.join(options.blur)}; name yours with --blur"
        )
    problems = []
    for name, (blur, sharp) in videos.items():
        pairs, missing = pair_by_number(frames_in(blur), frames_in(sharp) if sharp else [], name)
        tried = f"{name}: no ground truth folder (tried {', '.join(options.sharp)}; name yours with --sharp)"
        problems += missing if sharp else [tried]
        for first, second in pairs:
            link(first, options.out / name / "Blur" / "RGB" / first.name)
            link(second, options.out / name / "Sharp" / "RGB" / first.name)
        for kind in ("Blur", "Sharp"):
            problems += unexpected_entries(
                options.out / name / kind / "RGB", [first.name for first, _ in pairs]
            )
    finish("rbvd", options.out, problems + unexpected_entries(options.out, videos))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder that holds the test videos")
    parser.add_argument(
        "--blur", type=lambda name: (name,), default=BLUR, help="name of the folders of blurry frames"
    )
    parser.add_argument(
        "--sharp", type=lambda name: (name,), default=SHARP, help="name of the folders of ground truth"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "data" / "RBVD", help="folder to write (default data/RBVD)"
    )
    return parser.parse_args()


def find_videos(
    source: Path,
    blur: tuple[str, ...],
    sharp: tuple[str, ...],
) -> dict[str, tuple[Path, Path | None]]:
    """Video -> folder of its blurry frames, and of its ground truth where there is one."""
    folders = [path for path in sorted(source.iterdir()) if path.is_dir()]
    by_video = {
        folder.name: (
            first_with_frames([folder / name for name in blur]),
            first_with_frames([folder / name for name in sharp]),
        )
        for folder in folders
    }
    found = {name: pair for name, pair in by_video.items() if pair[0] is not None}
    if found:
        return found
    videos = {
        path.name: path
        for name in blur
        if (source / name).is_dir()
        for path in sorted((source / name).iterdir())
        if frames_in(path)
    }
    return {
        name: (path, first_with_frames([source / kind / name for kind in sharp]))
        for name, path in videos.items()
    }


def first_with_frames(folders: list[Path]) -> Path | None:
    """The first folder that holds PNG frames."""
    return next((folder for folder in folders if frames_in(folder)), None)


if __name__ == "__main__":
    run(main)
