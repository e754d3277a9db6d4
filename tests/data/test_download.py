"""The published file, from real servers on this machine: one that works, and ones that refuse, hang, drop and lie."""

import errno
import hashlib
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from galaxy10.data.download import (
    PUBLISHED,
    PublishedFile,
    check_published_available,
    download_published,
    locate_published,
)
from galaxy10.errors import Galaxy10Error
from tests.servers import refusing_address, serving, swallowing

CONTENT = bytes(range(256)) * 20_000  # 5 MB: more than sockets hold
NAME = "Galaxy10_DECals.h5"
WAYS_OUT = (NAME, "data.path=FILE", "`galaxy10 download`", "data=simulated")


def published(*addresses: str) -> dict[str, PublishedFile]:
    """A table with one small file at these servers."""
    places = tuple(f"{address}/{NAME}" for address in addresses)
    checksum = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    return {"full": PublishedFile(NAME, places, checksum, 1, len(CONTENT))}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setattr("galaxy10.retries.WAITS_S", (0.01, 0.01))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_file_arrives_whole_and_is_fetched_once(tmp_path):
    folder = tmp_path / "new" / "data"
    with serving({f"/{NAME}": CONTENT}) as server:
        path = download_published(folder, published=published(server.address))
        assert download_published(folder, published=published(server.address)) == path == folder / NAME
        assert len(server.asked) == 1
    assert path.read_bytes() == CONTENT
    assert [file.name for file in folder.iterdir() if file.name != f".{NAME}.lock"] == [NAME]


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("missing", "127.0.0.1: answers 404 Not Found"),
        ("broken", "answers 500"),
        ("drop", "breaks off in the middle of the file"),
        ("stall", "accepts the connection, then sends nothing for 0.4 s"),
        ("hang", "accepts the connection, then sends nothing for 0.4 s"),
        ("another file", "another checksum (sha256"),
        ("a login page", "sent 3 bytes instead of 5,120,000"),
    ],
)
def test_a_failed_download_says_why_and_what_to_do(behaviour, said, tmp_path):
    contents = {"missing": {}, "another file": {f"/{NAME}": CONTENT[::-1]}, "a login page": {f"/{NAME}": b"abc"}}
    files = contents.get(behaviour, {f"/{NAME}": CONTENT})
    served = serving(files, behaviour if behaviour in ("broken", "drop", "stall", "hang") else "good")
    with served as server, pytest.raises(Galaxy10Error) as caught:
        download_published(tmp_path, timeout_s=0.4, published=published(server.address))
    assert said in str(caught.value)
    for text in (*WAYS_OUT, str(tmp_path / NAME)):
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    kept = {f"{NAME}.part", f"{NAME}.part.json"} if behaviour in ("drop", "stall") else set()
    assert {file.name for file in tmp_path.iterdir()} - {f".{NAME}.lock"} == kept


def test_the_second_address_is_tried_when_the_first_fails(tmp_path):
    with serving({f"/{NAME}": CONTENT}, "drop") as bad, serving({f"/{NAME}": CONTENT}) as good:
        path = download_published(tmp_path, published=published(refusing_address(), bad.address, good.address))
        assert bad.asked
        assert good.asked
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("network", ["refused", "swallowed", "no such name", "proxy refuses"])
def test_without_a_network_one_message_names_the_ways_out(network, tmp_path, monkeypatch):
    with swallowing() as swallowed:
        address = {"refused": refusing_address(), "swallowed": swallowed}.get(network, "http://no-such-host.invalid")
        if network == "proxy refuses":
            monkeypatch.setenv("http_proxy", refusing_address())
        table = published(address, address + "/second")
        for attempt in (
            lambda: check_published_available(None, tmp_path, "full", published=table),
            lambda: download_published(tmp_path, published=table),
        ):
            with pytest.raises(Galaxy10Error) as caught:
                attempt()
            for text in (*WAYS_OUT, str(tmp_path / NAME)):
                assert text in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_name_server_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    def hang(*args, **kwargs):
        time.sleep(3600)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(Galaxy10Error, match="no answer in 2 s"):
        check_published_available(None, tmp_path, "full")


