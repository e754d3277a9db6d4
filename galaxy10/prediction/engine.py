"""The forward pass of a trained network in ONNX Runtime, which on CPUs is about twice as fast for EfficientNet."""

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.prediction.int8 import write_quantized
from galaxy10.prediction.options import CUDA_PROVIDER

TOLERANCE = 1e-3  # of the largest output, between torch and the graph

Forward = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]


class OnnxForward(nn.Module):
    """A forward pass, inputs (B, 3, S, S) → one or two float32 tensors (B, …), as a graph of ONNX Runtime.

    Several threads may call it at the same time. Inputs and outputs are on the CPU.

    Args:
        graph: the content of an ONNX file, with one input `inputs`.
        device: auto and cpu compute on the CPU, cuda and cuda:N on a GPU.
        threads: on the CPU; None: as many as torch.
    """

    def __init__(self, graph: bytes, device: str = "cpu", threads: int | None = None):
        import onnxruntime

        super().__init__()
        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        # Threads that wait for work would take the cores from those that read images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Without the fallback, with which a failure on the GPU would go on on the CPU.
        self._session = onnxruntime.InferenceSession(graph, options, providers=_providers(device), enable_fallback=0)
        self._graph, self._device = graph, device

    @classmethod
    def of(
        cls,
        module: nn.Module,
        forward: Forward,
        image_size: int,
        device: str = "cpu",
        quantize_on: torch.Tensor | None = None,
    ) -> "OnnxForward":
        """Return the graph of a forward pass, which is made anew, in some seconds, and compared with torch.

        Args:
            module: owns the weights of the forward pass, on the CPU.
            forward: the forward pass.
            image_size: S, pixels.
            device: that computes the graph.
            quantize_on: inputs (N, 3, S, S); if given, the graph computes in whole numbers of 8 bits, whose ranges are
                those of these inputs, and is not compared with torch.

        Raises:
            Galaxy10Error: the network cannot be written as such a graph, the graph computes something else, or ONNX
                Runtime cannot use the GPU.
        """
        example = torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = _tensors(forward(example))  # also computes what a network computes once
        name = type(module).__name__
        try:
            with TemporaryDirectory(prefix="galaxy10-onnx-") as folder:
                path = Path(folder) / "network.onnx"
                _write(_Graph(module, forward).eval(), example, path)
                if quantize_on is not None:
                    whole = path.with_name("int8.onnx")
                    quietly(write_quantized, path, quantize_on.contiguous().numpy(), whole)
                    path = whole
                graph = cls(path.read_bytes(), device)
            found = _tensors(graph(example))
            if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
                raise ValueError("its outputs have other shapes")
        except Exception as error:  # exporters and runtimes raise anything
            raise Galaxy10Error(
                f"{name} cannot be written as an ONNX graph: {first_line(error)}; leave out --engine"
            ) from error
        if device.startswith("cuda") and CUDA_PROVIDER not in graph._session.get_providers():
            raise Galaxy10Error(
                f"ONNX Runtime does not find the GPU or its CUDA libraries; leave out --device {device}, or type "
                "--engine torch"
            )
        if quantize_on is not None:
            return graph
        difference = max(
            float((tensor - wanted).abs().max() / wanted.abs().max().clamp_min(1))
            for tensor, wanted in zip(found, expected, strict=True)
        )
        if not difference < TOLERANCE:
            raise Galaxy10Error(
                f"the ONNX graph of {name} does not compute what the network computes (difference {difference:.1e}); "
                "leave out --engine"
            )
        return graph

    def with_threads(self, threads: int) -> "OnnxForward":
        """Return the same graph, which computes with another number of threads."""
        return OnnxForward(self._graph, self._device, threads)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what the forward pass returns, for inputs (B, 3, S, S)."""
        found = [torch.from_numpy(array) for array in self._session.run(None, {"inputs": inputs.contiguous().numpy()})]
        return found[0], found[1] if len(found) == 2 else None


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    """Return the providers of ONNX Runtime for a device; on a GPU without TF32, which is less exact than float32."""
    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"]
    number = device.partition(":")[2] or "0"
    return [(CUDA_PROVIDER, {"device_id": number, "use_tf32": "0"}), "CPUExecutionProvider"]


def _tensors(outputs: Sequence[torch.Tensor | None]) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.float() for tensor in outputs if tensor is not None)


class _Graph(nn.Module):
    def __init__(self, module: nn.Module, forward: Forward):
        super().__init__()
        self.module, self._forward = module, forward

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _tensors(self._forward(inputs))


def _write(graph: nn.Module, example: torch.Tensor, path: Path) -> None:
    """Write a graph of any number of images."""

    def write() -> None:
        with torch.no_grad():
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                dynamic_shapes={"inputs": {0: torch.export.Dim("N")}},
                input_names=["inputs"],
                verbose=False,
            )
        assert program is not None
        program.save(str(path), external_data=False)

    quietly(write)


def quietly(write: Callable[..., None], *arguments: Any) -> None:
    """Run an exporter without its output; errors come as exceptions."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        write(*arguments)
