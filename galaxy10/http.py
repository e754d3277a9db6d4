"""HTTP: check which servers can be reached, and download one file."""

import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

PROBE_S = 2.0
CONNECT_S = 5.0
READ_S = 15.0  # between two chunks of a response; Zenodo takes several seconds for the first
MAX_BYTES = 16 * 2**30  # of a file of unknown length
_CHUNK_BYTES = 1 << 20
_PORTS = {"https": 443, "http": 80}


class DownloadError(Exception):
    """A failed download; its message gives the reason in a few words."""


def hostname(url: str) -> str:
    """Return the host name in a URL; the URL itself if it has none."""
    return urlsplit(url).hostname or url


def find_unreachable(urls: Iterable[str], limit_s: float = PROBE_S) -> dict[str, str]:
    """Return the URLs whose servers accept no connection, each with the reason; takes at most `limit_s` seconds.

    If the environment names a proxy (https_proxy, …), the connection to the proxy is checked.
    """
    results: SimpleQueue[tuple[str, str | None]] = SimpleQueue()
    reasons = dict.fromkeys(urls, f"no answer in {limit_s:g} s")
    # A DNS lookup can hang for minutes and cannot be interrupted, so it runs in a daemon thread.
    for url in reasons:
        Thread(target=lambda u=url: results.put((u, _connection_error(u, limit_s))), daemon=True).start()
    deadline = time.monotonic() + limit_s
    for _ in range(len(reasons)):
        try:
            url, reason = results.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        if reason is None:
            del reasons[url]
        else:
            reasons[url] = reason
    return reasons


def _connection_error(url: str, limit_s: float) -> str | None:
    try:
        host, port, via = _endpoint(url)
        socket.create_connection((host, port), timeout=limit_s).close()
    except socket.gaierror:
        return f"{via}its name is not known"
    except ConnectionRefusedError:
        return f"{via}connection refused"
    except TimeoutError:
        return f"{via}no answer in {limit_s:g} s"
    except (OSError, ValueError) as error:
        return f"{via}{getattr(error, 'strerror', None) or error}"
    return None


def _endpoint(url: str) -> tuple[str, int, str]:
    """Return the host and port to connect to (those of a proxy, if there is one), and a prefix for messages."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(host):
        return host, parts.port or _PORTS.get(parts.scheme, 443), ""
    through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return through.hostname or "", through.port or _PORTS.get(through.scheme, 1080), f"proxy {through.hostname}: "


def download_file(
    url: str,
    part: Path,
    *,
    checksum: str | None = None,
    num_bytes: int | None = None,
    timeout_s: float = READ_S,
    progress: bool = True,
) -> None:
    """Download a URL to the file `part`, and verify the file.

    Args:
        checksum: "sha256:…" or "md5:…", or the first digits of one.
        num_bytes: length of the file, if known.
        timeout_s: longest time without data from the server, seconds.
        progress: draw a bar, if standard error is a terminal.

    Raises:
        DownloadError: the server refuses, sends nothing, breaks off, or sends another file. `part` is then invalid.
        OSError: `part` cannot be written.
    """
    # Imported here, because find_unreachable does not need them.
    import pooch
    import requests
    from tqdm import tqdm

    most = num_bytes or MAX_BYTES

    class Bounded(tqdm):  # type: ignore[misc]
        """A bar that ends a transfer of more bytes than the file has: pooch itself reads on until the disk is full."""

        received = 0  # a bar that is not shown does not count

        def __bool__(self) -> bool:
            return True  # also without a total, or pooch leaves the bar alone

        def update(self, n: float | None = 1) -> None:
            self.received += int(n or 0)
            if self.received > most + _CHUNK_BYTES:  # pooch counts whole chunks
                raise DownloadError(f"sends more than {most:,} bytes")
            super().update(n)

        def reset(self, total: float | None = None) -> None:
            self.received = 0
            super().reset(total)

    bar = Bounded(
        total=num_bytes,
        desc=part.name if num_bytes is None else hostname(url),
        disable=not (progress and sys.stderr.isatty()),
        unit="B",
        unit_scale=True,
        leave=False,
    )
    download = pooch.HTTPDownloader(
        progressbar=bar, chunk_size=_CHUNK_BYTES, timeout=(min(CONNECT_S, timeout_s), timeout_s)
    )
    with bar:
        try:
            download(url, str(part), None)
        except requests.RequestException as error:
            raise DownloadError(_reason(error, timeout_s)) from error
    size = part.stat().st_size
    if num_bytes is not None and size != num_bytes:
        raise DownloadError(f"sent {size:,} bytes instead of {num_bytes:,}")
    if checksum is not None:
        algorithm, _, expected = checksum.partition(":")
        found = pooch.file_hash(str(part), alg=algorithm)
        if not found.startswith(expected):
            raise DownloadError(
                f"sent a file with another checksum ({algorithm} {found[:12]}… instead of {expected[:12]}…)"
            )


def _reason(error: Exception, timeout_s: float) -> str:
    """Describe a failed request in a few words."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answers {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not let it through"
    # In the middle of a file, requests calls a timeout a ConnectionError around urllib3's own exception.
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return f"accepts the connection, then sends nothing for {timeout_s:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "breaks off in the middle of the file"
    if isinstance(error, requests.ConnectionError):
        return "breaks the connection off"
    return type(error).__name__
