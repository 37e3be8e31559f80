"""What an entry script does before the imports that take seconds.

Imported before everything else, and written so that a Python 3 of any age reads it.
"""

from common.runtime import environment


def prepare(name):
    """End with one line and exit code 2 where Python is too old or a package is missing; from now on, end with
    one line on Ctrl-C and SIGTERM too, until `common.runtime.entry.run` handles them.

    name: the script's `__name__`. A script that is imported is not prepared.
    """
    if name == "__main__":
        environment.require()
        # Not at the top: it needs a newer Python than the line above.
        from common.runtime import interrupts

        interrupts.end_at_once()
