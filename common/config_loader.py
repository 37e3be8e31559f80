"""Fills the configuration from YAML files (`base:` names others to start from) and `--set section.key=value`.

No other module reads YAML. An unknown key, a wrong type or an impossible value stops at once with the file,
the key and the nearest right key. A relative path in a YAML file is relative to that file; one on the
command line, to the current folder.
"""

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from common.config import StageConfig
from common.config_rules import check_rules
from common.errors import UserError
from common.runtime.plugins import EXPECTED, is_own

Schema = TypeVar("Schema")


def load_config(schema: type[Schema], path: Path, overrides: Sequence[str] = ()) -> Schema:
    """Read the files that `path` is based on and `path` itself, apply `section.key=value` overrides, check
    everything.

    Raises UserError with the file (or `--set`), the key, what was expected and what was found, and where
    settings do not go together.
    """
    config = schema()
    for source, content in _layers(Path(path), (), set()):
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
    check_rules(config)
    return config


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


def preset_overrides(path: Path) -> list[str]:
    """What a preset sets, as `section.key=value` overrides. Raises UserError where it has a `base:`."""
    content = _content(Path(path))
    if "base" in content:
        raise UserError(f"{path}: base: a preset that is put on top of a configuration has none")
    return [f"{name}={json.dumps(value)}" for name, value in _flat(content)]


def _flat(content: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _layers(path: Path, above: tuple[Path, ...], read: set[Path]) -> Iterator[tuple[Path, dict]]:
    """The files that `path` is based on, in the order of `base:`, and `path` itself, each with its content.

    Raises UserError where a file comes twice: the second time it would undo what the files between changed.
    """
    path = _resolved(str(path), "--config", Path.cwd())
    if path in above:
        raise UserError(f"{path}: `base:` leads back to the file itself")
    if path in read:
        raise UserError(
            f"{above[-1]}: base: {path} was read before and would undo what the files since then have set; "
            "leave it out"
        )
    content = _content(path, f"; {above[-1]}: base: names it" if above else "")
    bases = content.pop("base", None)
    for base in [] if bases is None else bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or "\0" in base:
            raise UserError(
                f"{path}: base: expected the name of a YAML file or a list of them, found {_shown(bases)}"
            )
        yield from _layers(path.parent / base, (*above, path), read)
    read.add(path)
    yield path, content


def _content(path: Path, named_by: str = "") -> dict:
    """A file's content. named_by: what a message adds where another file names this one."""
    try:
        content = _yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: config file cannot be read ({error.strerror}){named_by}") from None
    # A day that no month has, a number of more digits than Python reads: ValueError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())[:160]})") from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected `key: value` lines, found {type(content).__name__}")
    return content


def _merge(config: Any, content: dict, source: str, prefix: str, folder: Path) -> Any:
    """A copy of the dataclass `config` with the values of `content` checked and put in."""
    hints = typing.get_type_hints(type(config))
    fields = {item.name: item for item in dataclasses.fields(config)}
    changes = {}
    for name, value in content.items():
        full = f"{prefix}{name}"
        if name not in fields:
            raise UserError(f"{source}: unknown key `{full}`{_nearest(str(name), prefix, config)}")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current):
            if value is None:
                continue
            if not isinstance(value, dict):
                raise UserError(
                    f"{source}: {full} is a section, expected `key: value` lines, found {_shown(value)}"
                )
            changes[name] = _merge(current, value, source, f"{full}.", folder)
        elif hints[name] == list[StageConfig]:
            changes[name] = _stages(value, source, full, folder)
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


def _stages(value: Any, source: str, full: str, folder: Path) -> list[StageConfig]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UserError(f"{source}: {full}: expected a list of {{key: value}}, found {_shown(value)}")
    return [
        _merge(StageConfig(), item, source, f"{full}[{number}].", folder) for number, item in enumerate(value)
    ]


def _nearest(name: str, prefix: str, config: Any) -> str:
    # A key written at the wrong level is the commonest slip, so sections are searched as well.
    known = _known(config, prefix)
    close = difflib.get_close_matches(name, set(known.values()), n=1, cutoff=0.5)
    if close:
        return f"; did you mean `{next(full for full, short in known.items() if short == close[0])}`?"
    return f"; known keys: {', '.join(list(known)[:12])}"


def _known(config: Any, prefix: str) -> dict[str, str]:
    """Dotted name -> name of every key of `config`, those of its sections last."""
    known, inside = {}, {}
    for item in dataclasses.fields(config):
        known[f"{prefix}{item.name}"] = item.name
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            inside |= _known(value, f"{prefix}{item.name}.")
    return known | inside


def _checked(value: Any, hint: Any, metadata: Any, where: str, folder: Path) -> Any:
    optional = isinstance(hint, types.UnionType) and type(None) in hint.__args__
    kind = next(item for item in hint.__args__ if item is not type(None)) if optional else hint
    if value is None:
        if optional:
            return None
        raise UserError(f"{where}: a value is missing")
    if kind == list[Path]:
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise UserError(f"{where}: expected a list of paths, found {_shown(value)}")
        return [_resolved(item, where, folder) for item in value]
    if metadata["path"]:
        if not isinstance(value, str) or not value:
            raise UserError(f"{where}: expected a path, found {_shown(value)}")
        return Path(value) if value in metadata["words"] else _resolved(value, where, folder)
    if kind == list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            # YAML reads the name 010 as eight, so numbers cannot be turned back into the words that were
            # meant.
            raise UserError(
                f'{where}: expected a list of strings, numbers in quotes ("012"), found {_shown(value)}'
            )
        return list(value)
    if kind is float:
        value = _number(value, where)
    elif kind is int and (isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _MOST):
        raise UserError(f"{where}: expected a whole number, found {_shown(value)}")
    elif kind in (bool, dict, str) and not isinstance(value, kind):
        names = {bool: "true or false", dict: "`key: value` lines", str: "a string"}
        raise UserError(f"{where}: expected {names[kind]}, found {_shown(value)}")
    if kind is dict:
        _plain(value, where)
    if metadata["python_class"]:
        file, _, name = value.rpartition(":")
        if file.endswith(".py"):
            value = f"{_resolved(file, where, folder)}:{name}"
    if metadata["choices"] and value not in metadata["choices"]:
        if not (metadata["python_class"] and is_own(value)):
            own = f", {EXPECTED}" if metadata["python_class"] else ""
            raise UserError(
                f"{where}: expected one of {', '.join(metadata['choices'])}{own}, found {_shown(value)}"
            )
    for bound, outside, words in (
        (metadata["low"], lambda b: value < b, "at least"),
        (metadata["high"], lambda b: value > b, "at most"),
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
                raise UserError(f"{where}: expected strings as keys, found {_shown(name)}")
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
            f"{where}: expected numbers, strings, lists and `key: value` lines, found {_shown(value)}"
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
