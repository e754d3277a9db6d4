"""Pretrained weights from a hub on this machine that behaves well or badly."""

import hashlib

import pytest
import torch
from huggingface_hub import HfFileMetadata
from safetensors.torch import save

from galaxy10.errors import Galaxy10Error
from galaxy10.http import DownloadError
from galaxy10.models import hub
from galaxy10.models.weights import check_weights_reachable, download_weights, find_weights, load_pretrained
from tests.models.conftest import assert_loaded, load, resnet
from tests.servers import refusing_address, serving, swallowing

pytestmark = pytest.mark.usefixtures("no_hub")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("galaxy10.retries.WAITS_S", (0.01, 0.01))


WAYS_OUT = ("`galaxy10 download --weights resnet18`", "model.weights=FILE", "model.pretrained=false")
HUB_FILE = "/timm/resnet18.a1_in1k/resolve/main/model.safetensors"


@pytest.mark.parametrize("network", ["refused", "swallowed", "no such name", "offline"])
def test_without_a_hub_one_message_comes_quickly_and_names_the_ways_out(network, monkeypatch):
    with swallowing() as swallowed:
        addresses = {"refused": refusing_address(), "swallowed": swallowed, "offline": "https://huggingface.co"}
        monkeypatch.setenv("HF_ENDPOINT", addresses.get(network, "http://no-such-host.invalid"))
        if network == "offline":
            monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        source = find_weights("resnet18")
        assert source.kind == "hub"
        for attempt in (
            lambda: check_weights_reachable("resnet18"),
            lambda: load_pretrained(resnet(), source, []),
            lambda: download_weights("resnet18"),
        ):
            with pytest.raises(Galaxy10Error) as caught:
                attempt()
            assert all(text in str(caught.value) for text in WAYS_OUT)
            assert "\n" not in str(caught.value)


def test_the_hub_gives_weights_into_its_cache(no_hub, monkeypatch, pretrained):
    content = save(pretrained)
    with serving({HUB_FILE: content}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        check_weights_reachable("resnet18")
        assert server.asked == []
        path = download_weights("resnet18")
    assert path.read_bytes() == content
    assert no_hub / "hub" in path.parents
    assert find_weights("resnet18").kind == "cache"
    assert_loaded(load(None), pretrained)


def test_weights_in_the_older_form_are_taken_where_there_is_no_other(monkeypatch, pretrained, tmp_path):
    torch.save(pretrained, tmp_path / "w.bin")
    files = {HUB_FILE.replace("model.safetensors", "pytorch_model.bin"): (tmp_path / "w.bin").read_bytes()}
    with serving(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        assert_loaded(load(None), pretrained)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("hang", "127.0.0.1: accepts the connection, then sends nothing for 0.5 s"),
        ("stall", "127.0.0.1: accepts the connection, then sends nothing for 0.5 s; 10.0 MB came and are kept"),
        ("drop", "127.0.0.1: breaks off in the middle of the file; 10.0 MB came and are kept"),
        ("broken", "127.0.0.1: answers 500"),
        ("missing", "holds no model.safetensors or pytorch_model.bin"),
        ("another file", "another checksum"),
    ],
)
def test_a_bad_hub_ends_in_one_message_and_leaves_nothing_to_load(behaviour, said, monkeypatch, capfd):
    files = {} if behaviour == "missing" else {HUB_FILE: bytes(20_000_000)}
    with serving(files, "good" if behaviour in ("missing", "another file") else behaviour) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        if behaviour == "another file":
            wrong = hashlib.sha256(b"").hexdigest()
            monkeypatch.setattr(HfFileMetadata, "__getattribute__", lambda about, name: _etag(about, name, wrong))
        with pytest.raises(DownloadError) as caught:
            hub.fetch_from_hub("timm/resnet18.a1_in1k", timeout_s=0.5)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hub.cached_file("timm/resnet18.a1_in1k") is None
    assert [file for file in hub.hub_cache().glob("models--*/blobs/*") if ".part" not in file.name] == []
    assert "huggingface" not in "".join(capfd.readouterr())  # nothing of the hub's own client


def _etag(about, name, wrong):
    return wrong if name == "etag" else object.__getattribute__(about, name)


def test_weights_that_broke_off_are_continued(monkeypatch, pretrained):
    content = save(pretrained)
    with serving({HUB_FILE: content}, "drop", ranges=True) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setattr("galaxy10.retries.WAITS_S", ())
        with pytest.raises(Galaxy10Error, match="came and are kept: the same command continues there"):
            download_weights("resnet18")
        server.behaviour = "good"
        assert download_weights("resnet18").read_bytes() == content
        assert server.sent < len(content) + 2**16  # nearly no byte came twice
    assert_loaded(load(None), pretrained)


def test_weights_at_a_plain_address_go_to_torchs_cache(no_hub):
    content = bytes(1000)
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    with serving({f"/{name}": content, "/net-12345678.pth": content}) as server:
        assert hub.fetch_from_url(f"{server.address}/{name}") == no_hub / "torch" / "hub" / "checkpoints" / name
        for wrong, said in (("net-12345678.pth", "another checksum"), ("none.pth", "answers 404")):
            with pytest.raises(DownloadError, match=said):
                hub.fetch_from_url(f"{server.address}/{wrong}")
    assert hub.torch_cache_files() == [name]


def test_what_the_hub_says_in_vain_ends_in_the_ways_out(monkeypatch):
    with serving({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        with pytest.raises(Galaxy10Error) as caught:
            download_weights("resnet18")
    assert all(text in str(caught.value) for text in WAYS_OUT)
