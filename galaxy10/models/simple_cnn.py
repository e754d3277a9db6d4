"""The CNN of the published baseline: two convolutions and three linear layers."""

from collections import OrderedDict
from typing import Any

from torch import nn

from galaxy10.models.classifier import Classifier

INPUT_PX = 84  # the size at which two 5×5 convolutions with pooling end at 18×18
FEATURES = 48 * 18 * 18  # = 15552, the width of the published network's first linear layer
_HEAD_LAYERS = 8  # from linear1 to the end


def simple_cnn(num_classes: int, image_size: int = INPUT_PX, dropout: float = 0.25) -> nn.Sequential:
    """Return two convolutions with ReLU and max-pooling, then linear layers 15552 → 576 → 64 → C and LogSoftmax.

    dropout follows the first two linear layers. If image_size is not 84, an adaptive pooling resizes the feature maps
    to the 18×18 that the linear layers expect.
    """
    # Pooling before ReLU gives the same numbers, and ReLU computes only a quarter of them.
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 24, kernel_size=5),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(inplace=True),
            conv2=nn.Conv2d(24, 48, kernel_size=5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(inplace=True),
            resize=nn.Identity() if image_size == INPUT_PX else nn.AdaptiveAvgPool2d(18),
            flatten=nn.Flatten(),
            linear1=nn.Linear(FEATURES, 576),
            relu3=nn.ReLU(),
            drop1=nn.Dropout(dropout),
            linear2=nn.Linear(576, 64),
            relu4=nn.ReLU(),
            drop2=nn.Dropout(dropout),
            linear3=nn.Linear(64, num_classes),
            log_softmax=nn.LogSoftmax(dim=1),
        )
    )


class SimpleCNN(Classifier):
    """The LightningModule of the network `simple_cnn`.

    Args:
        image_size: px, the side of the input.
        dropout: after the first two linear layers.
        others: arguments of Classifier.
    """

    def __init__(self, *, image_size: int = INPUT_PX, dropout: float = 0.25, **others: Any):
        super().__init__(**others)
        network = simple_cnn(self.num_classes, image_size, dropout)
        self.set_network(network, list(network[-_HEAD_LAYERS:]))
