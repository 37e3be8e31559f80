"""The exception for a user's mistake, shown as a single line."""


class UserError(Exception):
    """Wrong input: the message is one line that names the file or key, what is wrong and what to do.

    Entry points turn it into that line on standard error and exit code 2 (`common.runtime.entry.run`).
    """
