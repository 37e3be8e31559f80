"""Video files as people have them, damaged containers, and folders of frames that were exported again."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import clips
import cv2
import numpy as np
from faults.pictures import frame
from faults.trials import Case

from common.images import read_image, write_image
from common.videos import sorted_frames

VIDEO = "scripts.deblur_video"
COUNT, SIZE = 14, (64, 96)
"""Frames of a clip, and their height and width."""
# No region is that large, so nothing is adapted; reading and writing are the same.
PLAIN = ("--set", "rsdm.min_size=4096", "deblurring.crop_size=32")
MIDDLE = 20
"""Grey levels by which the mean of a result may differ from that of what was filmed."""


def videos(seed: int) -> Iterator[Case]:
    """All cases of video files; the same seed gives the same."""
    yield from interlaced()
    yield from trimmed()
    yield from containers(np.random.default_rng(seed))


def clip(name: str, make: Callable[[Path], object], *options: str, **more: object) -> Case:
    """deblur_video with `options` on what `make` writes to clip<ending>; `name` begins with the ending."""
    ending = name.partition(" ")[0]
    file = f"clip{ending}"
    arguments = (file, "--config", "config.yaml", "--out", "out/clip", *options, *PLAIN)
    return Case(
        "video files",
        name,
        VIDEO,
        lambda folder: make(folder / file) and None,
        arguments=arguments,
        **{"words": None, "fresh": False, **more},
    )


def shown(count: int) -> Callable[[Path], list[str]]:
    """A check: the result has so many frames, and shows what was filmed."""

    def look(folder: Path) -> list[str]:
        results = [path for path in (folder / "out" / "clip").glob("clip.*") if path.suffix != ".json"]
        if len(results) != 1:
            return [f"results: {[path.name for path in results]}"]
        with av.open(str(results[0])) as file:
            means = [frame.to_ndarray(format="gray").mean() for frame in file.decode(video=0)]
        expected = np.mean([picture.mean() for picture in clips.moving(COUNT, SIZE)])
        wrong = [f"{len(means)} frames of {count}"] if len(means) != count else []
        dark = [round(float(mean)) for mean in means if abs(mean - expected) > MIDDLE]
        return wrong + ([f"mean grey levels {dark}, filmed {expected:.0f}"] if dark else [])

    return look


def woven(top_first: bool) -> list[np.ndarray]:
    """Frames of two moments each, one in every other row."""
    moments, frames = clips.moving(2 * COUNT, SIZE, step=1), []
    for first, second in zip(moments[::2], moments[1::2]):
        both = first.copy()
        both[int(top_first) :: 2] = second[int(top_first) :: 2]
        frames.append(both)
    return frames


def interlaced() -> Iterator[Case]:
    x264 = {True: {"x264-params": "tff=1"}, False: {"x264-params": "bff=1"}}
    for top_first in (True, False):
        for ending in (".mp4", ".mkv"):
            for content, frames in (("woven", woven(top_first)), ("progressive", clips.moving(COUNT, SIZE))):
                yield clip(
                    f"{ending} interlaced, {content}, {'top' if top_first else 'bottom'} field first",
                    lambda path, frames=frames, top=top_first: clips.make(path, frames, options=x264[top]),
                    check=shown(COUNT),
                )
    for ending, codec, pixels, options in (
        (".ts", "mpeg2video", "yuv420p", {"flags": "+ildct+ilme", "qscale": "2"}),
        (".mov", "prores_ks", "yuv422p10le", {"flags": "+ildct+ilme"}),
    ):
        yield clip(
            f"{ending} interlaced, woven, {codec}",
            lambda path, codec=codec, pixels=pixels, options=options: clips.make(
                path, woven(True), codec=codec, pixels=pixels, options=options
            ),
            check=shown(COUNT),
        )


def trimmed() -> Iterator[Case]:
    # Frames before time zero are what a cut without encoding leaves, hidden by an edit list.
    for ending in (".mp4", ".mov"):
        for hidden in (1, 4, 8):
            yield clip(
                f"{ending} trimmed, {hidden} frames hidden",
                lambda path, hidden=hidden: clips.make(
                    path, clips.moving(COUNT, SIZE), times=range(-hidden, COUNT - hidden), options={"bf": "0"}
                ),
                check=shown(COUNT - hidden),
            )
    for ending in (".mp4", ".mkv"):
        yield clip(
            f"{ending} trimmed, picture after the sound",
            lambda path: clips.make(
                path, clips.moving(COUNT, SIZE), times=range(15, 15 + COUNT), sounds=[("aac", 0, 1.0)]
            ),
            check=shown(COUNT),
        )


CONTAINERS = (
    (".mp4", "libx264", "yuv420p"),
    (".mkv", "libx264", "yuv420p"),
    (".ts", "libx264", "yuv420p"),
    (".webm", "libvpx-vp9", "yuv420p"),
    (".avi", "mpeg4", "yuv420p"),
    (".mov", "prores_ks", "yuv422p10le"),
)


def containers(rng: np.random.Generator) -> Iterator[Case]:
    """Damage: what is lost is told, or nothing is; with --keep-going the rest is delivered, or nothing is
    left of it."""
    for ending, codec, pixels in CONTAINERS:
        for number in range(4):
            share, part = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.01, 0.1))
            noise = rng.bytes(4096)

            def written_over(
                path: Path, share=share, part=part, noise=noise, codec=codec, pixels=pixels
            ) -> None:
                whole = clips.make(
                    path, clips.moving(COUNT, SIZE), codec=codec, pixels=pixels, options={"g": "5"}
                )
                data = bytearray(whole.read_bytes())
                start, count = int(share * len(data)), min(len(noise), int(part * len(data)) + 1)
                data[start : start + count] = noise[: len(data[start : start + count])]
                path.write_bytes(data)

            def cut_off(path: Path, share=share, codec=codec, pixels=pixels) -> None:
                clips.make(path, clips.moving(COUNT, SIZE), codec=codec, pixels=pixels, options={"g": "5"})
                path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

            for what, damage in (("written over", written_over), ("cut off", cut_off)):
                name = f"{ending} damaged containers, {what} {number}"
                # What was cut off or written over may be an index alone: then all frames are there.
                yield clip(name, damage, words=(f"clip{ending}",), either=True, check=shown(COUNT))
                keep = "--keep-going"
                yield clip(f"{name}, {keep}", damage, keep, words=(f"clip{ending}",), either=True)


def exported(seed: int) -> Iterator[Case]:
    """Frames exported again under the same names after the results were made: every stage refuses to go on
    with results of others. Frames of several kinds in one folder."""

    def brighter(folder: Path) -> None:
        path = frame(folder)
        write_image(path, np.clip(read_image(path).astype(int) + 9, 0, 255).astype(np.uint8))

    def other_time(folder: Path) -> None:
        for path in (folder / "data").rglob("*.png"):
            path.touch()

    stages = ("RSDM.main", "DBCGM.main", "DeblurringModel.deblur_inference", "DeblurringModel.main")
    for module in stages:
        words = ("dataset", "--overwrite")
        yield Case("re-exported frames", f"one frame, {module}", module, brighter, words, fresh=False)
        yield Case(
            "re-exported frames", f"the same contents, {module}", module, other_time, None, fresh=False
        )


def endings(seed: int) -> Iterator[Case]:
    """Frames of several kinds in one folder."""

    def named(*changes: tuple[int, str]) -> Callable[[Path], None]:
        def act(folder: Path) -> None:
            for kind in ("Blur", "Sharp"):
                for index, ending in changes:
                    path = frame(folder, index=index, kind=kind)
                    picture = cv2.imread(str(path))
                    path.unlink()
                    # OpenCV knows no ending in capitals of some kinds.
                    cv2.imwrite(str(path.with_suffix(ending.lower())), picture)
                    path.with_suffix(ending.lower()).rename(path.with_suffix(ending))

        return act

    def all_used(folder: Path) -> list[str]:
        maps = len(list((folder / "out" / "rsdm" / "magnitude" / "b").glob("*.npy")))
        frames = len(sorted_frames(folder / "data" / "b" / "Blur" / "RGB"))
        return [] if maps == frames == 8 else [f"{maps} maps of {frames} frames"]

    def twice(folder: Path) -> None:
        path = frame(folder)
        shutil.copy(path, path.with_suffix(".PNG"))

    for ending in (".PNG", ".jpg", ".JPEG", ".tif", ".TIFF", ".webp", ".bmp"):
        yield Case(
            "mixed endings",
            f"two frames {ending}",
            "RSDM.main",
            named((2, ending), (5, ending)),
            None,
            check=all_used,
        )
    every = named(*enumerate((".png", ".PNG", ".jpg", ".tif", ".webp", ".bmp", ".JPG", ".tiff")))
    yield Case("mixed endings", "all kinds, all stages", "faults.pipeline", every, None, check=all_used)
    yield Case("mixed endings", "one frame twice", "RSDM.main", twice, ("11.PNG", "11.png"))
