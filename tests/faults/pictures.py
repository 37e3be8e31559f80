"""Broken and odd footage: images, names, sizes, links."""

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from faults.trials import Case
from PIL import Image

from common.images import read_image, write_image

RSDM, STAGE_4 = "RSDM.main", "DeblurringModel.main"
READ = {"JPEG", "TIFF", "WEBP", "BMP"}
"""Kinds that are read, whatever the name of the file says."""
SYNTHETIC = "scripts.make_synthetic_dataset"
RENDER = (
    "--preset",
    "target_short",
    "--clips",
    "1",
    "--frames",
    "5",
    "--size",
    "96",
    "64",
    "--jobs",
    "1",
    "--out",
    "out/made",
    "--content",
    "content",
)


def footage(seed: int) -> Iterator[Case]:
    """All cases of this file; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    yield from damaged(rng)
    yield from jpeg(rng)
    yield from bombs()
    yield from formats()
    yield from sizes()
    yield from names()
    yield from links()


def frame(folder: Path, video: str = "b", index: int = 3, kind: str = "Blur") -> Path:
    return folder / "data" / video / kind / "RGB" / f"{8 + index}.png"


def changed(change: Callable[[bytes], bytes], index: int = 3, kind: str = "Blur") -> Callable[[Path], None]:
    """An arrangement: one frame's bytes changed."""

    def act(folder: Path) -> None:
        path = frame(folder, index=index, kind=kind)
        path.write_bytes(change(path.read_bytes()))

    return act


def flip(share: float, bit: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        place = int(share * len(data))
        return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]

    return change


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(share * len(data))]


def damaged(rng: np.random.Generator) -> Iterator[Case]:
    for number in range(30):
        index, share, bit = int(rng.integers(8)), float(rng.random()), int(rng.integers(8))
        yield Case(
            "PNG, one bit flipped",
            str(number),
            RSDM,
            changed(flip(share, bit), index),
            (f"b/Blur/RGB/{8 + index}.png",),
        )
    for number in range(15):
        index, share = int(rng.integers(8)), float(rng.random())
        yield Case(
            "PNG, truncated", str(number), RSDM, changed(cut(share), index), (f"b/Blur/RGB/{8 + index}.png",)
        )
    for number in range(5):
        share, bit = float(rng.random()), int(rng.integers(8))
        yield Case(
            "PNG, ground truth damaged",
            f"flip {number}",
            STAGE_4,
            changed(flip(share, bit), kind="Sharp"),
            ("b/Sharp/RGB/11.png",),
        )
        yield Case(
            "PNG, ground truth damaged",
            f"cut {number}",
            STAGE_4,
            changed(cut(share), kind="Sharp"),
            ("b/Sharp/RGB/11.png",),
        )
    for name, content in (
        ("zero bytes", b""),
        ("text", b"404: Not Found\n"),
        ("zeros", bytes(5000)),
        ("signature alone", b"\x89PNG\r\n\x1a\n"),
        ("noise", rng.bytes(3000)),
    ):
        yield Case(
            "no image inside",
            name,
            RSDM,
            changed(lambda data, content=content: content),
            ("b/Blur/RGB/11.png",),
        )


def content(folder: Path, name: str, data: bytes) -> None:
    """A folder of pictures to render from, one of them as given."""
    (folder / "content").mkdir()
    (folder / "content" / name).write_bytes(data)


def photograph(size: tuple[int, int] = (120, 180)) -> bytes:
    picture = cv2.GaussianBlur(
        np.random.default_rng(5).integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 2
    )
    return cv2.imencode(".jpg", picture)[1].tobytes()


