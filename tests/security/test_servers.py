"""A server's answer is data of a known length (other lies of servers: tests/data/test_download.py)."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from galaxy10.data.download import PublishedFile, download_published
from galaxy10.errors import Galaxy10Error

CONTENT = b"galaxy" * 1000
NAME = "Galaxy10_DECals.h5"
MOST_SENT = 400 * 2**20  # by a server whose client does not go away
PIECE = bytes(4096)  # shorter than CONTENT: a client that has read more than CONTENT was sent a whole piece before


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        if self.server.behaviour == "redirect":
            self.send_response(302)
            self.send_header("Location", f"file://{self.server.target}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)  # no length: the body ends when the connection does
        self.end_headers()
        try:
            while self.server.sent < MOST_SENT:
                self.server.sent += self.wfile.write(PIECE)
        except OSError:
            pass

    def log_message(self, *args):
        pass


@contextmanager
def serving(behaviour, target=None):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.behaviour, server.target, server.sent, server.asked = behaviour, target, 0, 0
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def download(server, folder):
    url = f"http://127.0.0.1:{server.server_port}/{NAME}"
    checksum = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    file = PublishedFile(NAME, (url,), checksum, 1, len(CONTENT))
    with pytest.raises(Galaxy10Error, match="cannot be downloaded"):
        download_published(folder, timeout_s=5, progress=False, published={"full": file})
    assert not (folder / NAME).exists()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_redirect_to_a_file_of_this_machine_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)  # of the right length and checksum
    with serving("redirect", tmp_path / "secret") as server:
        download(server, tmp_path / "data")
        assert server.asked


def test_a_body_that_does_not_end_is_not_read_on(tmp_path):
    with serving("endless") as server:
        download(server, tmp_path / "data")
        assert 0 < server.sent < MOST_SENT / 4
    assert sum(path.stat().st_size for path in (tmp_path / "data").rglob("*")) < MOST_SENT / 4
