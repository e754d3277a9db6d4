"""Weights, caches and hubs that the tests of pretrained weights share."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from galaxy10.models.weights import find_weights, load_pretrained
from tests.servers import refusing_address


@pytest.fixture
def no_hub(monkeypatch, tmp_path_factory):
    """A hub on a port where nobody listens, and empty caches; gives their folder."""
    folder = tmp_path_factory.mktemp("caches")
    for name in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", refusing_address())
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    return folder


@pytest.fixture(scope="session")
def pretrained():
    """ResNet18 with 1000 classes, as timm's hub holds it."""
    torch.manual_seed(1)
    return {name: t + 0.5 if t.is_floating_point() else t for name, t in resnet(1000).state_dict().items()}


def resnet(num_classes: int = 5):
    return timm.create_model("resnet18", num_classes=num_classes)


def load(weights: Path | None, network=None):
    """Load weights into a network with a new classifier; both must be as they should."""
    network = network or resnet()
    head = network.get_classifier().weight.clone()
    load_pretrained(network, find_weights("resnet18", weights and str(weights)), [network.get_classifier()])
    assert torch.equal(network.get_classifier().weight, head)
    return network.state_dict()


def assert_loaded(state, pretrained):
    for name, tensor in pretrained.items():
        assert name.startswith("fc.") or torch.equal(state[name], tensor)


def cache_on_hub(folder: Path, tensors, hub_id="timm--resnet18.a1_in1k", revision="1" * 40) -> Path:
    """The hub's cache as its client leaves it."""
    snapshot = folder / "hub" / f"models--{hub_id}" / "snapshots" / revision
    snapshot.mkdir(parents=True)
    save_file(tensors, snapshot / "model.safetensors")
    (snapshot.parents[1] / "refs").mkdir(exist_ok=True)
    (snapshot.parents[1] / "refs" / "main").write_text(revision)
    return snapshot / "model.safetensors"
