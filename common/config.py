"""Typed configuration: dataclasses filled from YAML files (`base:` inheritance) and `--set
section.key=value`.

No other module reads YAML. An unknown key, a wrong type or an impossible value stops at once with the file,
the key and the nearest right key. A relative path in a YAML file is relative to that file; one on the
command line, to the current folder.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from common.errors import UserError

Schema = TypeVar("Schema")


def key(
    default: Any,
    *,
    path: bool = False,
    python_class: bool = False,
    of: str = "",
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A configuration field: default, whether text is a file path or may be path/to/file.py:Class, the key
    whose change empties this mapping, allowed words, inclusive number range."""
    facts = {
        "path": path,
        "python_class": python_class,
        "of": of,
        "choices": tuple(choices),
        "low": low,
        "high": high,
    }
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata=facts)
    return field(default=default, metadata=facts)


@dataclass(frozen=True)
class DatasetConfig:
    root: Path | None = key(None, path=True)
    blur: str = key("Blur/RGB")
    sharp: str = key("Sharp/RGB")
    videos: list[str] = key([])
    min_frames: int = key(5, low=1)


@dataclass(frozen=True)
class RsdmConfig:
    weights: Path | None = key(None, path=True)
    backbone: str = key("resnet50", choices=("resnet50", "resnet18", "resnet10_slim"))
    width: int = key(64, low=2)
    ratio: float = key(0.2, low=0.0, high=1.0)
    min_size: int = key(256, low=8)
    initial_threshold: float = key(0.1, low=1e-5, high=0.99)
    border: int = key(3, low=2)
    min_neighbour_motion: float = key(0.0, low=0.0)
    patches: str = key("sharp", choices=("sharp", "random"))
    batch_size: int = key(4, low=1)


@dataclass(frozen=True)
class DbcgmConfig:
    flow: str = key("raft_large", choices=("raft_large", "raft_small", "dis"))
    weights: Path | None = key(None, path=True)
    iterations: int = key(20, low=1)
    frames: str = key("selected", choices=("selected", "all"))
    trajectory: str = key("central", choices=("central", "five_frame"))
    magnitude_offset: float = key(10.0, low=0.0)
    adapt_magnitude: bool = key(True)
    motion: bool = key(False)
    condition: str = key("dbcgm", choices=("dbcgm", "optical_flow", "random"))
    random_magnitude: float = key(205.0, low=0.0)


@dataclass(frozen=True)
class BlurringConfig:
    weights: Path | None = key(None, path=True)
    architecture: dict = key({})
    sampler: str = key("ddim", choices=("ddim", "ddpm"))
    steps: int = key(20, low=1)
    eta: float = key(0.0, low=0.0, high=1.0)
    prediction: str = key("noise", choices=("noise", "image"))
    magnitude_scale: float = key(205.0, low=1.0)
    area: str = key("region", choices=("region", "frame"))
    margin: int = key(32, low=0)
    window: str = key("center", choices=("center", "all", "moved"))
    copies: int = key(1, low=1, high=1000)
    keep_still: bool = key(False)
    match_noise: bool = key(False)
    clean_target: bool = key(False)
    batch_size: int = key(4, low=1)


@dataclass(frozen=True)
class AlignedConfig:
    reach: int = key(6, low=1, high=100)


