"""torchrun for scripts that run stages, without the launcher's traceback after a stage's error line.

Usage    python scripts/launch.py PROCESSES SCRIPT [ARGUMENTS of the script]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.runtime import start

start.prepare(__name__)

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from common.runtime import interrupts


def main(processes: str, script: str, arguments: list[str]) -> int:
    """Run `script` in so many processes on this machine; its exit code, that of the process that failed
    first."""
    try:
        run.main(["--standalone", f"--nproc_per_node={processes}", script, *arguments])
    except SignalException as asked:
        print(interrupts.MESSAGE, file=sys.stderr)
        return 128 + int(asked.sigval)
    except ChildFailedError as failed:
        code = failed.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        print(
            f"error: expected PROCESSES SCRIPT; {' '.join(__doc__.split('Usage')[1].split())}",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
