"""Broken arrays and JSON between the stages, and in training data."""

import io
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tiny
import yaml
from faults.trials import Case

from common.images import write_array

RSDM, DBCGM, BLURRING, STAGE_4 = "RSDM.main", "DBCGM.main", "BlurringModel.main", "DeblurringModel.main"
FINE_TUNING = "DeblurringModel.deblur_finetune_DDP"
REGIONS = "out/rsdm/sharp_regions.json"
MARKER = "marker"
"""A hostile file that is run makes this one, which then lies outside of the output folder."""


def results(seed: int) -> Iterator[Case]:
    """All cases of this file; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    yield from arrays(rng)
    yield from conditions()
    yield from regions(rng)
    yield from records()


class Hostile:
    """Unpickling it runs a command."""

    def __reduce__(self) -> tuple:
        return __import__("os").system, (f"touch {MARKER}",)


def header(text: str, rest: bytes = bytes(64)) -> bytes:
    """A .npy file with any header."""
    line = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + rest


def saved(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def with_value(value: float) -> Callable[[np.ndarray], bytes]:
    def change(array: np.ndarray) -> bytes:
        array = array.copy()
        array.flat[7] = value
        return saved(array)

    return change


def zipped(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.savez(data, array)
    return data.getvalue()


WRONG: dict[str, Callable[[np.ndarray], bytes]] = {
    "NaN": with_value(np.nan),
    "infinite": with_value(np.inf),
    "minus infinite": with_value(-np.inf),
    "float64": lambda a: saved(a.astype(np.float64)),
    "integers": lambda a: saved(a.astype(np.int32)),
    "complex": lambda a: saved(a.astype(np.complex64)),
    "other byte order": lambda a: saved(a.astype(">f4")),
    "words": lambda a: saved(np.array(["a", "b"])),
    "one dimension less": lambda a: saved(a[0]),
    "one dimension more": lambda a: saved(a[None]),
    "a row less": lambda a: saved(a[..., 1:, :]),
    "turned": lambda a: saved(np.swapaxes(a, -1, -2)),
    "nothing": lambda a: saved(a[..., :0]),
    "a single number": lambda a: saved(np.float32(1)),
    "records": lambda a: saved(np.zeros(3, "f4,i4")),
    "pickled": lambda a: saved(np.array([Hostile()], dtype=object)),
    "a bare pickle": lambda a: pickle.dumps(Hostile()),
    "an archive": zipped,
    "zero bytes": lambda a: b"",
    "text": lambda a: b"1 2 3\n",
    "truncated": lambda a: saved(a)[:-100],
    "header alone": lambda a: saved(a)[:128],
    "half a header": lambda a: saved(a)[:40],
    "claims a terabyte": lambda a: header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (524288, 524288), }"
    ),
    "claims more than any memory": lambda a: header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999), }"
    ),
    "claims less than nothing": lambda a: header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 64), }"
    ),
    "code in the header": lambda a: header(f"__import__('os').system('touch {MARKER}')"),
    "code as type": lambda a: header(
        f"{{'descr': '__import__(\"os\").system(\"touch {MARKER}\")', 'fortran_order': False, 'shape': (2,), }}"
    ),
    "endless header": lambda a: header("{'descr': '<f4', 'shape': " + "(" * 20000),
}


def replaced(pattern: str, change: Callable[[np.ndarray], bytes]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        path.write_bytes(change(np.load(path)))

    return act


def in_all(pattern: str, change: Callable[[np.ndarray], bytes]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        for path in sorted(folder.glob(pattern)):
            path.write_bytes(change(np.load(path)))

    return act


def unchosen(act: Callable[[Path], None]) -> Callable[[Path], None]:
    """`act` in a run that was stopped before it chose regions: a finished stage 1 does not read its maps again."""

    def both(folder: Path) -> None:
        act(folder)
        (folder / "out" / "rsdm" / "sharp_regions.json").unlink()

    return both


def arrays(rng: np.random.Generator) -> Iterator[Case]:
    for name, change in WRONG.items():
        yield Case(
            "arrays of stage 1",
            name,
            RSDM,
            unchosen(replaced("out/rsdm/magnitude/a/*.npy", change)),
            ("magnitude/a/",),
            fresh=False,
        )
        yield Case(
            "arrays of stage 1",
            f"{name}, read by stage 2",
            DBCGM,
            in_all("out/rsdm/magnitude/a/*.npy", change),
            ("magnitude/a/",),
        )
        # The first condition there is in the alphabet; its video's maps around it are read again in stage 2.
        yield Case(
            "arrays of stage 2",
            name,
            BLURRING,
            replaced("out/dbcgm/condition/a/*.npy", change),
            ("condition/a/",),
        )
    for number in range(10):
        share, bit = float(rng.random()), int(rng.integers(8))

        def flipped(array: np.ndarray, share: float = share, bit: int = bit) -> bytes:
            data = bytearray(saved(array))
            data[int(share * len(data))] ^= 1 << bit
            return bytes(data)

        yield Case(
            "arrays of stage 2",
            f"one bit flipped {number}",
            BLURRING,
            replaced("out/dbcgm/condition/a/*.npy", flipped),
            ("condition/a/",),
            either=True,
        )


TRAINERS = {
    "RSDM.bme.train": {"name": "resnet10_slim", "architecture": {"width": 4}, "batch_statistics": "fixed"},
    "BlurringModel.id_blau.train": {
        "architecture": {"base_channels": 4, "channel_mults": [1, 1], "num_res_blocks": 1, "time_dim": 8}
    },
    "DeblurringModel.pretrain": {"name": "ESTRNN", "architecture": {"n_features": 2, "n_blocks": 1}},
}


def recipe(folder: Path, network: dict, **schedule: object) -> Path:
    """A training of a few steps on the case's own videos, with conditions made up for them."""
    for path in (folder / "data").glob("*/Blur/RGB/*.png"):
        condition = np.zeros((3, *tiny.SIZE), np.float32)
        condition[0], condition[2] = 1, 5
        write_array(path.parents[2] / "Condition" / f"{path.stem}.npy", condition)
    content = {
        "base": str(tiny.ROOT / "configs" / "train" / "default.yaml"),
        "output": "out/training",
        "data": {"root": "data", "validation": "data"},
        "network": network,
        "diffusion": {"num_timesteps": 20, "sampling_steps": 2},
        "schedule": {
            "steps": 3,
            "batch_size": 2,
            "crop_size": 32,
            "validate_every": 3,
            "save_every": 2,
            **schedule,
        },
        "runtime": {"workers": 1, "device": "cpu"},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def conditions() -> Iterator[Case]:
    kinds = (
        "NaN",
        "float64",
        "one dimension less",
        "a row less",
        "turned",
        "pickled",
        "an archive",
        "zero bytes",
        "truncated",
        "claims a terabyte",
    )
    for module in ("RSDM.bme.train", "BlurringModel.id_blau.train"):
        for kind in kinds:

            def act(folder: Path, module: str = module, kind: str = kind) -> None:
                recipe(folder, TRAINERS[module])
                for path in (folder / "data").glob("*/Condition/*.npy"):
                    # Every value, since crops are looked at, not files.
                    path.write_bytes(
                        saved(np.full_like(np.load(path), np.nan))
                        if kind == "NaN"
                        else WRONG[kind](np.load(path))
                    )

            yield Case(
                "arrays of training data",
                f"{kind}, {module}",
                module,
                act,
                ("/Condition/",),
                ("--config", "recipe.yaml"),
            )
    for module, network in TRAINERS.items():

        def missing(folder: Path, network: dict = network) -> None:
            recipe(folder, network)
            for path in (folder / "data").glob("*/Blur/RGB/*.png"):
                path.write_bytes(path.read_bytes()[:-20])

        yield Case(
            "arrays of training data",
            f"frames truncated, {module}",
            module,
            missing,
            ("/Blur/RGB/",),
            ("--config", "recipe.yaml"),
        )


ENTRY = {"path": "out/test/a/ori/11.png", "bbox": [0, 0, 40, 40], "video": "a", "frame": "11"}


def regions(rng: np.random.Generator) -> Iterator[Case]:
    def written(text: str | bytes) -> Callable[[Path], None]:
        return lambda folder: (
            (folder / REGIONS).write_bytes(text if isinstance(text, bytes) else text.encode()) and None
        )

    whole = json.dumps({"sharp_regions": [ENTRY]})
    texts = {
        "list": "[]",
        "number": "7",
        "word": '"x"',
        "null": "null",
        "empty object": "{}",
        "entries a number": '{"sharp_regions": 3}',
        "entries an object": '{"sharp_regions": {"a": 1}}',
        "no entries": '{"sharp_regions": []}',
        "zero bytes": "",
        "half": whole[:50],
        "UTF-16": whole.encode("utf-16"),
        "byte order mark": b"\xef\xbb\xbf" + whole.encode(),
        "deep": "[" * 100000,
        "endless number": '{"sharp_regions": ' + "9" * 5000 + "}",
        "NaN": '{"sharp_regions": [NaN]}',
        "single quotes": "{'a': 1}",
        "two values": whole + whole,
        "noise": rng.bytes(200),
    }
    for module in (DBCGM, BLURRING, FINE_TUNING):
        for name, text in texts.items():
            yield Case(
                "sharp_regions.json",
                f"{name}, {module}",
                module,
                written(text),
                ("sharp_regions.json",),
                fresh=module != FINE_TUNING,
            )
    changes = {
        "entry null": None,
        "entry a list": [ENTRY],
        "no bbox": {"bbox": None},
        "bbox of words": {"bbox": ["0", "0", "9", "9"]},
        "bbox of fractions": {"bbox": [0.0, 0.0, 40.0, 40.0]},
        "bbox negative": {"bbox": [-5, 0, 40, 40]},
        "bbox turned": {"bbox": [40, 40, 0, 0]},
        "bbox empty": {"bbox": [3, 3, 3, 40]},
        "bbox of three": {"bbox": [0, 0, 40]},
        "bbox true": {"bbox": [0, 0, True, 40]},
        "bbox outside": {"bbox": [0, 0, 4000, 40]},
        "bbox astronomical": {"bbox": [0, 0, 10**400, 40]},
        "frame a number": {"frame": 11},
        "frame of another": {"frame": "99"},
        "frame climbs": {"frame": "../../../x"},
        "video a number": {"video": 1},
        "video climbs": {"video": "../../x"},
        "video null": {"video": None},
        "video with a line break": {"video": "a\nb"},
        "frame with a line break": {"frame": "1\nerror: 2"},
    }
    for name, change in changes.items():
        entry = {**ENTRY, **change} if isinstance(change, dict) else change
        for module in (BLURRING,):
            yield Case(
                "sharp_regions.json",
                f"{name}, {module}",
                module,
                written(json.dumps({"sharp_regions": [entry]})),
                ("sharp_regions.json",),
            )
    for name, path in (
        ("climbs", "../../../../x/y/z.png"),
        ("absolute", "/etc/ori/passwd.png"),
        ("a number", 5),
        ("short", "x.png"),
        ("climbs inside", "out/test/../a/11.png"),
        ("backslashes", "..\\..\\a\\ori\\99.png"),
    ):
        entry = {"path": path, "bbox": ENTRY["bbox"]}
        yield Case(
            "sharp_regions.json",
            f"path {name}",
            DBCGM,
            written(json.dumps({"sharp_regions": [entry]})),
            ("sharp_regions.json",),
        )
    yield Case(
        "sharp_regions.json",
        "one region a thousand times",
        BLURRING,
        written(json.dumps({"sharp_regions": [ENTRY] * 1000})),
        ("condition",),
        either=True,
    )


def records() -> Iterator[Case]:
    texts = {
        "zero bytes": "",
        "half": '{"rsdm": ',
        "list": "[1]",
        "number": "3",
        "null": "null",
        "other": '{"a": {"b": NaN}}',
    }
    for place, module in (
        ("rsdm", RSDM),
        ("dbcgm", DBCGM),
        ("blurring", BLURRING),
        ("deblurring/ESTRNN/baseline", STAGE_4),
        ("deblurring/ESTRNN/weights", FINE_TUNING),
    ):
        for name, text in texts.items():
            yield Case(
                "settings.json",
                f"{name}, {place}",
                module,
                lambda folder, place=place, text=text: (
                    (folder / "out" / place / "settings.json").write_text(text) and None
                ),
                (place,),
                fresh=False,
            )
    for name, text in texts.items():
        # The figures are measured anew.
        yield Case(
            "metrics.json",
            name,
            STAGE_4,
            lambda folder, text=text: (
                (folder / "out/deblurring/ESTRNN/metrics.json").write_text(text) and None
            ),
            ("metrics.json",),
            fresh=False,
            either=True,
        )
    yield Case(
        "metrics.json",
        "made_from alone",
        STAGE_4,
        lambda folder: (
            (folder / "out/deblurring/ESTRNN/metrics.json").write_text(
                json.dumps(
                    {
                        "made_from": json.loads((folder / "out/deblurring/ESTRNN/metrics.json").read_text())[
                            "made_from"
                        ]
                    }
                )
            )
            and None
        ),
        ("metrics.json",),
        fresh=False,
        either=True,
    )