@dataclass(frozen=True)
class DeblurringConfig:
    model: str = key("ESTRNN", python_class=True)
    architecture: dict = key({}, of="model")
    interface: dict = key({}, of="model")
    weights: Path | None = key(None, path=True)
    channel_order: str = key("rgb", choices=("rgb", "bgr"))
    epochs: int = key(10, low=1)
    min_steps: int = key(0, low=0)
    batch_size: int = key(8, low=1)
    crop_size: int = key(256, low=16)
    pairs: str = key("reblurred", choices=("reblurred", "ground_truth"))
    anchors: int = key(0, low=0, high=1000)
    fusion: str = key("none", choices=("none", "aligned"))
    aligned: AlignedConfig = field(default_factory=AlignedConfig)
    learning_rate: float | None = key(None, low=0.0)
    min_learning_rate: float = key(1e-7, low=0.0)
    gradient_clip: float | None = key(None, low=0.0)
    scope: str = key("dataset", choices=("dataset", "video"))
    select: str = key("last", choices=("last", "best_pairs", "best_gt", "both"))
    borders: str = key("mirror", choices=("drop", "mirror"))
    clip_length: int = key(0, low=0)
    clip_overlap: int = key(0, low=0)
    tile: int = key(0, low=0)
    tile_overlap: int = key(32, low=0)
    keep_every: int = key(0, low=0)


@dataclass(frozen=True)
class RuntimeConfig:
    device: str = key("auto", choices=("auto", "cpu", "cuda"))
    precision: str = key("fp32", choices=("fp32", "bf16"))
    tf32: bool = key(False)
    compile: bool = key(False)
    workers: int = key(2, low=0)
    cache_gib: float = key(2.0, low=0.0)
    seed: int = key(2023, low=0)


@dataclass(frozen=True)
class TrainRuntimeConfig(RuntimeConfig):
    cache_gib: float = key(8.0, low=0.0)


