"""Whether this Python can run the project: its version, and the packages of requirements.txt.

Imported before everything else, and written so that a Python 3 of any age reads it.
"""

import importlib.util
import sys
from pathlib import Path

OLDEST = (3, 10)
PACKAGES = ("torch", "torchvision", "numpy", "cv2", "av", "PIL", "tqdm", "skimage", "yaml")
"""By the names under which they are imported."""
_ROOT = Path(__file__).resolve().parents[2]


def require():
    """End the process with one line and exit code 2 where something is missing; the line says what to do."""
    problem = problem_of(sys.version_info[:2])
    if problem is not None:
        sys.stderr.write("error: {}\n".format(problem))
        sys.exit(2)


def problem_of(version):
    """What is wrong with this interpreter, of this version (major, minor), as text; None where it can run the
    project."""
    if version < OLDEST:
        return "Python {}.{} or newer is needed, {} is {}.{}; {}".format(
            *OLDEST, sys.executable, *version, _advice()
        )
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return "{} has no {}; {}".format(sys.executable, ", ".join(missing), _advice())
    return None


def _advice():
    made = _ROOT / ".venv" / "bin" / "activate"
    if made.exists():
        return "enter the environment first: source {}".format(made)
    return (
        "make an environment and enter it: python3 -m venv {0}/.venv && source {0}/.venv/bin/activate && "
        "pip install -r {0}/requirements.txt".format(_ROOT)
    )
