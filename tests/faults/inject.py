"""python inject.py FAULT SCRIPT ARGUMENTS...: runs a script and disturbs the moment at which files appear.

FAULT is `count:FILE` (append a line to FILE at each), `kill:N:before` or `kill:N:after` (SIGKILL at the N-th,
before or after its renaming), `error:N:NAME` (the N-th and all after it fail with that errno), or
`pause:SECONDS` (before each).
"""

import errno
import os
import runpy
import signal
import sys
import time

sys.argv.pop(0)
what, _, details = sys.argv.pop(0).partition(":")
rename, seen = os.replace, 0


def replace(source: str, target: str) -> None:
    global seen
    seen += 1
    if what == "pause":
        time.sleep(float(details))
    elif what == "count":
        with open(details, "a") as file:
            file.write(f"{target}\n")
    elif what == "error":
        number, name = details.split(":")
        if seen >= int(number):
            code = getattr(errno, name)
            raise OSError(code, os.strerror(code), str(target))
    elif what == "kill":
        number, when = details.split(":")
        if seen == int(number):
            if when == "after":
                rename(source, target)
            os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)


os.replace = replace
runpy.run_path(sys.argv[0], run_name="__main__")