@dataclass(frozen=True)
class Config:
    """Everything the four stages read; configs/default.yaml explains each key."""

    output: Path | None = key(None, path=True)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    rsdm: RsdmConfig = field(default_factory=RsdmConfig)
    dbcgm: DbcgmConfig = field(default_factory=DbcgmConfig)
    blurring: BlurringConfig = field(default_factory=BlurringConfig)
    deblurring: DeblurringConfig = field(default_factory=DeblurringConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


@dataclass(frozen=True)
class TrainDataConfig:
    root: Path | None = key(None, path=True)
    validation: Path | None = key(None, path=True)
    augment: str = key("flip_rotate", choices=("none", "flip", "flip_rotate"))


@dataclass(frozen=True)
class NetworkConfig:
    name: str = key("")
    architecture: dict = key({})
    initialise: str = key("default", choices=("default", "identity"))
    batch_statistics: str = key("train", choices=("train", "fixed"))
    weights: Path | None = key(None, path=True)


@dataclass(frozen=True)
class ScheduleConfig:
    steps: int = key(0, low=0)
    epochs: int = key(0, low=0)
    batch_size: int = key(8, low=1)
    crop_size: int = key(256, low=16)
    frames: int = key(5, low=5)
    learning_rate: float = key(1e-3, low=0.0)
    min_learning_rate: float = key(1e-5, low=0.0)
    warmup_steps: int = key(0, low=0)
    gradient_clip: float = key(0.0, low=0.0)
    validate_every: int = key(1000, low=1)
    save_every: int = key(500, low=1)


@dataclass(frozen=True)
class DiffusionConfig:
    num_timesteps: int = key(2000, low=2)
    beta_1: float = key(1e-6, low=0.0, high=1.0)
    beta_T: float = key(1e-2, low=0.0, high=1.0)
    sampling_steps: int = key(20, low=1)
    strategy: list[str] = key([])
    align_condition: bool = key(True)
    reverse_direction: bool = key(False)
    offset_noise: float = key(0.0, low=0.0)
    timestep_power: float = key(1.0, low=0.1)
    prediction: str = key("noise", choices=("noise", "image"))
    magnitude_scale: float = key(205.0, low=1.0)


@dataclass(frozen=True)
class TrainConfig:
    """What the three trainers read; configs/train/default.yaml explains each key."""

    output: Path | None = key(None, path=True)
    data: TrainDataConfig = field(default_factory=TrainDataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    runtime: TrainRuntimeConfig = field(default_factory=TrainRuntimeConfig)


def load_config(schema: type[Schema], path: Path, overrides: Sequence[str] = ()) -> Schema:
    """Read `path` and the files it is based on, apply `section.key=value` overrides, check everything.

    Raises UserError with the file (or `--set`), the key, what was expected and what was found.
    """
    config = schema()
    for source, content in _layers(Path(path), ()):
        config = _merge(config, content, str(source), "", source.parent)
    for override in overrides:
        dotted, separator, text = override.partition("=")
        if not separator or not dotted:
            raise UserError(f"--set {override}: expected section.key=value")
        try:
            value = _yaml(text) if text else None
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UserError(f"--set {override[:160]}: the value is not valid YAML") from None
        for part in reversed(dotted.split(".")):
            value = {part: value}
        config = _merge(config, value, "--set", "", Path.cwd())
    return config


def as_dict(config: Any) -> Any:
    """The configuration as plain YAML/JSON values; paths become text."""
    if dataclasses.is_dataclass(config):
        return {item.name: as_dict(getattr(config, item.name)) for item in dataclasses.fields(config)}
    return str(config) if isinstance(config, Path) else config


def require(value: Any, name: str, hint: str) -> Any:
    """`value`, or a UserError that names the key when it is not set."""
    if value is None:
        raise UserError(f"{name} is not set: {hint} (in the config file, or --set {name}=...)")
    return value


class _Loader(yaml.SafeLoader):
    """Plain values only, and no aliases: a few nested ones stand for more than any memory holds once they are
    shown."""

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(
                f"line {self.peek_event().start_mark.line + 1}: aliases (*name) are not read; write the "
                "value again"
            )
        return super().compose_node(parent, index)


def _yaml(text: str) -> Any:
    return yaml.load(text, _Loader)


def _layers(path: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, dict]]:
    """The files that `path` is based on, most basic first, each with its content."""
    path = _resolved(str(path), "--config", Path.cwd())
    if path in above:
        raise UserError(f"{path}: `base:` leads back to the file itself")
    try:
        content = _yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: config file cannot be read ({error.strerror})") from None
    # A day that no month has, a number of more digits than Python reads: ValueError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())[:160]})") from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected `key: value` lines, found {type(content).__name__}")
    base = content.pop("base", None)
    if base is not None:
        if not isinstance(base, str) or "\0" in base:
            raise UserError(f"{path}: base: expected the name of a YAML file, found {_shown(base)}")
        yield from _layers(path.parent / base, (*above, path))
    yield path, content


def _merge(config: Any, content: dict, source: str, prefix: str, folder: Path) -> Any:
    """A copy of the dataclass `config` with the values of `content` checked and put in."""
    hints = typing.get_type_hints(type(config))
    fields = {item.name: item for item in dataclasses.fields(config)}
    changes = {}
    for name, value in content.items():
        full = f"{prefix}{name}"
        if name not in fields:
            raise UserError(f"{source}: unknown key `{full}`{_nearest(str(name), fields, prefix, config)}")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current):
            if value is None:
                continue
            if not isinstance(value, dict):
                raise UserError(
                    f"{source}: {full} is a section, expected `key: value` lines, found {_shown(value)}"
                )
            changes[name] = _merge(current, value, source, f"{full}.", folder)
        else:
            if isinstance(current, dict) and isinstance(value, dict):
                value = {**current, **value}
            changes[name] = _checked(value, hints[name], fields[name].metadata, f"{source}: {full}", folder)
    for name, item in fields.items():
        owner = item.metadata.get("of")
        if owner in changes and changes[owner] != getattr(config, owner):
            # Another network does not take the keywords that were meant for the one before.
            changes[name] = dict(content.get(name, {}))
    return dataclasses.replace(config, **changes)


