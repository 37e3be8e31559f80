"""No source loads what could run code: every way of doing so that there is in the libraries used here is
looked for."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("RSDM", "DBCGM", "BlurringModel", "DeblurringModel", "common", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.load_all",
    "yaml.unsafe_load_all",
    "torch.hub.load",
    "torch.jit.load",
    "torch.package.PackageImporter",
    "pandas.read_pickle",
    "numpy.fromregex",
}
LOADERS = {"_Loader", "yaml.SafeLoader", "yaml.CSafeLoader"}
NEEDS = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}


def problems(text: str) -> list[str]:
    """Every unsafe load of a source text."""
    return list(_problems(ast.parse(text)))


def _problems(tree: ast.Module) -> Iterator[str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                item.asname or item.name.partition(".")[0]: item.name
                if item.asname
                else item.name.partition(".")[0]
                for item in node.names
            }
            yield from (
                f"line {node.lineno}: import {item.name}"
                for item in node.names
                if item.name.partition(".")[0] in MODULES
            )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
            if node.module.partition(".")[0] in MODULES:
                yield f"line {node.lineno}: from {node.module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _dotted(node.func, names)
            given = {word.arg: word.value for word in node.keywords}
            if called in CALLS or called == "__import__":
                yield f"line {node.lineno}: {called}"
            if called in NEEDS:
                word, value = NEEDS[called]
                if not (isinstance(given.get(word), ast.Constant) and given[word].value is value):
                    yield f"line {node.lineno}: {called} without {word}={value}"
            if called == "yaml.load":
                loader = given.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
                if loader is None or _dotted(loader, names) not in LOADERS:
                    yield f"line {node.lineno}: yaml.load without a safe loader"
            if isinstance(given.get("shell"), ast.Constant) and given["shell"].value:
                yield f"line {node.lineno}: shell=True"
        elif (
            isinstance(node, (ast.Attribute, ast.Name))
            and _dotted(node, names) in NEEDS
            and not _is_called(tree, node)
        ):
            # Handed on as a function, nobody sees with which arguments it is called.
            yield f"line {node.lineno}: {_dotted(node, names)} handed on"


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _is_called(tree: ast.Module, node: ast.AST) -> bool:
    return any(isinstance(call, ast.Call) and call.func is node for call in ast.walk(tree))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_unsafe_load(path: Path) -> None:
    assert problems(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import joblib",
        "from torch import load\nload('a')",
        "import torch\ntorch.load('a')",
        "import torch\ntorch.load('a', weights_only=False)",
        "import torch\nx = True\ntorch.load('a', weights_only=x)",
        "import torch as t\nt.load('a')",
        "import torch\nmap(torch.load, files)",
        "import numpy as np\nnp.load('a')",
        "import numpy as np\nnp.load('a', allow_pickle=True)",
        "from numpy import load as read\nread('a')",
        "import yaml\nyaml.load(x, yaml.Loader)",
        "import yaml\nyaml.load(x)",
        "import yaml\nyaml.unsafe_load(x)",
        "from yaml import full_load\nfull_load(x)",
        "eval('1')",
        "exec('1')",
        "import os\nos.system('x')",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import torch\ntorch.hub.load('a', 'b')",
        "from torch import jit\njit.load('a')",
        "__import__('pickle')",
    ],
)
def test_what_is_unsafe_is_found(text: str) -> None:
    assert problems(text)


def test_the_loader_of_configurations_is_a_safe_one() -> None:
    import yaml

    from common.config_loader import _Loader

    assert issubclass(_Loader, yaml.SafeLoader) and not issubclass(_Loader, (yaml.Loader, yaml.FullLoader))