def jpeg(rng: np.random.Generator) -> Iterator[Case]:
    whole = photograph()
    for number in range(10):
        data = flip(float(rng.random()), int(rng.integers(8)))(whole)
        # What no checksum guards may decode to another picture.
        yield Case(
            "JPEG, one bit flipped",
            str(number),
            SYNTHETIC,
            lambda folder, data=data: content(folder, "a.jpg", data),
            ("a.jpg",),
            RENDER,
            either=True,
        )
    for number in range(8):
        data = cut(float(rng.random()))(whole)
        yield Case(
            "JPEG, truncated",
            str(number),
            SYNTHETIC,
            lambda folder, data=data: content(folder, "a.jpg", data),
            ("a.jpg",),
            RENDER,
        )
    at = whole.index(b"\xff\xc0") + 5
    for height, width in ((60000, 60000), (65535, 65535), (0, 100), (100, 0)):
        data = whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]
        yield Case(
            "huge or no size in a header",
            f"JPEG {width} x {height}",
            SYNTHETIC,
            lambda folder, data=data: content(folder, "a.jpg", data),
            ("a.jpg",),
            RENDER,
        )
    for name, data in (("noise", rng.bytes(5000)), ("nothing", b""), ("text", b"no video\n" * 50)):
        yield Case(
            "no image inside",
            f"video file of {name}",
            SYNTHETIC,
            lambda folder, data=data: content(folder, "a.mp4", data),
            ("a.mp4",),
            RENDER,
        )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file with correct checksums, whatever its header claims."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def bombs() -> Iterator[Case]:
    few = zlib.compress(bytes(1000))
    for width, height in (
        (60000, 60000),
        (2**31 - 1, 2**31 - 1),
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (0, 0),
        (0, 72),
        (2**32 - 1, 64),
    ):
        yield Case(
            "huge or no size in a header",
            f"PNG {width} x {height}",
            RSDM,
            changed(lambda data, claim=png(width, height, 8, 2, few): claim),
            ("b/Blur/RGB/11.png",),
        )
    # 100 KB that really are 900 million pixels.
    real = zlib.compressobj(9)
    rows = b"".join(real.compress(bytes(3751 * 1000)) for _ in range(30)) + real.flush()
    bomb = png(30000, 30000, 1, 0, rows)
    yield Case(
        "huge or no size in a header",
        "a true decompression bomb",
        RSDM,
        changed(lambda data: bomb),
        ("b/Blur/RGB/11.png", "30000 x 30000"),
    )
    # The size is right, the pixels behind it are a thousandfold.
    yield Case(
        "huge or no size in a header",
        "more pixels than the header says",
        RSDM,
        changed(lambda data: png(72, 64, 8, 2, rows)),
        ("b/Blur/RGB/11.png",),
        either=True,
    )
    yield Case(
        "huge or no size in a header",
        "fewer pixels than the header says",
        RSDM,
        changed(lambda data: png(72, 64, 8, 2, few)),
        ("b/Blur/RGB/11.png",),
        either=True,
    )


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def formats() -> Iterator[Case]:
    def rewritten(convert: Callable[[Image.Image], bytes]) -> Callable[[Path], None]:
        return changed(lambda data: convert(Image.open(io.BytesIO(data))))

    grey16 = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (64, 72), dtype=np.uint16))
    modes = {
        mode: lambda picture, mode=mode: encoded(picture.convert(mode), "PNG")
        for mode in ("L", "LA", "RGBA", "P", "1")
    }
    modes |= {
        "16 bits": lambda picture: encoded(grey16, "PNG"),
        "metadata": lambda picture: encoded(picture, "PNG", dpi=(72, 72), icc_profile=b"no profile"),
    }
    for name, convert in modes.items():
        yield Case("other modes", name, RSDM, rewritten(convert), None)
    for kind in ("JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        yield Case(
            "wrong extension",
            f"{kind} named .png",
            RSDM,
            rewritten(lambda picture, kind=kind: encoded(picture.convert("RGB"), kind)),
            None if kind in READ else ("b/Blur/RGB/11.png",),
        )
        if kind != "JPEG":
            yield Case(
                "wrong extension",
                f"{kind} named .jpg",
                SYNTHETIC,
                lambda folder, kind=kind: content(
                    folder, "a.jpg", encoded(Image.open(frame(folder)).convert("RGB"), kind)
                ),
                None if kind in READ else ("a.jpg",),
                RENDER,
            )
    yield Case(
        "wrong extension",
        "PNG named .jpg among the content",
        SYNTHETIC,
        lambda folder: content(folder, "a.jpg", frame(folder).read_bytes()),
        None,
        RENDER,
    )
    yield Case(
        "wrong extension",
        "all frames named .jpg",
        RSDM,
        lambda folder: (
            [path.rename(path.with_suffix(".jpg")) for path in frame(folder).parent.iterdir()] and None
        ),
        None,
    )
    yield Case(
        "wrong extension",
        "one frame named .jpeg",
        RSDM,
        lambda folder: frame(folder).rename(frame(folder).with_suffix(".jpeg")) and None,
        None,
    )


