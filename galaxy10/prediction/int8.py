"""Rewrite an ONNX graph so that its convolutions and matrix products compute in whole numbers of 8 bits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

NUM_IMAGES = 128  # that set the ranges of the numbers
_AT_ONCE = 16
_CPU_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}  # x86 three times, Arm


def cpu_has_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this CPU has instructions for products of 8 bits; without them, 8 bits are not faster."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return True
    flags = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return not flags or bool(_CPU_FLAGS & set(flags[0]))


def evenly_spaced(number: int) -> range:
    """Return up to NUM_IMAGES numbers from 0 to number − 1, evenly spaced."""
    return range(0, number, max(1, -(-number // NUM_IMAGES)))


def write_quantized(graph: Path, images: np.ndarray, quantized: Path) -> None:
    """Write the graph with 8-bit weights for each channel, and 8-bit activations.

    The range of each activation is from its smallest to its largest value on the images: static quantization, as in
    Jacob et al. 2018 (https://arxiv.org/abs/1712.05877).

    Args:
        graph: of float32, with one input `inputs`.
        images: (N, 3, S, S) float32 inputs.
        quantized: the file to write.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches: Iterator[Any] = iter(np.array_split(images, -(-len(images) // _AT_ONCE)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"inputs": batch}

    simplified = graph.with_name("simplified.onnx")
    quant_pre_process(str(graph), str(simplified))
    quantize_static(
        str(simplified),
        str(quantized),
        Batches(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
