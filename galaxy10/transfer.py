"""Download one file: keep what came, continue where a transfer broke off, and verify the whole."""

import errno
import hashlib
import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from galaxy10.files import atomic_rename, read_json, write_json
from galaxy10.http import CONNECT_S, READ_S, DownloadError, hostname
from galaxy10.progress import Progress
from galaxy10.retries import StallError, TransientError, amount, request_error, retry

if TYPE_CHECKING:
    from requests import Response, Session

logger = logging.getLogger(__name__)

MAX_BYTES = 16 * 2**30  # of a file of unknown length
_CHUNK_BYTES = 1 << 16  # what a kill or a break loses at most
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def exclusive(lock: Path) -> Iterator[bool]:
    """Hold a file lock, so that of several processes one downloads and the others wait.

    Yields:
        Whether the lock is held: False if the file system has no locks.
    """
    held = FileLock(lock)
    try:
        try:
            held.acquire(timeout=2)
        except Timeout:
            logger.info(f"waiting for another process, which holds {lock}")
            held.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        yield False
        return
    try:
        yield True
    finally:
        held.release()


def part_of(target: Path) -> Path:
    """Return the file that keeps what came of an interrupted download."""
    return target.with_name(f"{target.name}.part")


def own_part(target: Path) -> Path:
    """Return a file for the same that no other process writes, for file systems without locks."""
    return target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")


def download_file(
    url: str,
    target: Path,
    *,
    checksum: str | None = None,
    num_bytes: int | None = None,
    timeout_s: float = READ_S,
    progress: bool = True,
    headers: Mapping[str, str] | None = None,
    part: Path | None = None,
) -> None:
    """Download a URL to `target`, which appears when it is complete and verified.

    What came is kept in `TARGET.part`. A later call continues there, if the server supports ranges and still has the
    same file (by ETag, Last-Modified and length). Broken connections and 5xx are tried again after growing waits.

    Args:
        checksum: "sha256:…" or "md5:…", or the first digits of one.
        num_bytes: length of the file, if known.
        timeout_s: longest time without data from the server, seconds.
        progress: show the progress on standard error.
        headers: further request headers.
        part: where to keep what came, if not in `TARGET.part`.

    Raises:
        DownloadError: the server refuses, sends nothing, breaks off again and again, or sends another file.
        OSError: the file cannot be written; what came is kept.
    """
    # Imported here, because checks before a download do not need it.
    import requests

    kept = _Part(part or part_of(target), url, checksum)
    with requests.Session() as session:
        session.headers.update({**(headers or {}), "Accept-Encoding": "identity"})
        transfer = _Transfer(session, kept, num_bytes, timeout_s, progress)
        continued = kept.size() > 0
        try:
            retry(transfer.attempt, hostname(url), kept.size)
        except DownloadError as error:
            size = kept.size()
            note = f"; {amount(size)} came and are kept: the same command continues there" if size else ""
            raise DownloadError(f"{error}{note}") from error
        wrong = _wrong(kept.path, checksum, num_bytes)
        if wrong and continued:  # the part may have been of another file
            logger.info(f"{hostname(url)} {wrong}; starting again from the beginning")
            kept.discard()
            retry(transfer.attempt, hostname(url), kept.size)
            wrong = _wrong(kept.path, checksum, num_bytes)
    if wrong:
        kept.discard()
        raise DownloadError(wrong)
    atomic_rename(kept.path, target)
    kept.discard()