def resized(
    kinds: tuple[str, ...],
    indices: range | tuple[int, ...],
    height: int,
    width: int,
    videos: tuple[str, ...] = ("b",),
) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        for video in videos:
            for kind in kinds:
                for index in indices:
                    path = frame(folder, video, index, kind)
                    write_image(
                        path, cv2.resize(read_image(path), (width, height), interpolation=cv2.INTER_AREA)
                    )

    return act


def sizes() -> Iterator[Case]:
    both, every = ("Blur", "Sharp"), range(8)
    for index, height, width in ((0, 65, 72), (3, 72, 64), (5, 64, 71), (7, 128, 144), (4, 1, 1)):
        yield Case(
            "mixed sizes",
            f"frame {index} is {width} x {height}",
            RSDM,
            resized(("Blur",), (index,), height, width),
            ("b/Blur/RGB/", "one size"),
        )
    yield Case(
        "mixed sizes", "ground truth", STAGE_4, resized(("Sharp",), (2,), 60, 72), ("b/Sharp/RGB/10.png",)
    )
    yield Case("mixed sizes", "two videos of different sizes", RSDM, resized(both, every, 50, 97), None)
    for height, width in (
        (1, 1),
        (2, 2),
        (1, 300),
        (300, 1),
        (7, 500),
        (10, 10),
        (11, 11),
        (23, 24),
        (32, 32),
        (33, 31),
    ):
        # The video has no region; the other one has, and both are restored.
        yield Case(
            "tiny videos",
            f"one of {width} x {height}",
            "faults.pipeline",
            resized(both, every, height, width),
            None,
        )
    yield Case(
        "tiny videos", "all of 1 x 1", RSDM, resized(both, every, 1, 1, ("a", "b")), ("rsdm.min_size",)
    )
    yield Case(
        "tiny videos",
        "four frames",
        RSDM,
        lambda folder: [frame(folder, index=index).unlink() for index in range(4)] and None,
        ("b/Blur/RGB", "4 frames"),
    )


