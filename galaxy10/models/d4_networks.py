"""A CNN and a residual network that are D4-equivariant, and their ordinary twins of equal width and depth."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import nn

from galaxy10.errors import Galaxy10Error
from galaxy10.models.d4 import ORDER, ConvBN, D4ConvBN, D4Readout, Halve, Readout

# Channels of each orientation, after the first layer and in each stage; the twins have eight times as many.
CNN_CHANNELS = {"tiny": (4, 4, 8, 12, 16), "small": (4, 8, 12, 16, 24), "base": (8, 16, 24, 32, 48)}
RESNET_CHANNELS = {"tiny": (4, 4, 8, 16), "small": (4, 8, 16, 24), "base": (8, 16, 24, 32)}
RESNET_BLOCKS = {"tiny": 1, "small": 2, "base": 2}
HALVINGS = 4

Layer = Callable[[int, int, int], nn.Module]  # (channels of each orientation in, out, kernel size) → layer


class _CNN(nn.Sequential):
    """A 5×5 and four 3×3 convolutions, each with batch normalization, ReLU and, but for the last, 2×2 max-pooling."""

    first: Layer  # the layer that reads the image
    conv: Layer  # every other layer
    readout: Callable[[], nn.Module]
    features: int  # that the readout gives for each channel of an orientation

    def __init__(self, num_classes: int, image_size: int, size: str = "base", dropout: float = 0.2):
        _check_size(image_size)
        channels = _channels(CNN_CHANNELS, size)
        # Pooling before ReLU gives the same numbers, and ReLU computes only a quarter of them.
        parts: list[nn.Module] = [self.first(3, channels[0], 5), Halve(), nn.ReLU(inplace=True)]
        for before, after in pairwise(channels[:-1]):
            parts += [self.conv(before, after, 3), Halve(), nn.ReLU(inplace=True)]
        parts += [self.conv(channels[-2], channels[-1], 3), nn.ReLU(inplace=True)]
        head = (self.readout(), nn.Dropout(dropout), nn.Linear(self.features * channels[-1], num_classes))
        super().__init__(*parts, *head)


class _ResNet(nn.Sequential):
    """A 5×5 convolution, then three stages of one or two residual blocks (He et al. 2016), halved before each."""

    first: Layer
    conv: Layer
    readout: Callable[[], nn.Module]
    features: int

    def __init__(self, num_classes: int, image_size: int, size: str = "base", dropout: float = 0.2):
        _check_size(image_size)
        channels = _channels(RESNET_CHANNELS, size)
        parts: list[nn.Module] = [self.first(3, channels[0], 5), Halve(), nn.ReLU(inplace=True)]
        for before, after in pairwise(channels):
            parts.append(Halve())
            widths = [before] + [after] * RESNET_BLOCKS[size]
            parts += [ResidualBlock(self.conv, i, o) for i, o in pairwise(widths)]
        head = (self.readout(), nn.Dropout(dropout), nn.Linear(self.features * channels[-1], num_classes))
        super().__init__(*parts, *head)


class _D4Layers:
    features = 2
    conv, readout = D4ConvBN, D4Readout

    @staticmethod
    def first(in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
        return D4ConvBN(in_channels, out_channels, kernel_size, lift=True)


class _PlainLayers:
    features = ORDER
    readout = Readout

    @staticmethod
    def first(in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
        return ConvBN(in_channels, ORDER * out_channels, kernel_size)

    @staticmethod
    def conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
        return ConvBN(ORDER * in_channels, ORDER * out_channels, kernel_size)


class D4CNN(_D4Layers, _CNN):
    """A CNN from (B, 3, S, S) to (B, C) whose output stays the same if the image is flipped or turned by 90°.

    A 5×5 and four 3×3 convolutions, each with batch normalization, ReLU and, but for the last, 2×2 max-pooling.

    Args:
        num_classes: C.
        image_size: px, S; a multiple of 16, or one more.
        size: tiny, small or base: how many channels.
        dropout: before the linear layer.

    Raises:
        Galaxy10Error: the size is unknown, or halving image_size would break the symmetry.
    """


class PlainCNN(_PlainLayers, _CNN):
    """The twin of D4CNN: ordinary convolutions with as many channels, and eight times the weights.

    Arguments and errors are those of D4CNN.
    """


class D4ResNet(_D4Layers, _ResNet):
    """A residual network from (B, 3, S, S) to (B, C) whose output stays the same if the image is flipped or turned.

    A 5×5 convolution, then three stages of one (tiny) or two residual blocks of two 3×3 convolutions (He et al. 2016,
    arXiv:1512.03385); the side is halved after the first layer and before each stage. Arguments and errors are those
    of D4CNN.
    """


class PlainResNet(_PlainLayers, _ResNet):
    """The twin of D4ResNet: ordinary convolutions with as many channels, and eight times the weights.

    Arguments and errors are those of D4CNN.
    """


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut: the identity, or a 1×1 convolution where the width changes.

    Args:
        conv: makes a layer from channels in and out, and a kernel size.
        in_channels: channels in (of each orientation).
        out_channels: channels out (of each orientation).
    """

    def __init__(self, conv: Layer, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 3)
        self.conv2 = conv(out_channels, out_channels, 3)
        self.shortcut = nn.Identity() if in_channels == out_channels else conv(in_channels, out_channels, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the block's feature maps; their size is that of the inputs."""
        residual = self.conv2(torch.relu(self.conv1(inputs)))
        return torch.relu(residual + self.shortcut(inputs))


def _channels(table: Mapping[str, tuple[int, ...]], size: str) -> tuple[int, ...]:
    if size not in table:
        raise Galaxy10Error(f"model.network.size={size} is not one of {', '.join(table)}")
    return table[size]


def _check_size(image_size: int) -> None:
    """Check that no halving makes an even side odd or an odd one even.

    Raises:
        Galaxy10Error: one does; names the next size that fits.
    """
    multiple = 2**HALVINGS
    if image_size % multiple not in (0, 1):
        raise Galaxy10Error(
            f"model.image_size={image_size}: this network halves its maps {HALVINGS} times, which is exact under "
            f"quarter turns for multiples of {multiple} (and one more); type model.image_size="
            f"{image_size + multiple - image_size % multiple}"
        )
