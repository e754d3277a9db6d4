"""Several batches at the same time give what one after another gives."""

import copy
import sys
import threading

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from galaxy10 import system
from galaxy10.catalogue.predict import predict
from galaxy10.prediction.compute_streams import MOST_STREAMS, ComputeStreams, number_of_streams
from galaxy10.prediction.ood import KNNDetector
from galaxy10.prediction.options import PredictOptions
from tests.galaxies import galaxy


class Forgetful(nn.Module):
    """Keeps its input in itself, waits until another batch has done so, too, and computes with what it finds."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.wait = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.inputs = inputs
        if self.wait:
            self.wait()
        return self.layer(self.inputs)


class Networks:
    def __init__(self, module: nn.Module):
        self.modules = [module]

    @torch.inference_mode()
    def compute(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.modules[0](inputs)


class Shared:
    """An object that copies share."""

    def __init__(self, barrier: threading.Barrier):
        self.barrier = barrier

    def __deepcopy__(self, memo: dict) -> "Shared":
        return self

    def wait(self) -> None:
        self.barrier.wait(timeout=60)


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(system, "_memory_is_shared", True)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_networks_that_keep_their_batch_do_not_mix_batches(three_threads):
    module = Forgetful()
    module.wait = Shared(threading.Barrier(2)).wait  # both batches are in the network at the same time
    batches = torch.randn(8, 5, 3).unbind()
    with ComputeStreams(Networks(module), [module], 2) as streams:
        assert streams.number == 2
        found = [future.result(60) for future in [streams.submit(Networks.compute, batch) for batch in batches]]
    assert torch.get_num_threads() == 3
    with torch.inference_mode():
        assert all(torch.equal(one, module.layer(batch)) for one, batch in zip(found, batches, strict=True))


def test_copies_have_the_same_weights_in_memory(three_threads):
    module, seen = Forgetful(), set()

    def where(networks: Networks, batch: int) -> None:
        barrier.wait(timeout=60)
        seen.add((id(networks), networks.modules[0].layer.weight.data_ptr()))

    barrier = threading.Barrier(2)
    with ComputeStreams(Networks(module), [module], 2) as streams:
        for future in [streams.submit(where, i) for i in range(2)]:
            future.result(60)
    assert len(seen) == 2
    assert {pointer for _, pointer in seen} == {module.layer.weight.data_ptr()}


def test_copies_have_the_same_validation_features_in_memory():
    detector = KNNDetector.fit(torch.randn(20, 4))
    assert copy.deepcopy(detector) is detector


def test_networks_that_cannot_be_copied_compute_one_batch_at_a_time(three_threads):
    module = Forgetful()
    module.lock = threading.Lock()
    with ComputeStreams(Networks(module), [module], 3) as streams:
        assert streams.number == 1
        future = streams.submit(lambda networks, batch: (threading.current_thread(), torch.get_num_threads()), None)
        assert future.result() == (threading.main_thread(), 3)


def test_an_error_in_a_network_reaches_the_caller(three_threads):
    module = Forgetful()
    with ComputeStreams(Networks(module), [module], 2) as streams, pytest.raises(RuntimeError, match="shapes"):
        streams.submit(Networks.compute, torch.randn(5, 4)).result(60)


def test_only_the_cpus_own_networks_have_streams(three_threads, monkeypatch):
    cpu = torch.device("cpu")
    assert number_of_streams(cpu, "torch") == 3
    assert number_of_streams(cpu, "onnx") == 1
    assert number_of_streams(torch.device("cuda"), "torch") == 1
    torch.set_num_threads(3 * MOST_STREAMS)
    assert number_of_streams(cpu, "torch") == MOST_STREAMS
    if sys.platform == "linux":
        monkeypatch.setattr(system, "_memory_is_shared", False)
        assert number_of_streams(cpu, "torch") == 1


def test_a_catalogue_is_the_same_with_any_number_of_cores(run, tmp_path, three_threads):
    (tmp_path / "images").mkdir()
    for i in range(23):
        Image.fromarray(galaxy(i)).save(tmp_path / "images" / f"{i:02d}.png")
    (tmp_path / "images" / "11.png").write_bytes(b"broken")
    tables = []
    for threads in (3, 1):
        torch.set_num_threads(threads)
        path = tmp_path / f"{threads}.parquet"
        predict([run], [str(tmp_path / "images")], path, PredictOptions(batch_size=4))
        tables.append(pd.read_parquet(path))
    assert len(tables[0]) == 22
    pd.testing.assert_frame_equal(*tables, check_exact=True)
