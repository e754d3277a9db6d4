"""A long transfer breaks off"""

import hashlib
import signal
import subprocess
import sys
import time
from unittest.mock import patch

import pytest

from galaxy10.data.download import download_published
from galaxy10.errors import Galaxy10Error
from galaxy10.http import DownloadError
from galaxy10.transfer import download_file
from tests.data.test_download import CONTENT, NAME, no_proxy, published  # noqa: F401 - the fixture is for all tests
from tests.servers import serving
from tests.waiting import PATIENCE_S

SUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
PATH = f"/{NAME}"


def no_second_try():
    return patch("galaxy10.retries.WAITS_S", ())


def test_breaks(tmp_path, says, capsys):
    """The connection breaks off three times in the middle of the published file."""
    with serving({PATH: CONTENT}, "drop", ranges=True, faults=3) as server:
        download_file(server.address + PATH, tmp_path / NAME, checksum=SUM, num_bytes=len(CONTENT))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.sent < len(CONTENT) + 3 * 2**16  # nearly no byte came twice
    assert [file.name for file in tmp_path.iterdir()] == [NAME]
    says(capsys.readouterr().err.splitlines()[0])


def test_killed(tmp_path, says, capsys):
    """The process is killed in the middle of a download, and the command is typed again."""
    code = (
        "import sys; from pathlib import Path; from galaxy10.transfer import download_file;"
        "download_file(sys.argv[1], Path(sys.argv[2]))"
    )
    part = tmp_path / f"{NAME}.part"
    with serving({PATH: CONTENT}, "stall", ranges=True) as server:
        process = subprocess.Popen([sys.executable, "-c", code, server.address + PATH, str(tmp_path / NAME)])
        deadline = time.monotonic() + PATIENCE_S
        while not (part.exists() and part.stat().st_size >= len(CONTENT) // 2 - 2**16) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        server.behaviour = "good"
        download_file(server.address + PATH, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert f"GET {PATH} bytes=" in server.asked[-1]
    says(capsys.readouterr().err.splitlines()[0])


def test_gives_up(tmp_path, says):
    """The connection breaks off again and again."""
    with no_second_try(), serving({PATH: CONTENT}, "drop") as server, pytest.raises(DownloadError) as caught:
        download_file(server.address + PATH, tmp_path / NAME)
    assert "MB came and are kept" in str(caught.value)
    says(str(caught.value))


def test_busy(tmp_path, says, capsys, monkeypatch):
    """The server answers 503 with a Retry-After."""
    waited = []
    monkeypatch.setattr("galaxy10.retries.time.sleep", waited.append)
    with serving({PATH: CONTENT}, "busy", faults=1) as server:
        download_file(server.address + PATH, tmp_path / NAME)
    assert waited == [1]
    says(capsys.readouterr().err.splitlines()[0])


def test_long_pause(tmp_path, says, monkeypatch):
    """The server asks for a longer pause than two minutes."""
    monkeypatch.setattr("galaxy10.retries.LONGEST_WAIT_S", 0.5)
    with serving({PATH: CONTENT}, "busy") as server, pytest.raises(DownloadError, match="asks for a pause") as caught:
        download_file(server.address + PATH, tmp_path / NAME)
    says(str(caught.value))


@pytest.mark.parametrize("ranges", [True, False], ids=["with ranges", "without ranges"])
def test_changed(ranges, tmp_path, says, capsys):
    """The server has another file when the download is continued."""
    later = CONTENT[::-1]
    with serving({PATH: CONTENT}, "drop", ranges=ranges, faults=1) as server:
        with no_second_try(), pytest.raises(DownloadError):
            download_file(server.address + PATH, tmp_path / NAME)
        server.files[PATH] = later
        download_file(server.address + PATH, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == later
    says(capsys.readouterr().err.splitlines()[0])


def test_login_page(tmp_path, says):
    """A login page comes instead of the second half."""
    with serving({PATH: CONTENT}, "drop", ranges=True) as server:
        with no_second_try(), pytest.raises(Galaxy10Error):
            download_published(tmp_path, published=published(server.address))
        server.files, server.behaviour, server.ranges = {PATH: b"<html>log in</html>"}, "good", False
        with pytest.raises(Galaxy10Error) as caught:
            download_published(tmp_path, published=published(server.address))
        assert (tmp_path / f"{NAME}.part").stat().st_size > 2_000_000  # not overwritten by the page
        server.files, server.ranges = {PATH: CONTENT}, True
        assert download_published(tmp_path, published=published(server.address)).read_bytes() == CONTENT
    says(str(caught.value).partition("; put it at")[0])


def test_two_at_once(tmp_path, says):
    """Two processes download the same file at once, and the file system has no locks."""
    code = (
        "import errno, sys; from pathlib import Path; from galaxy10.transfer import FileLock;"
        "from tests.field_cases.test_transfers import *\n"
        "def refuse(*args, **kwargs): raise OSError(errno.ENOLCK, 'no locks available')\n"
        "FileLock.acquire = refuse; download_published(Path(sys.argv[1]), published=published(sys.argv[2]))"
    )
    with serving({PATH: CONTENT}, ranges=True) as server:
        command = [sys.executable, "-c", code, str(tmp_path), server.address]
        started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        ends = [(process.communicate()[1], process.returncode) for process in started]
    assert ends == [("", 0)] * 2
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith(".lock")] == [NAME]
    says("both end well, and the file is right")
