"""The study's own network: two convolutions and three linear layers."""

from collections import OrderedDict
from typing import Any

from torch import nn

from galaxy10.models.classifier import Classifier

INPUT_PX = 84  # the size at which two 5×5 convolutions with pooling end at 18×18
FEATURES = 48 * 18 * 18  # = 15552, the width of the study's first linear layer


class SimpleCNN(Classifier):
    """Two convolutions with ReLU and max-pooling, then linear layers 15552 → 576 → 64 → C, ending in LogSoftmax.

    dropout follows the first two linear layers. Where recipe["image_size"] is not 84, an adaptive pooling brings the
    feature maps to the 18×18 that the linear layers expect.
    """

    def __init__(self, recipe: dict[str, Any], *args: Any, **kwargs: Any):
        super().__init__(recipe, *args, **kwargs)
        dropout = float(recipe["dropout"])
        as_published = self.preprocessing.image_size == INPUT_PX
        # The maximum first: the same numbers, and ReLU looks at a quarter of them.
        network = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 24, kernel_size=5),
                pool1=nn.MaxPool2d(2),
                relu1=nn.ReLU(inplace=True),
                conv2=nn.Conv2d(24, 48, kernel_size=5),
                pool2=nn.MaxPool2d(2),
                relu2=nn.ReLU(inplace=True),
                resize=nn.Identity() if as_published else nn.AdaptiveAvgPool2d(18),
                flatten=nn.Flatten(),
                linear1=nn.Linear(FEATURES, 576),
                relu3=nn.ReLU(),
                drop1=nn.Dropout(dropout),
                linear2=nn.Linear(576, 64),
                relu4=nn.ReLU(),
                drop2=nn.Dropout(dropout),
                linear3=nn.Linear(64, self.num_classes),
                log_softmax=nn.LogSoftmax(dim=1),
            )
        )
        self.set_network(network, list(network[-8:]))
