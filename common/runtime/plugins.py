"""Classes and functions of the user's own: `package.module:Name` or `path/to/file.py:Name`."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

EXPECTED = "package.module:Name or path/to/file.py:Name"


def is_own(name: str) -> bool:
    """Whether a configuration's value names something of the user's own."""
    module, _, attribute = name.rpartition(":")
    return bool(module) and attribute.isidentifier()


def load(name: str, key: str) -> Any:
    """What `name` stands for. key: the configuration's, for messages.

    Raises ValueError, in one line, where the module or file is not there or ends with an error, or holds no
    such name.
    """
    module, _, attribute = name.rpartition(":")
    found = getattr(_module(module, key), attribute, None)
    if found is None:
        raise ValueError(f"{key}: {module} has no class {attribute}, or function of that name")
    return found


def _module(name: str, key: str) -> Any:
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        path = Path(name).resolve()
        if not path.is_file():
            raise ValueError(f"{key}: {path} does not exist")
        # Classes of a module that is not registered cannot be found again by name, which some decorators do.
        # The prefix keeps a file named like a package of ours or of a library from taking its place.
        found = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
        module = importlib.util.module_from_spec(found)
        sys.modules[found.name] = module
        found.loader.exec_module(module)
        return module
    except (ImportError, SyntaxError, NameError) as error:
        words = " ".join(str(error).split())
        raise ValueError(f"{key}: module {name} cannot be imported ({words})") from None
