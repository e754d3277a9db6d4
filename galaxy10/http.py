"""HTTP: check which servers can be reached."""

import socket
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

PROBE_S = 2.0
CONNECT_S = 5.0
READ_S = 15.0  # between two chunks of a response; Zenodo takes several seconds for the first
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
