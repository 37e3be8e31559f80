"""Configurations: every key wrong in turn, and YAML that is more than values."""

import dataclasses
import random
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from faults.files import MARKER, TRAINERS, recipe
from faults.trials import Case

from common.config import Config, TrainConfig

RSDM, TRAINER = "RSDM.main", "RSDM.bme.train"


def configurations(seed: int) -> Iterator[Case]:
    """Every key with a slip in its name and two wrong values drawn by the seed, and all kinds of YAML."""
    rng = random.Random(seed)
    for schema, module, name in ((Config, RSDM, "config.yaml"), (TrainConfig, TRAINER, "recipe.yaml")):
        for key, hint, metadata in keys(schema):
            for what, value in rng.sample(list(wrong_values(hint, metadata)), 2):
                yield Case(
                    "configuration keys",
                    f"{name}: {key} {what}",
                    module,
                    written(name, key, value),
                    (key, name),
                    ("--config", name),
                    light=True,
                )
            yield Case(
                "configuration keys",
                f"{name}: {key} with a slip",
                module,
                written(name, f"{key}x", 1),
                (f"`{key}x`", "did you mean", f"`{key}`"),
                ("--config", name),
                light=True,
            )
    yield from yaml_files()


def keys(schema: type, prefix: str = "") -> Iterator[tuple[str, object, dict]]:
    """(dotted name, type, facts) of every key of a configuration's dataclass."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from keys(hints[field.name], f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", hints[field.name], dict(field.metadata)


def wrong_values(hint: object, metadata: dict) -> Iterator[tuple[str, object]]:
    """Values that the key cannot have."""
    kind = hint
    if isinstance(hint, types.UnionType):
        kind = next(item for item in hint.__args__ if item is not type(None))
    else:
        yield "missing", None
    yield "a list of lists", [[1]]
    if kind is not dict:
        yield "a mapping", {"a": 1}
    if kind is float:
        yield from (
            ("not a number", float("nan")),
            ("infinite", float("inf")),
            ("a word", "much"),
            ("true", True),
        )
    if kind is int:
        yield from (
            ("a fraction", 1.5),
            ("a word", "many"),
            ("true", True),
            ("a number in quotes", "3"),
            ("astronomical", 2**70),
        )
    if kind in (bool, str, Path):
        yield "a number", 7
    if kind is bool:
        yield "a word", "perhaps"
    if metadata["choices"]:
        yield "unknown", "whatever"
    if metadata["low"] is not None:
        yield "too low", metadata["low"] - 1
    if metadata["high"] is not None:
        yield "too high", metadata["high"] + 1
    if kind is Path:
        yield from (("empty", ""), ("a path with NUL", "a\0b"), ("the home of nobody", "~nobody-at-all/x"))


def written(name: str, key: str, value: object) -> Callable[[Path], None]:
    """An arrangement: the configuration `name` with one key changed."""

    def act(folder: Path) -> None:
        if name == "recipe.yaml":
            recipe(folder, TRAINERS[TRAINER])
        content = yaml.safe_load((folder / name).read_text())
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
        (folder / name).write_text(yaml.safe_dump(content))

    return act


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
TEXTS: dict[str, str | bytes] = {
    "python object/apply": f"rsdm: !!python/object/apply:os.system ['touch {MARKER}']",
    "python object/new": f"rsdm: !!python/object/new:os.system ['touch {MARKER}']",
    "python name": "rsdm: !!python/name:os.system",
    "python module": "rsdm: !!python/module:os",
    "python tuple": "rsdm: !!python/tuple [1]",
    "python object as value": f'rsdm: {{width: !!python/object/apply:eval [\'open("{MARKER}", "w")\']}}',
    "subprocess": f"!!python/object/apply:subprocess.call [[touch, {MARKER}]]",
    "own tag": "rsdm: !thing {a: 1}",
    "a billion laughs": LAUGHS,
    "laughs in a mapping": LAUGHS.replace("a0: &a0", "blurring: {architecture: &a0").replace(
        "x]\na1", "x]}\na1"
    ),
    "alias to itself": "blurring: {architecture: &a {b: *a}}",
    "deep": "rsdm: " + "[" * 20000,
    "deep mapping": "rsdm: " + "{a: " * 5000,
    "endless number": "rsdm: {width: " + "9" * 6000 + "}",
    "endless number in hexadecimal": "rsdm: {width: 0x" + "f" * 6000 + "}",
    "no such day": "rsdm: {width: 2001-99-99}",
    "a day": "blurring: {architecture: {base_channels: 2001-01-01}}",
    "binary": "blurring: {architecture: {base_channels: !!binary aGk=}}",
    "a set": "blurring: {architecture: !!set {a, b}}",
    "NaN inside": "blurring: {architecture: {base_channels: .nan}}",
    "number as key": "blurring: {architecture: {1: 2}}",
    "list as key": "? [1, 2]\n: 3",
    "number as section": "1: 2",
    "null as section name": "~: 2",
    "a list": "- 1",
    "a word": "hello",
    "a number": "3",
    "two documents": "rsdm: {}\n---\nrsdm: {}",
    "tabs": "rsdm:\n\twidth: 3",
    "not closed": "rsdm: {width: 3",
    "NUL": "rsdm: {width: \0}",
    "UTF-16 halves": b"\xff\xfe\x00",
    "no text": bytes(range(256)),
    "section a number": "rsdm: 3",
    "section a list": "rsdm: [1]",
    "base to itself": "base: wrong.yaml",
    "base in a circle": "base: circle.yaml",
    "base absent": "base: none.yaml",
    "base a folder": "base: data",
    "base a list": "base: [a]",
    "base with NUL": 'base: "a\\0b"',
    "base endless": "base: " + "a/" * 5000,
    "base an image": "base: data/a/Blur/RGB/8.png",
    "path endless": "base: config.yaml\ndataset: {root: " + "a" * 5000 + "}",
    "output a file": "base: config.yaml\noutput: config.yaml",
    "output below a file": "base: config.yaml\noutput: config.yaml/out",
    "model climbs": "base: config.yaml\ndeblurring: {model: 'own.py:../../x'}",
    "inner folder climbs to nothing": "base: config.yaml\ndataset: {blur: ../../../none}",
}
NAMES = {
    "output a file": "config.yaml",
    "output below a file": "config.yaml",
    "model climbs": "deblurring.model",
    "path endless": "aaaa",
    "base to itself": "wrong.yaml",
    "base in a circle": "leads back to the file itself",
    "base absent": "none.yaml",
    "base a folder": "data",
    "base an image": "8.png",
    "inner folder climbs to nothing": "no video found",
    "base endless": "a/a/",
}


def yaml_files() -> Iterator[Case]:
    for name, text in TEXTS.items():

        def act(folder: Path, text: str | bytes = text) -> None:
            (folder / "wrong.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
            (folder / "circle.yaml").write_text("base: wrong.yaml")

        module = "DeblurringModel.main" if name == "model climbs" else RSDM
        yield Case(
            "YAML",
            name,
            module,
            act,
            (NAMES.get(name, "wrong.yaml"),),
            ("--config", "wrong.yaml"),
            light=True,
        )
    for name, option in (
        ("python object", f"rsdm.width=!!python/object/apply:os.system [touch {MARKER}]"),
        ("no key", "=3"),
        ("no value", "rsdm"),
        ("laughs", "rsdm.width=[&a [x], *a]"),
        ("endless", "rsdm.width=" + "9" * 6000),
        ("deep", "rsdm.width=" + "[" * 20000),
        ("too many dots", "rsdm.width.a.b=3"),
        ("dots", "..=3"),
        ("not closed", "rsdm.width={"),
        ("key of a section", "rsdm=3"),
    ):
        yield Case(
            "YAML",
            f"--set {name}",
            RSDM,
            lambda folder: None,
            ("--set",),
            ("--config", "config.yaml", "--set", option),
            light=True,
        )
