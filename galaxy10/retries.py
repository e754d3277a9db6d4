"""Requests that fail for a while: which failures may pass, how long to wait, and what to say."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from galaxy10.http import DownloadError

logger = logging.getLogger(__name__)

WAITS_S = (1.0, 2.0, 4.0, 8.0)  # before the second, third, … try; after new bytes, counting begins anew
LONGEST_WAIT_S = 120.0  # a server that asks for a longer pause is not waited for
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)

T = TypeVar("T")


class TransientError(DownloadError):
    """A failure that may be gone at the next try.

    Attributes:
        wait_s: seconds that the server asks to wait; None if it does not say.
    """

    def __init__(self, reason: str, wait_s: float | None = None):
        super().__init__(reason)
        self.wait_s = wait_s


class StallError(TransientError):
    """A server accepts the connection, then sends nothing."""

    def __init__(self, limit_s: float):
        super().__init__(f"accepts the connection, then sends nothing for {limit_s:g} s")


def retry(attempt: Callable[[], T], name: str, size: Callable[[], int] = lambda: 0) -> T:
    """Return what `attempt` returns; try again after growing waits when it raises TransientError.

    Args:
        name: the server, for messages.
        size: returns the number of bytes so far; more of them than at the try before begin the waits anew.

    Raises:
        DownloadError: every try failed, or a failure was not transient.
    """
    waits, before = iter(WAITS_S), size()
    while True:
        try:
            return attempt()
        except TransientError as error:
            now = size()
            if now > before:
                waits, before = iter(WAITS_S), now
            wait_s = next(waits, None)
            if wait_s is None:
                raise
            if error.wait_s is not None:
                wait_s = max(wait_s, error.wait_s)
            if wait_s > LONGEST_WAIT_S:
                raise DownloadError(f"{error} and asks for a pause of {wait_s:,.0f} s; try again later") from error
            logger.info(f"{name} {error}; trying again in {wait_s:g} s" + (f" from {amount(now)}" if now else ""))
            time.sleep(wait_s)


def request_error(error: Exception, timeout_s: float) -> DownloadError:
    """Return a failed request as an error in a few words, transient or not."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        response = error.response
        return status_error(response.status_code, response.reason, response.headers.get("Retry-After"))
    if isinstance(error, requests.exceptions.SSLError):
        return DownloadError("its certificate is not accepted")
    if isinstance(error, requests.exceptions.ProxyError):
        return DownloadError("the proxy does not let it through")
    # In the middle of a file, requests calls a timeout a ConnectionError around urllib3's own exception.
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return StallError(timeout_s)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return TransientError("breaks off in the middle of the file")
    if isinstance(error, requests.ConnectionError):
        return TransientError("breaks the connection off")
    return DownloadError(type(error).__name__)


def status_error(status: int, reason: str, retry_after: str | None) -> DownloadError:
    """Return the error for an HTTP status; transient if a later try may succeed."""
    said = f"answers {status} {reason}".rstrip()
    return TransientError(said, _seconds(retry_after)) if status in _TRANSIENT else DownloadError(said)


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds in a Retry-After header, which has a number or a date; None without a readable one."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return None if retry_after is None else Retry().parse_retry_after(retry_after)
    except InvalidHeader:
        return None


def amount(size: int, total: int | None = None) -> str:
    """Format a number of bytes, of a total if it is known: `0.7 of 2.7 GB`."""
    unit, divisor = ("GB", 10**9) if max(size, total or 0) >= 10**9 else ("MB", 10**6)
    return f"{size / divisor:.1f}" + (f" of {total / divisor:.1f} {unit}" if total else f" {unit}")
