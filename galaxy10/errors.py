"""The one family of exceptions a user is meant to see."""


class Galaxy10Error(Exception):
    """Something the person at the keyboard can mend: shown as one line, exit code 2, never as a traceback.

    The message says what was found, what was expected, and what to type instead.
    """


class TrainingError(Galaxy10Error):
    """The same, once training has begun: the run has failed (exit code 1), and its directory is kept."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, or its class name where it has none."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
