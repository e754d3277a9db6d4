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
    the middle on), broken (answers 500).
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], behaviour: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.behaviour = files, behaviour
        self.asked: list[str] = []
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
        server.asked.append(f"{self.command} {self.path}")
        if server.behaviour == "hang":
            server.released.wait(30)
            return
        content = server.files.get(self.path)
        if server.behaviour == "broken" or content is None:
            self.send_response(500 if server.behaviour == "broken" else 404)
            self.send_header("Content-Length", "0")
            if content is None and "/resolve/" in self.path:
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')  # as the hub does
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            whole = server.behaviour == "good"
            self.wfile.write(content if whole else content[: len(content) // 2])
            if server.behaviour == "stall":
                self.wfile.flush()
                server.released.wait(30)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(files: dict[str, bytes], behaviour: str = "good") -> Iterator[FileServer]:
    """A server that runs as long as the block."""
    server = FileServer(files, behaviour)
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
