"""Batch normalization folded into the convolutions before it, for networks that only evaluate.

In evaluation, batch normalization multiplies each channel by a constant and adds another. Convolutions can do that with
other filters, and the pass over memory is saved. On CPUs the folded convolutions save two more: where TensorFlow's
padding wants one row and column of zeros more after the image than before it, they pad their filters, and a ReLU or
ReLU6 in the same layer is computed with the convolution.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3  # of the largest value of an output
_CONVOLUTIONS = ("Conv2d", "Conv2dSame")  # the second one is timm's, with the padding of TensorFlow
_NORMALIZATIONS = ("BatchNorm2d", "BatchNormAct2d")  # the second one is timm's, followed by an activation

Outputs = Any  # a tensor (B, …), or several, or None in place of one


@dataclass(frozen=True)
class _Pair:
    """A convolution with the batch normalization that takes its output.

    Attributes:
        folded: both in one, with what follows in the layer of the batch normalization, such as an activation.
        conv_places, norm_places: the modules that hold either, with its name there.
    """

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    folded: nn.Module
    conv_places: Sequence[tuple[nn.Module, str]]
    norm_places: Sequence[tuple[nn.Module, str]]


class Folding:
    """The folded form of a network, in which it can be put, and taken out of again."""

    def __init__(self, pairs: Sequence[_Pair]):
        self._pairs = pairs

    def apply(self) -> None:
        """Put the network into its folded form."""
        for pair in self._pairs:
            self._set(pair, pair.folded, nn.Identity())

    def undo(self) -> None:
        """Put the network into its own form."""
        for pair in self._pairs:
            self._set(pair, pair.conv, pair.norm)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Compute in the folded form, within a `with` block."""
        self.apply()
        try:
            yield
        finally:
            self.undo()

    @staticmethod
    def _set(pair: _Pair, conv: nn.Module, norm: nn.Module) -> None:
        for places, module in ((pair.conv_places, conv), (pair.norm_places, norm)):
            for parent, name in places:
                setattr(parent, name, module)


class _FoldedConv2d(nn.Module):
    """A convolution that contains a batch normalization and what follows in its layer, for inputs (B, C, H, W)."""

    def __init__(self, conv: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor, rest: nn.Module):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(values, requires_grad=False) for values in (weight, bias))
        self.rest = rest
        self.conv = [conv]  # in a list, so that it is no part of the network
        self.is_same = type(conv).__name__ == "Conv2dSame"
        self.activation = _activation(rest)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        conv, weight, padding = self.conv[0], self.weight, self.conv[0].padding
        if self.is_same:
            inputs, weight, padding = self._padded(inputs)
        elif isinstance(padding, str) or conv.padding_mode != "zeros":
            outputs: torch.Tensor = self.rest(conv._conv_forward(inputs, weight, self.bias))
            return outputs
        if self.activation and inputs.dtype == torch.float32 and _is_computed_by_onednn(inputs):
            shape = (padding, conv.stride, conv.dilation, conv.groups)
            outputs = torch.ops.mkldnn._convolution_pointwise(inputs, weight, self.bias, *shape, *self.activation, "")
            return outputs
        shape = (conv.stride, padding, conv.dilation, conv.groups)
        outputs = self.rest(functional.conv2d(inputs, weight, self.bias, *shape))
        return outputs

    def _padded(self, inputs: torch.Tensor) -> tuple[torch.Tensor, Any, tuple[int, int]]:
        """Return inputs, filters and padding of TensorFlow's "same" convolution."""
        conv = self.conv[0]
        sides = zip(inputs.shape[-2:], conv.kernel_size, conv.stride, conv.dilation, strict=True)
        zeros = [max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in sides]
        top, left = (number % 2 for number in zeros)  # 1: one row or column less before the image than after it
        height, width = (math.ceil(number / 2) for number in zeros)
        if not (top or left):
            return inputs, self.weight, (height, width)
        if conv.dilation == (1, 1) and _is_computed_by_onednn(inputs):
            return inputs, functional.pad(self.weight, (left, 0, top, 0)), (height, width)
        return functional.pad(inputs, (width - left, width, height - top, height)), self.weight, (0, 0)


def _is_computed_by_onednn(inputs: torch.Tensor) -> bool:
    """Return whether a convolution of these inputs is computed now, by oneDNN; it may be written as a graph instead."""
    return inputs.is_cpu and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


def _activation(rest: nn.Module) -> tuple[str, list[float]] | None:
    """Return the name and the numbers by which oneDNN knows an activation; None if it cannot compute it in one go."""
    layers = [layer for layer in rest.children() if not _is_plain(layer, ("Identity",))]
    if len(layers) != 1 or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return None
    if _is_plain(layers[0], ("ReLU",)):
        return "relu", []
    return ("hardtanh", [0.0, 6.0]) if _is_plain(layers[0], ("ReLU6",)) else None


