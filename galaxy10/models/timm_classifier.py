"""timm networks with a new head."""

from typing import Any

import timm
from torch import nn

from galaxy10.errors import Galaxy10Error
from galaxy10.models.classifier import Classifier


class TimmClassifier(Classifier):
    """Any timm architecture with a new linear layer of C outputs, randomly initialised.

    Args:
        backbone: timm's name, with or without the tag of its weights (loaded by galaxy10.models.weights).
        dropout: before the new layer.
        others: arguments of Classifier.
    """

    def __init__(self, backbone: str, *, dropout: float = 0.0, **others: Any):
        super().__init__(**others)
        self.dropout = float(dropout)
        network = self.build(backbone)
        heads = self.heads(network)
        for layer in (part for head in heads for part in head.modules()):
            if isinstance(layer, nn.Linear):
                # timm initialises some layers by their number of outputs, which for few classes is far too wide:
                # EfficientNet-Lite0 would start from a loss of several times ln(C) and lose its pretrained features.
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
        self.set_network(network, heads)

    def heads(self, network: Any) -> list[nn.Module]:
        """Return the new layers, which are not loaded from pretrained weights."""
        classifier = network.get_classifier()
        return list(classifier) if isinstance(classifier, tuple) else [classifier]

    def build(self, backbone: str) -> Any:
        """Return the timm module, freshly initialised.

        Raises:
            Galaxy10Error: the name is an address, such as hf-hub:…, which timm would open.
        """
        if ":" in backbone:
            raise Galaxy10Error(f"model.backbone={backbone} is an address; give the name of a network of timm")
        options: dict[str, Any] = {"num_classes": self.num_classes, "drop_rate": self.dropout}
        return timm.create_model(backbone, pretrained=False, **options)