@dataclass
class _Part:
    """The file of what came, and beside it which file it is a part of."""

    path: Path
    url: str
    checksum: str | None

    @property
    def _about(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def recorded(self) -> dict[str, str | int | None]:
        """Return etag, last_modified and length of the file that the part is of; empty if that is another file."""
        about = read_json(self._about)
        full = self.checksum is not None and len(self.checksum.partition(":")[2]) >= 32
        if not self.path.is_file() or about.get("checksum") != self.checksum:
            return {}
        if about.get("url") != self.url:  # another server of the same file: its ETag means nothing here
            return {"length": about.get("length")} if full else {}
        return about

    def size(self) -> int:
        """Return the number of bytes that can be continued."""
        return self.path.stat().st_size if self.recorded() else 0

    def begin(self, response: "Response", length: int | None) -> None:
        """Start the part anew."""
        self.discard()
        about = {"url": self.url, "checksum": self.checksum, "length": length, **_validators(response)}
        self.path.touch()
        if "Content-Encoding" not in response.headers:  # the bytes of a range would be other bytes
            write_json(self._about, about)

    def discard(self) -> None:
        """Delete what came."""
        self._about.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


@dataclass
class _Transfer:
    """Tries to complete a part."""

    session: "Session"
    part: _Part
    num_bytes: int | None
    timeout_s: float
    progress: bool

    def attempt(self) -> None:
        """Request what is missing, and append it to the part.

        Raises:
            TransientError: the connection breaks, or the server is busy.
            DownloadError: the server refuses, or sends a file of another length.
        """
        import requests

        known = self.part.recorded()
        have = self.part.size()
        if have and have == known.get("length"):
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        condition = known.get("etag") or known.get("last_modified")
        if have and isinstance(condition, str) and not condition.startswith("W/"):  # a weak one is compared below
            headers["If-Range"] = condition
        timeout = (min(CONNECT_S, self.timeout_s), self.timeout_s)
        try:
            with self.session.get(self.part.url, headers=headers, stream=True, timeout=timeout) as response:
                self._receive(response, have, known)
        except requests.RequestException as error:
            failure = request_error(error, self.timeout_s)
            if isinstance(failure, StallError) and self.part.size() <= have:  # another try would only wait, too
                failure = DownloadError(str(failure))
            raise failure from error

    def _receive(self, response: "Response", have: int, known: Mapping[str, object]) -> None:
        response_length = _length(response)
        if response.status_code == 416 or (response.status_code == 206 and not _continues(response, have, known)):
            self.part.discard()
            raise TransientError("has another file than before, so the download starts again", 0.0)
        response.raise_for_status()
        if self.num_bytes is not None and response_length not in (None, self.num_bytes):
            raise DownloadError(f"sent {response_length:,} bytes instead of {self.num_bytes:,}")
        host = hostname(self.part.url)
        if response.status_code == 206:
            logger.info(f"continuing the download from {host} at {amount(have, response_length)}")
        else:
            if have:
                logger.info(f"{host} has another file, or cannot continue: starting again from the beginning")
            self.part.begin(response, response_length)
            have = 0
        total = response_length or self.num_bytes
        shown = Progress(
            f"downloading from {host}",
            None if total is None else total // 10**6,
            have // 10**6,
            unit="MB",
            bar=None if self.progress else False,
        )
        try:
            with self.part.path.open("r+b") as file:
                file.seek(have)
                for chunk in response.iter_content(_CHUNK_BYTES):
                    have += len(chunk)
                    if have > (self.num_bytes or MAX_BYTES):
                        raise DownloadError(f"sends more than {self.num_bytes or MAX_BYTES:,} bytes")
                    file.write(chunk)
                    file.flush()
                    if self.progress:
                        shown.update(have // 10**6)
        finally:
            shown.close()


def _validators(response: "Response") -> dict[str, str | None]:
    return {"etag": response.headers.get("ETag"), "last_modified": response.headers.get("Last-Modified")}


def _length(response: "Response") -> int | None:
    """Return the length of the whole file, also when the response is a range of it; None if it is not said."""
    if response.status_code == 206:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        return int(total) if total.isdecimal() else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else None


def _continues(response: "Response", have: int, known: Mapping[str, object]) -> bool:
    """Return whether a range is of the file that the part is of, and begins where the part ends."""
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    now = {**_validators(response), "length": _length(response)}
    return start == str(have) and all(now[key] == known[key] for key in now if known.get(key) is not None)


def _wrong(part: Path, checksum: str | None, num_bytes: int | None) -> str | None:
    """Return what is wrong with a complete file; None if nothing is."""
    size = part.stat().st_size
    if num_bytes is not None and size != num_bytes:
        return f"sent {size:,} bytes instead of {num_bytes:,}"
    if checksum is None:
        return None
    algorithm, _, expected = checksum.partition(":")
    with part.open("rb") as data:
        found = hashlib.file_digest(data, algorithm).hexdigest()
    if found.startswith(expected):
        return None
    return f"sent a file with another checksum ({algorithm} {found[:12]}… instead of {expected[:12]}…)"
