"""The exceptions that users see as one line instead of a traceback."""

import errno
import os
import re


class Galaxy10Error(Exception):
    """An error that the user can correct: shown as one line, exit code 2, without a traceback.

    The message says what was found, what was expected, and what to type instead. Names in it may hold line breaks,
    which are written out.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__("\\n".join(str(message).splitlines()))


class TrainingError(Galaxy10Error):
    """A Galaxy10Error raised after training has started: the run fails (exit code 1) and keeps its directory."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or the exception's class name if the message is empty."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


_SYSTEM_REASONS = {
    errno.EACCES: "cannot be read by this user; change its permissions",
    errno.EPERM: "cannot be read by this user; change its permissions",
    errno.EISDIR: "is a folder; give a file",
    errno.ENOENT: "does not exist",
    errno.ESTALE: "has been replaced on the file server (stale file handle); run the command again",
    errno.EIO: "cannot be read, because the disk or the network fails (input/output error); try again, or from a copy",
    errno.EMFILE: "cannot be opened: too many files are open; raise the limit: ulimit -n 4096",
    errno.ENFILE: "cannot be opened: too many files are open on this machine; close other programs",
    errno.ENOMEM: "does not fit into memory; close other programs",
    errno.ELOOP: "is a link that leads to itself; link it anew",
}
_NETWORK = (errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET, errno.ENETUNREACH)
_ERRNO_IN_TEXT = re.compile(r"errno = (\d+)")


def system_errno(error: OSError) -> int | None:
    """Return the operating system's number of an error, which HDF5 writes into the text; None if it has none."""
    found = _ERRNO_IN_TEXT.search(str(error))
    return error.errno if error.errno is not None else int(found[1]) if found else None


def system_reason(error: BaseException) -> str:
    """Return why the operating system does not let a file be read, and what to do, to stand after the file's name.

    Return an empty text if the system does: the error is about the file's content.
    """
    number = system_errno(error) if isinstance(error, OSError) else None
    if number is None:
        return ""
    if number in _NETWORK:
        return f"cannot be read, because its file server does not answer ({os.strerror(number)}); try again later"
    return _SYSTEM_REASONS.get(number, f"cannot be read ({os.strerror(number)})")
