"""Entry points: a user's mistake becomes one line and exit code 2."""

import io
import os
import sys
import warnings
from collections.abc import Callable

from tqdm import TqdmMonitorWarning

from common.errors import UserError
from common.runtime import distributed, interrupts, locks
from common.runtime.files import remove_unfinished
from common.runtime.memory import OUT_OF_MEMORY, out_of_memory


def run(main: Callable[[], None]) -> None:
    """Call `main` and end the process: 0 when it returns, 2 with one line for a UserError, what the system
    refuses (a full disk, a file without permission) or memory that runs out, 130 with one line for Ctrl-C
    and 143 for SIGTERM."""
    failure, joined = None, False
    # A name that the terminal's encoding lacks is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Where no thread can be started, progress bars do without theirs.
    warnings.filterwarnings("ignore", category=TqdmMonitorWarning)
    interrupts.raise_in_work()
    try:
        main()
    except UserError as error:
        failure = 2, f"error: {error}"
    except OSError as error:
        if error.strerror is None:
            raise
        if out_of_memory(error):
            error.strerror = OUT_OF_MEMORY
        # The system's message names the cause. A traceback would not help the user.
        failure = 2, f"error: {error.filename or 'reading or writing'}: failed ({error.strerror})"
    except Exception as error:
        if not out_of_memory(error):
            raise
        failure = 2, f"error: {OUT_OF_MEMORY} ({type(error).__name__}: {str(error)[:100]})"
    except KeyboardInterrupt as interruption:
        failure = getattr(interruption, "code", 130), interrupts.MESSAGE
    finally:
        joined = distributed.stop()
        locks.release()
        interrupts.restore()
    code, line = failure or (0, "")
    if line:
        # Not in the except block: the frames that the exception holds, and their progress bar, have to be
        # gone, or the bar would share the line. A file name may hold line breaks.
        print(" ".join(line.splitlines()), file=sys.stderr)
    if joined:
        _end_at_once(code)
    if code:
        sys.exit(code)


def _end_at_once(code: int) -> None:
    """End the process without Python's shutdown. Gloo's threads outlive the process group. One that frees a
    tensor during the shutdown ends a finished process with SIGABRT
    (https://github.com/pytorch/pytorch/pull/179291)."""
    remove_unfinished()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