def _nearest(name: str, fields: dict, prefix: str, config: Any) -> str:
    known = {f"{prefix}{item}": item for item in fields}
    if not prefix:
        # A key written at the wrong level is the commonest slip, so sections are searched as well.
        for section in fields:
            value = getattr(config, section)
            if dataclasses.is_dataclass(value):
                known |= {f"{section}.{item.name}": item.name for item in dataclasses.fields(value)}
    close = difflib.get_close_matches(name, set(known.values()), n=1, cutoff=0.5)
    if close:
        return f"; did you mean `{next(full for full, short in known.items() if short == close[0])}`?"
    return f"; known keys: {', '.join(list(known)[:12])}"


def _checked(value: Any, hint: Any, facts: Any, where: str, folder: Path) -> Any:
    optional = isinstance(hint, types.UnionType) and type(None) in hint.__args__
    kind = next(item for item in hint.__args__ if item is not type(None)) if optional else hint
    if value is None:
        if optional:
            return None
        raise UserError(f"{where}: a value is missing")
    if facts["path"]:
        if not isinstance(value, str) or not value:
            raise UserError(f"{where}: expected a path, found {_shown(value)}")
        return _resolved(value, where, folder)
    if kind == list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            # YAML reads the name 010 as eight, so numbers cannot be turned back into the words that were
            # meant.
            raise UserError(
                f'{where}: expected a list of words, numbers in quotes ("012"), found {_shown(value)}'
            )
        return list(value)
    if kind is float:
        value = _number(value, where)
    elif kind is int and (isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _MOST):
        raise UserError(f"{where}: expected a whole number, found {_shown(value)}")
    elif kind in (bool, dict, str) and not isinstance(value, kind):
        names = {bool: "true or false", dict: "`key: value` lines", str: "a word"}
        raise UserError(f"{where}: expected {names[kind]}, found {_shown(value)}")
    if kind is dict:
        _plain(value, where)
    if facts["python_class"]:
        file, _, name = value.rpartition(":")
        if file.endswith(".py"):
            value = f"{_resolved(file, where, folder)}:{name}"
    if facts["choices"] and value not in facts["choices"]:
        raise UserError(f"{where}: expected one of {', '.join(facts['choices'])}, found {_shown(value)}")
    for bound, outside, words in (
        (facts["low"], lambda b: value < b, "at least"),
        (facts["high"], lambda b: value > b, "at most"),
    ):
        if bound is not None and outside(bound):
            raise UserError(f"{where}: expected {words} {bound:g}, found {_shown(value)}")
    return value


_MOST = 2**63
"""Whole numbers below it are those that every library takes."""


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(value: Any, where: str) -> Any:
    """`value` if it could stand in a JSON file: it goes into the settings that results are compared by."""
    if isinstance(value, dict):
        for name, inside in value.items():
            if not isinstance(name, str):
                raise UserError(f"{where}: expected words as keys, found {_shown(name)}")
            _plain(inside, f"{where}.{name}")
    elif isinstance(value, list):
        for inside in value:
            _plain(inside, where)
    elif not (
        value is None
        or type(value) in (bool, str)
        or type(value) is int
        and abs(value) < _MOST
        or type(value) is float
        and math.isfinite(value)
    ):
        raise UserError(
            f"{where}: expected numbers, words, lists and `key: value` lines, found {_shown(value)}"
        )
    return value


def _resolved(path: str, where: str, folder: Path) -> Path:
    try:
        return (folder / Path(path).expanduser()).resolve()
    except (RuntimeError, ValueError):
        # A home folder of nobody; a NUL character.
        raise UserError(f"{where}: expected a path, found {_shown(path)}") from None


def _number(value: Any, where: str) -> float:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        # PyYAML reads 1e-4 (without a dot) as text; what float() accepts is what the user meant.
        try:
            value = float(value)
        except (ValueError, OverflowError):
            raise UserError(f"{where}: expected a number, found {_shown(value)}") from None
    if not isinstance(value, float) or not math.isfinite(value):
        raise UserError(f"{where}: expected a finite number, found {_shown(value)}")
    return value
