"""Which module imports which, read from the source: the stages stay apart, and there are no circles."""

import ast
from collections.abc import Mapping, Set
from functools import cache
from pathlib import Path

import pytest
import tiny

STAGES = ("RSDM", "DBCGM", "BlurringModel", "DeblurringModel")
PACKAGES = (*STAGES, "common", "scripts")
SHELVES = ("common.formats", "common.rendering", "common.runtime", "common.training")
Graph = Mapping[str, Set[str]]


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def project() -> Graph:
    """Each module of the project, and the modules of the project that it imports, inside of functions too."""
    files = {
        module_name(path.relative_to(tiny.ROOT)): path
        for package in PACKAGES
        for path in (tiny.ROOT / package).rglob("*.py")
    }
    return {name: imported(path.read_text(encoding="utf-8"), files) for name, path in files.items()}


def imported(source: str, modules: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not followed here"
            # What is imported from a package may be one of its modules, or a name in its __init__.
            found |= {node.module}
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found & modules.keys()


def reached(graph: Graph, start: str) -> set[str]:
    """All modules that `start` imports, itself or through others."""
    found: set[str] = set()
    left = list(graph[start])
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += graph[name]
    return found


def package(name: str) -> str:
    return name.partition(".")[0]


def shelf(name: str) -> str | None:
    return next((folder for folder in SHELVES if name == folder or name.startswith(f"{folder}.")), None)


def circles(graph: Graph) -> list[str]:
    return [name for name in graph if name in reached(graph, name)]


def imports_back(graph: Graph) -> list[tuple[str, str]]:
    """(module on a shelf, module at the top of common) where the second one needs that shelf itself."""
    return [
        (name, other)
        for name in graph
        if (own := shelf(name))
        for other in graph[name]
        if shelf(other) is None and any(shelf(needed) == own for needed in reached(graph, other))
    ]


def test_there_are_modules_to_check():
    graph = project()
    assert {"RSDM.main", "common.runtime.entry", "scripts.evaluate"} <= graph.keys()
    assert (
        "common.errors" in graph["common.images"] and "common.runtime.locks" in graph["common.runtime.entry"]
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other_stage_and_no_script(stage):
    others = {
        (name, other)
        for name, targets in project().items()
        if package(name) == stage
        for other in targets
        if package(other) not in (stage, "common")
    }
    assert others == set()


def test_common_imports_no_stage_and_no_script():
    others = {
        (name, other)
        for name, targets in project().items()
        if package(name) == "common"
        for other in targets
        if package(other) != "common"
    }
    assert others == set()


def test_no_circles():
    assert circles(project()) == []


def test_no_shelf_of_common_imports_what_needs_that_shelf():
    assert imports_back(project()) == []


def test_faults_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    graph = {
        "common.runtime.times": {"common.layout"},
        "common.layout": {"common.images"},
        "common.images": {"common.runtime.files"},
        "common.runtime.files": set(),
    }
    assert circles(graph) == [] and imports_back(graph) == [("common.runtime.times", "common.layout")]
    modules = dict.fromkeys(("common", "common.images", "RSDM.main"), Path())
    assert (
        imported("def f():\n    from common import images\n    import RSDM.main", modules) == modules.keys()
    )
