"""Bring the BSD test videos into the layout of configs/bsd_*.yaml, by links, and check them.

Reads    SOURCE/<setting>/[test/]<video>/{Blur,Sharp}/RGB/<frame>.png, as it is unpacked from the download of the data
         set's authors (github.com/zzh-tech/ESTRNN); <setting> is BSD_1ms8ms or 1ms8ms, and so on
Writes   OUT/<setting>/<video>: a link to the video's folder; nothing where SOURCE has that layout already
Usage    python scripts/prepare_bsd.py ~/Downloads/BSD
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from common.errors import UserError
from common.runtime.entry import run
from scripts.datasets import finish, frames_in, link, unexpected_entries

SETTINGS = ("1ms8ms", "2ms16ms", "3ms24ms")
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Prepare every setting that is there; say which are not."""
    options = parse()
    found = {
        setting: folder for setting in options.settings if (folder := setting_folder(options.source, setting))
    }
    absent = [setting for setting in options.settings if setting not in found]
    if not found:
        raise UserError(
            f"{options.source}: holds none of {', '.join(f'BSD_{name}' for name in options.settings)}; "
            "give the folder that does"
        )
    failed = []
    for setting, folder in found.items():
        try:
            prepare(setting, folder, options.out / setting)
        except UserError as error:
            print(f"error: {error}")
            failed.append(setting)
    for setting in absent:
        print(f"missing: BSD {setting} (no BSD_{setting} in {options.source})")
    if failed:
        raise UserError(f"not ready: {', '.join(failed)}, see above")


def parse() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder that holds BSD_1ms8ms, BSD_2ms16ms, BSD_3ms24ms")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "data" / "BSD", help="folder to write (default data/BSD)"
    )
    parser.add_argument(
        "--settings",
        type=lambda text: text.split(","),
        default=list(SETTINGS),
        help="exposures, separated by commas (default: all three)",
    )
    options = parser.parse_args()
    unknown = [name for name in options.settings if name not in SETTINGS]
    if unknown:
        raise UserError(f"--settings: unknown {unknown[0]!r}; choose among {', '.join(SETTINGS)}")
    return options


def setting_folder(source: Path, setting: str) -> Path | None:
    """The folder of a setting's test videos, or None."""
    for name in (f"BSD_{setting}", setting):
        for folder in (source / name / "test", source / name):
            if folder.is_dir():
                return folder
    return source if source.is_dir() and source.name in (setting, f"BSD_{setting}") else None


def prepare(setting: str, folder: Path, out: Path) -> None:
    """Link the videos of one setting and check them; UserError where something is missing."""
    videos = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    problems = [line for video in videos for line in check(video)]
    if not videos:
        problems.append(f"{folder}: holds no videos")
    if out.resolve() != folder.resolve():
        for video in videos:
            link(video, out / video.name)
        problems += unexpected_entries(out, [video.name for video in videos])
    finish(f"bsd_{setting}", out, problems)


def check(video: Path) -> list[str]:
    """What a video lacks: blurry frames, or ground truth under the same names."""
    blur, sharp = (frames_in(video / kind / "RGB") for kind in ("Blur", "Sharp"))
    if not blur or not sharp:
        return [
            f"{video / kind / 'RGB'}: no PNG frames"
            for kind, frames in (("Blur", blur), ("Sharp", sharp))
            if not frames
        ]
    names = {path.name for path in sharp}
    return [f"{video}: no ground truth for {path.name}" for path in blur if path.name not in names]


if __name__ == "__main__":
    run(main)
