"""The exceptions that users see as one line instead of a traceback."""


class Galaxy10Error(Exception):
    """An error that the user can correct: shown as one line, exit code 2, without a traceback.

    The message says what was found, what was expected, and what to type instead.
    """


class TrainingError(Galaxy10Error):
    """A Galaxy10Error raised after training has started: the run fails (exit code 1) and keeps its directory."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or the exception's class name if the message is empty."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
