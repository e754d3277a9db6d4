"""Which processor ONNX Runtime computes on."""

from concurrent.futures import ThreadPoolExecutor

import onnxruntime
import pytest
import torch
from torch import nn

from galaxy10.errors import Galaxy10Error
from galaxy10.prediction.engine import OnnxForward
from galaxy10.prediction.options import PredictOptions, check_engine, check_options

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def with_providers(monkeypatch: pytest.MonkeyPatch, *, usable: bool) -> list:
    """Let onnxruntime offer CUDA; the graph is computed on the CPU. Return the list of what sessions are asked for."""
    asked = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, path, options, providers, **others):
            asked.append(providers)
            assert others == {"enable_fallback": 0}
            super().__init__(path, options, providers=[CPU])

        def get_providers(self):
            return [CUDA, CPU] if usable else [CPU]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return asked


def forward_of(network: nn.Module):
    return lambda inputs: (network(inputs).softmax(1), None)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.mark.parametrize(("device", "number"), [("cuda", "0"), ("cuda:1", "1")])
def test_a_gpu_is_used_where_it_is_asked_for_in_exact_float32(monkeypatch, device, number):
    asked = with_providers(monkeypatch, usable=True)
    check_engine("onnx", 0, device)
    module = network()
    graph = OnnxForward.of(module, forward_of(module), 16, device)
    assert asked == [[(CUDA, {"device_id": number, "use_tf32": "0"}), CPU]]
    inputs = torch.rand(5, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(graph(inputs)[0], forward_of(module)(inputs)[0])


def test_several_threads_share_a_graph():
    module = network()
    graph = OnnxForward.of(module, forward_of(module), 16).with_threads(1)
    batches = list(torch.rand(6, 5, 3, 16, 16).unbind())
    with ThreadPoolExecutor(3) as pool, torch.inference_mode():
        for batch, (found, _) in zip(batches, pool.map(graph, batches), strict=True):
            torch.testing.assert_close(found, forward_of(module)(batch)[0])


def test_a_gpu_that_cannot_be_used_is_no_silent_cpu(monkeypatch):
    with_providers(monkeypatch, usable=False)
    module = network()
    with pytest.raises(
        Galaxy10Error, match=r"^ONNX Runtime does not find the GPU or its CUDA libraries; leave out --device cuda, or"
    ):
        OnnxForward.of(module, forward_of(module), 16, "cuda")


def test_the_package_without_cuda_is_named_with_its_remedy():
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime computes on GPUs")
    with pytest.raises(Galaxy10Error, match="pip install onnxruntime-gpu in its place, leave out --device cuda"):
        check_engine("onnx", 0, "cuda")
    with pytest.raises(Galaxy10Error, match="computes on the CPU; leave out --device cuda"):
        check_engine("onnx-int8", 0, "cuda")


def test_an_automatic_batch_size_is_refused_where_it_cannot_see_the_memory(monkeypatch):
    with_providers(monkeypatch, usable=True)
    with pytest.raises(Galaxy10Error, match="auto does not see the GPU memory of ONNX Runtime; give a number"):
        check_options(PredictOptions(batch_size=None, engine="onnx", device="cuda"))
    check_options(PredictOptions(engine="onnx", device="cuda"))
