"""Layers that are equivariant under D4, the eight flips and quarter turns of a square, on torch alone.

If the input is flipped or turned, so are the feature maps, whose eight orientations trade places: exactly, not on
average (Cohen & Welling 2016, Group equivariant convolutional networks, arXiv:1602.07576). Feature maps are
(B, 8·C, H, W); channel 8 orientations × C, the orientation first: channel = orientation · C + c.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

ORDER = 8  # elements of D4: element 4·f + r mirrors left and right (if f is 1), then makes r quarter turns


def transform(images: torch.Tensor, element: int) -> torch.Tensor:
    """Flip and turn (…, S, S) by one element of D4."""
    flips, turns = divmod(element, 4)
    return torch.rot90(images.flip(-1) if flips else images, turns, (-2, -1))


def product(first: int, second: int) -> int:
    """Return the element that is equal to applying `second` and then `first`."""
    (flip, turns), (other_flip, other_turns) = divmod(first, 4), divmod(second, 4)
    return 4 * (flip ^ other_flip) + (turns + (-other_turns if flip else other_turns)) % 4


def inverse(element: int) -> int:
    """Return the element that undoes this one."""
    return next(other for other in range(ORDER) if product(element, other) == 0)


class ConvBN(nn.Module):
    """A convolution without bias and a batch normalization: the ordinary layer, for comparison with D4ConvBN.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        kernel_size: px, odd; the output has the size of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (B, C_out, H, W) of inputs (B, C_in, H, W)."""
        normalized: torch.Tensor = self.bn(self.conv(inputs))
        return normalized


class D4ConvBN(nn.Module):
    """A D4-equivariant convolution without bias and a batch normalization that the eight orientations share.

    The filters of the first orientation are the weights; those of the others are made from them at every training
    step. In evaluation without gradients they are made once, with the batch normalization folded in.

    Args:
        in_channels: channels of each input orientation; with lift, channels of an image.
        out_channels: channels of each output orientation.
        kernel_size: px, odd; the output has the size of the input.
        lift: the input is an image (B, in_channels, H, W), which has no orientations yet.
    """

    permutations: torch.Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, lift: bool = False):
        super().__init__()
        self.lift, self.padding = lift, kernel_size // 2
        channels = in_channels if lift else ORDER * in_channels
        self.weight = nn.Parameter(torch.empty(out_channels, channels, kernel_size, kernel_size))
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.normal_(self.weight, std=math.sqrt(2 / (channels * kernel_size**2)))
        self._folded: tuple[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor] | None = None
        if not lift:  # for each output orientation h, the filter of input orientation g is that of h⁻¹g, transformed
            orders = torch.tensor([[product(inverse(h), g) for g in range(ORDER)] for h in range(ORDER)])
            channel = orders[:, :, None] * in_channels + torch.arange(in_channels)
            self.register_buffer("permutations", channel.flatten(1), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (B, 8·C_out, H, W) of inputs (B, 8·C_in, H, W), or with lift of images (B, C_in, H, W)."""
        if self._folds():
            weight, bias = self._folded_filters()
            return F.conv2d(inputs, weight, bias, padding=self.padding)
        maps = F.conv2d(inputs, self.expand(), padding=self.padding)
        # All orientations of a channel as one wider map: a view, since channels-last memory holds c last.
        batch, _, height, width = maps.shape
        rows = maps.permute(0, 2, 3, 1).reshape(batch, height, width * ORDER, -1)
        normalized: torch.Tensor = self.bn(rows.permute(0, 3, 1, 2))
        return normalized.permute(0, 2, 3, 1).reshape(batch, height, width, -1).permute(0, 3, 1, 2)

    def expand(self) -> torch.Tensor:
        """Return the filters of all orientations (8·C_out, 8·C_in, k, k), or with lift (8·C_out, C_in, k, k)."""
        filters = [self.weight if self.lift else self.weight[:, self.permutations[h]] for h in range(ORDER)]
        return torch.cat([transform(weight, h) for h, weight in enumerate(filters)])

    def _folds(self) -> bool:
        if self.training or self.bn.training:
            return False
        exporting = torch.compiler.is_exporting()
        return exporting or not (torch.is_grad_enabled() or torch.compiler.is_compiling())

    def _folded_filters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the filters of all orientations with the batch normalization in them, and the bias (8·C_out,)."""
        if self._folded is None or not (torch.compiler.is_exporting() or self._is_current(self._folded[0])):
            # Values are compared: an average of weights, for example, is copied into a network without a trace.
            with torch.inference_mode(False), torch.no_grad():
                sources = tuple(source.clone() for source in self._sources())
                _, weight, bias, mean, variance = sources
                scale = weight / torch.sqrt(variance + self.bn.eps)
                filters = self.expand() * scale.repeat(ORDER)[:, None, None, None]
                filters = filters.contiguous(memory_format=torch.channels_last)
                self._folded = (sources, filters, (bias - mean * scale).repeat(ORDER))
        return self._folded[1:]

    def _sources(self) -> tuple[torch.Tensor, ...]:
        """Return what the folded filters are made of."""
        mean, variance = self.bn.running_mean, self.bn.running_var
        assert isinstance(mean, torch.Tensor)
        assert isinstance(variance, torch.Tensor)
        return self.weight, self.bn.weight, self.bn.bias, mean, variance

    def _is_current(self, sources: tuple[torch.Tensor, ...]) -> bool:
        return all(
            now.device == then.device and now.dtype == then.dtype and torch.equal(now, then)
            for now, then in zip(self._sources(), sources, strict=True)
        )


class Halve(nn.Module):
    """Halve the side of feature maps so that flips and quarter turns of the input stay exact.

    An even side is pooled by 2×2; of an odd one, every other row and column stays. Overlapping windows, or 2×2 windows
    on an odd side, are not symmetric.

    Args:
        mode: max or mean.
    """

    def __init__(self, mode: str = "max"):
        super().__init__()
        self.mode = mode

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (B, C, S/2, S/2) of inputs (B, C, S, S); an odd S gives (S + 1)/2."""
        if inputs.shape[-1] % 2:
            return inputs[..., ::2, ::2]
        return F.max_pool2d(inputs, 2) if self.mode == "max" else F.avg_pool2d(inputs, 2)


class D4Readout(nn.Module):
    """Invariant features: each channel's mean over the map, then its mean and its maximum over the orientations."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (B, 2·C) of inputs (B, 8·C, H, W)."""
        orientations = inputs.mean((2, 3)).view(inputs.shape[0], ORDER, -1)
        return torch.cat([orientations.mean(1), orientations.amax(1)], dim=1)


class Readout(nn.Module):
    """The ordinary readout: each channel's mean over the map."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (B, C) of inputs (B, C, H, W)."""
        return inputs.mean((2, 3))
