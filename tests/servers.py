"""Servers on this machine that behave as servers do: well, and badly."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files` (path → bytes) at `address`, as `behaviour` says; `asked` lists the requests.

    behaviour: good, hang (accepts and never answers), drop (closes in the middle of the file), stall (is silent from
    the middle on), broken (answers 500), busy (answers 503 and when to come again).

    Args:
        ranges: whether it sends a part of a file that is asked for, and says ETags that may be compared.
        faults: how many requests it treats badly before it becomes good; None: all.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], behaviour: str, ranges: bool = False, faults: int | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.behaviour, self.ranges, self.faults = files, behaviour, ranges, faults
        self.asked: list[str] = []
        self.sent = 0  # bytes of files
        self.released = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        server = self.server
        wanted = self.headers.get("Range") or ""
        server.asked.append(f"{self.command} {self.path} {wanted}".rstrip())
        if server.faults is not None:
            server.behaviour = server.behaviour if server.faults else "good"
            server.faults -= 1
        if server.behaviour == "hang":
            server.released.wait(30)
            return
        content = server.files.get(self.path)
        status = {"broken": 500, "busy": 503}.get(server.behaviour, 404 if content is None else 200)
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if status == 503:
                self.send_header("Retry-After", "1")
            if status == 404 and "/resolve/" in self.path:
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            return
        tag = f'"{hashlib.sha256(content).hexdigest()}"'  # as the hub does
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        if server.ranges and start and self.headers.get("If-Range", tag) == tag:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            content = content[start:]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", tag)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            whole = server.behaviour == "good"
            sent = content if whole else content[: len(content) // 2]
            self.wfile.write(sent)
            server.sent += len(sent)
            if server.behaviour == "stall":
                self.wfile.flush()
                server.released.wait(30)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(
    files: dict[str, bytes], behaviour: str = "good", *, ranges: bool = False, faults: int | None = None
) -> Iterator[FileServer]:
    """A server that runs as long as the block."""
    server = FileServer(files, behaviour, ranges, faults)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


def refusing_address() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def swallowing() -> Iterator[str]:
    """An address that neither accepts nor refuses, as behind a firewall: its queue of connections is full."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"
        for one in waiting:
            one.close()
