"""Entry points: a user's mistake becomes one line and exit code 2."""
import sys
from collections.abc import Callable

from tqdm import tqdm

from common import distributed
from common.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Call `main` and end the process: 0 when it returns, 2 with one line for a UserError, 130 for Ctrl-C."""
    try:
        main()
    except UserError as error:
        # Not print: a progress bar that is still open would share the line.
        tqdm.write(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        tqdm.write("interrupted: start again to go on where it stopped", file=sys.stderr)
        sys.exit(130)
    finally:
        distributed.stop()