def fold_batch_norm(network: nn.Module, forward: Callable[[torch.Tensor], Outputs], image_size: int) -> None:
    """Fold the batch normalization of a network on the CPU that never trains again, if `folding` finds how.

    Args:
        forward: everything that will be computed with the network, for normalised inputs (B, 3, S, S).
        image_size: S, pixels.
    """
    inputs = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    found = folding(network, lambda: forward(inputs), len(inputs))
    if found is not None:
        found.apply()


@torch.no_grad()
def folding(network: nn.Module, forward: Callable[[], Outputs], num_images: int) -> Folding | None:
    """Return the folded form of a network in evaluation mode; None if there is none that computes the same.

    A pair is folded if, in the forward pass, the output of a plain convolution goes to a plain batch normalization, and
    both are called once. There is no folded form if it computes something else, for example because the network uses
    the output of such a convolution elsewhere, too.

    Args:
        forward: everything that is computed with the network, for some images such as it is used on.
        num_images: how many; with one, nothing can be compared.
    """
    first = next(network.parameters(), None)
    if network.training or first is None or first.dtype != torch.float32 or num_images < 2:
        return None
    if not any(_is_plain(module, _NORMALIZATIONS) for module in network.modules()):
        return None
    if getattr(network, "_compiled_call_impl", None) is not None:
        return None
    found = None
    try:
        pairs, expected = _pairs(network, forward)
        if not pairs:
            return None
        found = Folding(_folded(network, pairs))
        with found():
            reason = _difference(_tensors(expected), _tensors(forward()))
        if not reason:
            return found
    except Exception as error:  # networks may refuse anything that is not their own layer
        reason = f"{type(error).__name__}: {error}"
    logger.debug("batch normalization of %s is not folded: %s", type(network).__name__, reason)
    return None


def _is_plain(module: nn.Module, names: tuple[str, ...]) -> bool:
    """Return whether a module is of a named class itself, without hooks; subclasses may compute anything."""
    known = type(module).__name__ in names and type(module).__module__.partition(".")[0] in ("torch", "timm")
    return known and not module._forward_hooks and not module._forward_pre_hooks


def _pairs(network: nn.Module, forward: Callable[[], Outputs]) -> tuple[list[tuple[Any, Any]], Outputs]:
    """Return the convolutions with the batch normalization that takes their output, and what `forward` returns."""
    calls: Counter[nn.Module] = Counter()
    outputs: list[tuple[torch.Tensor, nn.Module]] = []  # keeps the tensors, so that none has the identity of another
    found: list[tuple[Any, Any]] = []
    handles = []

    def after(module: nn.Module, arguments: Any, output: Any) -> None:
        calls[module] += 1
        outputs.append((output, module))

    def before(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        calls[module] += 1
        found.extend((made_by, module) for tensor, made_by in outputs if tensor is arguments[0])

    plain = [module for module in network.modules() if _is_plain(module, (*_CONVOLUTIONS, *_NORMALIZATIONS))]
    for module in plain:
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after))
        elif module.running_var is not None:
            handles.append(module.register_forward_pre_hook(before))
    try:
        result = forward()
    finally:
        for handle in handles:
            handle.remove()
    return [(conv, norm) for conv, norm in found if calls[conv] == calls[norm] == 1], result


def _folded(network: nn.Module, pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]]) -> list[_Pair]:
    places: dict[nn.Module, list[tuple[nn.Module, str]]] = {}
    for parent in network.modules():
        for name, child in parent.named_children():
            places.setdefault(child, []).append((parent, name))
    found = []
    for conv, norm in pairs:
        scale, shift = _scale_and_shift(norm)
        filters = _exact(conv.weight) * scale.view(-1, 1, 1, 1)
        bias = shift if conv.bias is None else shift + scale * _exact(conv.bias)
        channels_last = conv.weight.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        filters = filters.to(conv.weight).contiguous(memory_format=layout)
        rest = nn.Sequential(*norm.children()).eval()
        folded = _FoldedConv2d(conv, filters, bias.to(conv.weight), rest).eval()
        found.append(_Pair(conv, norm, folded, places[conv], places[norm]))
    return found


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a batch normalization multiplies each channel by and adds to it, (C,) and (C,) float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = 1 / torch.sqrt(_exact(norm.running_var) + norm.eps)
    if norm.affine:
        scale = scale * _exact(norm.weight)
    shift = -_exact(norm.running_mean) * scale
    return scale, shift + _exact(norm.bias) if norm.affine else shift


def _exact(values: torch.Tensor) -> torch.Tensor:
    return values.detach().cpu().double()  # Apple's GPUs have no float64


def _tensors(outputs: Outputs) -> list[torch.Tensor]:
    given = outputs if isinstance(outputs, tuple | list) else [outputs]
    return [output for output in given if output is not None]


def _difference(expected: list[torch.Tensor], found: list[torch.Tensor]) -> str:
    """Return in words how outputs differ; empty if they are equal but for rounding."""
    if all(bool((output == output[:1]).all()) for output in expected):
        return "its output is the same for every image, so that nothing can be compared"
    for one, other in zip(expected, found, strict=True):
        change = float((other - one).abs().max() / one.abs().max().clamp_min(1e-12))
        if not change < TOLERANCE:
            return f"its output would change by {change:.1e}"
    return ""