def test_the_preflight_check_only_connects_to_the_server(tmp_path):
    with serving({}) as server:
        check_published_available(None, tmp_path / "data", "full", published=published(server.address))
        assert server.asked == []
    assert list(tmp_path.iterdir()) == []


def test_the_preflight_check_imports_nothing_heavy():
    code = "import sys, galaxy10.data.download; print(sorted({'torch', 'timm', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_is_found_under_its_name_or_where_the_user_says(tmp_path):
    table = published()
    elsewhere = tmp_path / "mine.h5"
    elsewhere.write_bytes(b"mine")
    assert locate_published(None, tmp_path, "full", published=table) is None
    (tmp_path / NAME).write_bytes(CONTENT)
    assert locate_published(None, tmp_path, "full", published=table) == tmp_path / NAME
    assert locate_published(elsewhere, tmp_path, "full", published=table) == elsewhere
    with pytest.raises(Galaxy10Error, match=r"data.path=.*none.h5 does not exist"):
        locate_published(tmp_path / "none.h5", tmp_path, "full", published=table)
    with pytest.raises(Galaxy10Error, match=r"no variant half; type full or no_duplicates"):
        locate_published(None, tmp_path, "half")


def test_a_truncated_copy_of_the_published_file_is_refused_before_training(tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:1000])
    for call in (locate_published, check_published_available):
        with pytest.raises(Galaxy10Error, match="has 1,000 bytes, the published file 2,735,267,419; it is incomplete"):
            call(None, tmp_path, "full")


def test_a_full_disk_leaves_nothing_and_is_said_as_such(tmp_path, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("galaxy10.transfer._Transfer._receive", full)
    with serving({f"/{NAME}": CONTENT}) as server, pytest.raises(Galaxy10Error, match="no space left"):
        download_published(tmp_path, published=published(server.address))
    assert {file.name for file in tmp_path.iterdir()} <= {f".{NAME}.lock"}


def test_too_small_a_disk_and_a_wrong_folder_are_told_before_anything_is_downloaded(tmp_path):
    table = {"full": replace(published()["full"], num_bytes=10**16)}
    (tmp_path / "file").touch()
    with pytest.raises(Galaxy10Error, match=r"needs 10000000.0 GB, .* GB free"):
        check_published_available(None, tmp_path / "data", "full", published=table)
    with pytest.raises(Galaxy10Error, match="file is a file; give a folder"):
        download_published(tmp_path / "file" / "data", published=table)


def test_what_a_killed_download_left_is_cleared_away(tmp_path):
    old, young = tmp_path / f".{NAME}.1.part", tmp_path / f".{NAME}.2.part"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    with serving({f"/{NAME}": CONTENT}) as server:
        download_published(tmp_path, published=published(server.address))
    assert not old.exists()
    assert young.exists()  # another process may be at it, where locks do not work


def test_many_processes_download_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.data.test_download import *;"
        "print(download_published(Path(sys.argv[1]), published=published(sys.argv[2])))"
    )
    with serving({f"/{NAME}": CONTENT}) as server:
        command = [sys.executable, "-c", code, str(tmp_path), server.address]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        assert [process.communicate()[0].strip() for process in started] == [str(tmp_path / NAME)] * 3
        assert len(server.asked) == 1


def test_the_table_is_the_published_one():
    full, reduced = PUBLISHED["full"], PUBLISHED["no_duplicates"]
    assert full.urls[0] == "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5"
    assert full.checksum == "sha256:19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571"
    assert (full.num_bytes, full.num_images, reduced.num_images) == (2_735_267_419, 17_736, 17_675)
    assert reduced.checksum == "md5:a920094d5e470e3705f4691c0d6dff54"
