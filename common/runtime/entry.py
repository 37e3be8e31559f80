"""Entry points: a user's mistake becomes one line and exit code 2."""

import sys
from collections.abc import Callable

from common.errors import UserError
from common.runtime import distributed, interrupts, locks


def run(main: Callable[[], None]) -> None:
    """Call `main` and end the process: 0 when it returns, 2 with one line for a UserError or what the system
    refuses (a full disk, a file without permission), 130 with one line for Ctrl-C and 143 for SIGTERM."""
    failure = None
    interrupts.raise_in_work()
    try:
        main()
    except UserError as error:
        failure = 2, f"error: {error}"
    except OSError as error:
        if error.strerror is None:
            raise
        # The system's own words name the cause; a traceback adds nothing that a user could act on.
        failure = 2, f"error: {error.filename or 'reading or writing'}: failed ({error.strerror})"
    except KeyboardInterrupt as interruption:
        failure = getattr(interruption, "code", 130), interrupts.MESSAGE
    finally:
        distributed.stop()
        locks.release()
        interrupts.restore()
    if failure is not None:
        # Not in the except block: the frames that the exception holds, and their progress bar, have to be
        # gone, or the bar would share the line.
        code, line = failure
        # A file name may hold line breaks.
        print(" ".join(line.splitlines()), file=sys.stderr)
        sys.exit(code)
