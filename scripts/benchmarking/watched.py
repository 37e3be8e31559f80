"""Run a command and write its largest resident memory, in bytes, to a file; ends with the command's exit
code.

A process of its own and a small one: what the system tells about a child counts the memory that its parent
had when it started it, and a benchmark holds frames.
Usage    python scripts/benchmarking/watched.py FILE COMMAND [ARGUMENTS]
"""

import resource
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    code = subprocess.call(sys.argv[2:])
    Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
    sys.exit(code)
