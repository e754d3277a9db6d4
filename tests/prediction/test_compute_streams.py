"""Several batches at the same time give what one after another gives."""

import sys
import threading
from collections.abc import Callable

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from galaxy10 import system
from galaxy10.catalogue.predict import predict
from galaxy10.prediction import compute_streams
from galaxy10.prediction.compute_streams import MOST_STREAMS, ComputeStreams, number_of_streams
from galaxy10.prediction.options import PredictOptions
from tests.galaxies import galaxy


class Keeping(nn.Module):
    """Keeps its inputs in three ways, waits until another batch has done so, too, and computes with what it finds."""

    def __init__(self, barrier: threading.Barrier):
        super().__init__()
        kept: dict[str, torch.Tensor] = {}
        self.first = nn.Identity()
        self.first.register_forward_hook(lambda module, inputs, output: kept.update(of_hook=output))
        self.register_buffer("buffer", torch.zeros(5, 3))
        self.kept, self.barrier = kept, barrier

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.inputs = self.first(inputs)
        self.buffer[:] = inputs
        self.barrier.wait(timeout=60)
        return torch.stack([self.inputs, self.buffer, self.kept["of_hook"]])


class Networks:
    on_cpu, engine = True, "torch"

    def __init__(self, make: Callable[[], nn.Module]):
        self.modules, self.make = [make()], make

    def for_streams(self, number: int, threads: int) -> list["Networks"]:
        return [self, *(Networks(self.make) for _ in range(number - 1))]

    @torch.inference_mode()
    def compute(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.modules[0](inputs)


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(system, "_memory_is_shared", True)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_networks_that_keep_their_batch_do_not_mix_batches(three_threads):
    barrier = threading.Barrier(2)  # both batches are in the network at the same time
    batches = list(torch.randn(8, 5, 3).unbind())
    with ComputeStreams(Networks(lambda: Keeping(barrier)), most=2) as streams:
        assert streams.number == 2
        found = list(streams.map(Networks.compute, batches))
    assert torch.get_num_threads() == 3
    assert [id(batch) for batch, _ in found] == [id(batch) for batch in batches]
    for batch, kept in found:
        assert torch.equal(kept, batch.expand(3, 5, 3))


class Layer(nn.Module):
    def __init__(self, run: Callable[[], object]):
        super().__init__()
        self.run = run

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.run()
        return inputs


def test_a_batch_is_given_up_at_the_next_layer_when_it_is_not_needed_any_more(three_threads):
    started, stopping, seen = threading.Event(), threading.Event(), []

    def wait() -> None:
        started.set()
        assert stopping.wait(60)

    networks = Networks(lambda: nn.Sequential(Layer(wait), Layer(lambda: seen.append("second layer"))))
    with ComputeStreams(networks, most=2) as streams:
        streams._stopping = stopping
        given_up = streams.submit(Networks.compute, torch.zeros(1))
        assert started.wait(60)
    with pytest.raises(RuntimeError, match="not needed"):
        given_up.result()
    assert seen == []
    assert not any(module._forward_pre_hooks for module in networks.modules[0].modules())


def test_a_single_batch_has_the_cores_that_it_has_among_others(three_threads):
    networks, threads = Networks(nn.Identity), []
    for most in (1, 3):
        with ComputeStreams(networks, most=most) as streams:
            assert streams.number == most
            threads.append(streams.submit(lambda networks, batch: torch.get_num_threads(), None).result(60))
    assert threads == [1, 1]
    networks.on_cpu = False
    with ComputeStreams(networks, most=1) as streams:
        future = streams.submit(lambda networks, batch: (threading.current_thread(), torch.get_num_threads()), None)
        assert future.result() == (threading.main_thread(), 3)


def test_an_error_in_a_network_reaches_the_caller(three_threads):
    networks = Networks(lambda: nn.Linear(3, 2))
    with ComputeStreams(networks, most=2) as streams, pytest.raises(RuntimeError, match="shapes"):
        streams.submit(Networks.compute, torch.randn(5, 4)).result(60)


def test_small_networks_on_a_cpu_have_streams(three_threads, monkeypatch):
    networks = Networks(lambda: nn.Linear(100, 100, bias=False))
    assert number_of_streams(networks) == 3
    monkeypatch.setattr(compute_streams, "_MOST_BYTES", 79_999)
    assert number_of_streams(networks) == 2  # 40,000 bytes each, beside those of the first
    monkeypatch.undo()
    monkeypatch.setattr(system, "_memory_is_shared", True)
    torch.set_num_threads(3 * MOST_STREAMS)
    assert number_of_streams(networks) == MOST_STREAMS
    networks.engine = "onnx"
    monkeypatch.setattr(compute_streams, "_MOST_BYTES", 0)
    assert number_of_streams(networks) == MOST_STREAMS  # which share the weights
    networks.on_cpu = False
    assert number_of_streams(networks) == 1
    networks.on_cpu = True
    if sys.platform == "linux":
        monkeypatch.setattr(system, "_memory_is_shared", False)
        assert number_of_streams(networks) == 1


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_a_catalogue_is_the_same_with_any_number_of_cores(run, tmp_path, three_threads, engine):
    (tmp_path / "images").mkdir()
    for i in range(23):
        Image.fromarray(galaxy(i)).save(tmp_path / "images" / f"{i:02d}.png")
    (tmp_path / "images" / "11.png").write_bytes(b"broken")
    tables = []
    for threads in (3, 1):
        torch.set_num_threads(threads)
        path = tmp_path / f"{threads}.parquet"
        predict([run], [str(tmp_path / "images")], path, PredictOptions(batch_size=4, engine=engine))
        tables.append(pd.read_parquet(path))
    assert len(tables[0]) == 22
    pd.testing.assert_frame_equal(*tables, check_exact=True)
