"""Entry points: a user's mistake becomes one line and exit code 2."""
import sys
from collections.abc import Callable

from common import distributed
from common.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Call `main` and end the process: 0 when it returns, 2 with one line for a UserError, 130 for Ctrl-C."""
    failure = None
    try:
        main()
    except UserError as error:
        failure = 2, f"error: {error}"
    except KeyboardInterrupt:
        failure = 130, "interrupted: start again to go on where it stopped"
    finally:
        distributed.stop()
    if failure is not None:
        # Not in the except block: the frames that the exception holds, and their progress bar, have to be gone, or the
        # bar would share the line.
        code, line = failure
        print(line, file=sys.stderr)
        sys.exit(code)
