"""What the network can give: which servers answer, and one file fetched whole."""

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
READ_S = 15.0  # between two pieces of an answer; Zenodo takes several seconds for the first
_PORTS = {"https": 443, "http": 80}


class DownloadError(Exception):
    """Why an address gave nothing, in a few words."""


def host_of(address: str) -> str:
    """The server's name in an address, for messages."""
    return urlsplit(address).hostname or address


def unreachable(addresses: Iterable[str], limit_s: float = PROBE_S) -> dict[str, str]:
    """The addresses whose servers accept no connection, each with the reason; takes at most `limit_s` seconds.

    Where the environment names a proxy (https_proxy, …) it is the proxy that must accept.
    """
    answers: SimpleQueue[tuple[str, str | None]] = SimpleQueue()
    reasons = dict.fromkeys(addresses, f"no answer in {limit_s:g} s")
    # Looking up a name can hang for minutes and cannot be interrupted: it is left behind in a daemon thread.
    for address in reasons:
        Thread(target=lambda a=address: answers.put((a, _refusal(a, limit_s))), daemon=True).start()
    deadline = time.monotonic() + limit_s
    for _ in range(len(reasons)):
        try:
            address, reason = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        if reason is None:
            del reasons[address]
        else:
            reasons[address] = reason
    return reasons


def _refusal(address: str, limit_s: float) -> str | None:
    try:
        host, port, via = _door(address)
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


def _door(address: str) -> tuple[str, int, str]:
    """Host and port that a connection to this address goes to (the proxy's, if there is one), and how to tell of it."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(host):
        return host, parts.port or _PORTS.get(parts.scheme, 443), ""
    through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return through.hostname or "", through.port or _PORTS.get(through.scheme, 1080), f"proxy {through.hostname}: "


def fetch(
    address: str,
    part: Path,
    *,
    checksum: str | None = None,
    num_bytes: int | None = None,
    timeout_s: float = READ_S,
    progress: bool = True,
) -> None:
    """Write what lies at an address to the file `part`, and check it.

    Args:
        checksum: "sha256:…" or "md5:…", or the first digits of one.
        num_bytes: its length, if known.
        timeout_s: how long the server may be silent, seconds.
        progress: draw a bar, if standard error is a terminal.

    Raises:
        DownloadError: the server refuses, is silent, breaks off, or sends something else. `part` is then worthless.
        OSError: `part` cannot be written.
    """
    # Here and not above: who only asks whether a server answers need not wait for them.
    import pooch
    import requests
    from tqdm import tqdm

    bar = tqdm(
        total=num_bytes or 1,  # without any total, tqdm counts as false and pooch leaves it alone
        desc=part.name if num_bytes is None else host_of(address),
        disable=not (progress and sys.stderr.isatty()),
        unit="B",
        unit_scale=True,
        leave=False,
    )
    download = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 20, timeout=(min(CONNECT_S, timeout_s), timeout_s))
    with bar:
        try:
            download(address, str(part), None)
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
    """A failed request in a few words."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answers {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not let it through"
    # In the middle of a file, requests calls a timeout a ConnectionError around urllib3's own exception.
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return f"accepts the connection and then is silent for {timeout_s:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "breaks off in the middle of the file"
    if isinstance(error, requests.ConnectionError):
        return "breaks the connection off"
    return type(error).__name__