def names() -> Iterator[Case]:
    def renamed(new: Callable[[int], str | bytes]) -> Callable[[Path], None]:
        def act(folder: Path) -> None:
            for kind in ("Blur", "Sharp"):
                for index in range(8):
                    old = os.fsencode(frame(folder, index=index, kind=kind))
                    os.rename(old, os.path.join(os.path.dirname(old), os.fsencode(new(index))))

        return act

    accepted = {
        "gaps": lambda i: f"{i * i * 1000}.png",
        "leading zeros in part": lambda i: f"{i:0{1 + i % 3}d}.png",
        "one number for all": lambda i: f"{'abcdefgh'[i]}7.png",
        "no digits": lambda i: f"{'abcdefgh'[i]}.png",
        "7 and 07": lambda i: f"{'0' * (i % 2)}{i // 2}.png",
        "blanks": lambda i: f" frame {i} .png",
        "unicode": lambda i: f"日本語 ü é {i}.png",
        "emoji": lambda i: f"🎬{i}.png",
        "other digits": lambda i: f"{'٠١٢٣٤٥٦٧'[i]}.png",
        "option-like": lambda i: f"-rf {i}.png",
        "patterns": lambda i: f"[{i}]*?.png",
        "percent": lambda i: f"%s%d{{{i}}}.png",
        "quotes": lambda i: f"'\"$(touch x)`{i}.png",
        "dots": lambda i: f"..{i}..a.b.png"[2:],
        "ideographic space": lambda i: f"\u3000{i}.png",
        "200 digits": lambda i: f"{i}{'0' * 200}.png",
        "250 characters": lambda i: f"{i}{'x' * 245}.png",
        "right to left": lambda i: f"\u202e{i}.png",
        "backslash": lambda i: f"a\\{i}.png",
    }
    refused = {
        "line break": lambda i: f"a\n{i}.png",
        "escape sequence": lambda i: f"\x1b[31m{i}.png",
        "bytes that are no text": lambda i: b"\xff\xfe%d.png" % i,
        "hidden": lambda i: f".{i}.png",
    }
    for name, new in accepted.items():
        yield Case("frame names", name, "faults.pipeline", renamed(new), None)
    for name, new in refused.items():
        yield Case("frame names", name, RSDM, renamed(new), ("data/b/Blur/RGB",))

    def moved(name: str | bytes) -> Callable[[Path], None]:
        return lambda folder: os.rename(
            os.fsencode(folder / "data" / "b"), os.path.join(os.fsencode(folder / "data"), os.fsencode(name))
        )

    odd = (
        "a b",
        "ü 日本",
        "-x",
        "*",
        "..b",
        "settings.json",
        "weights",
        "None",
        "b\\c",
        ".hidden",
        "con",
        "%s",
    )
    for name in odd:
        yield Case(
            "video names", name, "faults.pipeline", moved(name), ("out",) if name == "settings.json" else None
        )
    for name in ("b\nc", b"\xff", "\x07"):
        yield Case("video names", repr(name), RSDM, moved(name), ("data",))


def links() -> Iterator[Case]:
    def to(target: str | Path, place: Callable[[Path], Path] = frame) -> Callable[[Path], None]:
        def act(folder: Path) -> None:
            path = place(folder)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            path.symlink_to(target)

        return act

    culprit = ("b/Blur/RGB/11.png",)
    for name, target in (
        ("to itself", "11.png"),
        ("to nothing", "none"),
        ("to a folder", "."),
        ("to /dev/zero", "/dev/zero"),
        ("to a pipe", "../../../../pipe"),
    ):

        def act(folder: Path, target: str = target) -> None:
            os.mkfifo(folder / "pipe")
            to(target)(folder)

        yield Case("links", f"a frame {name}", RSDM, act, culprit)
    yield Case("links", "a frame to another frame", RSDM, to("12.png"), None)

    def inner(folder: Path) -> Path:
        return folder / "data" / "b" / "Blur" / "RGB"

    yield Case("links", "a video's frames to themselves", RSDM, to("RGB", inner), None)
    yield Case("links", "a video to the data set", RSDM, to(".", lambda folder: folder / "data" / "b"), None)
    yield Case("links", "a video to itself", RSDM, to("b", lambda folder: folder / "data" / "b"), None)
    yield Case(
        "links",
        "the data set to itself",
        RSDM,
        to("data", lambda folder: folder / "data"),
        ("data", "dataset.root"),
    )
    yield Case(
        "links",
        "a folder named like a frame",
        RSDM,
        lambda folder: (frame(folder).unlink(), frame(folder).mkdir()) and None,
        culprit,
    )
    yield Case(
        "links",
        "the content to itself",
        SYNTHETIC,
        lambda folder: (folder / "content").symlink_to("content"),
        ("content",),
        RENDER,
    )
