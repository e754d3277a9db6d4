"""Networks from timm with a new classifier, their weights pretrained or not."""

from typing import Any

import timm
from torch import nn

from galaxy10.models.classifier import Classifier


class TimmClassifier(Classifier):
    """Any timm architecture (recipe["backbone"]) with a new layer of C outputs; recipe["dropout"] comes before it."""

    def __init__(self, recipe: dict[str, Any], *args: Any, **kwargs: Any):
        super().__init__(recipe, *args, **kwargs)
        network = self.build()
        heads = self.heads(network)
        for layer in (part for head in heads for part in head.modules()):
            if isinstance(layer, nn.Linear):
                # Some of timm's are initialised by their number of outputs, which for few classes is far too wide:
                # EfficientNet-Lite0 then starts from a loss of several times ln(C) and unlearns what it knew.
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
        self.set_network(network, heads)

    def heads(self, network: Any) -> list[nn.Module]:
        """The new layers, which no pretrained weights fit."""
        classifier = network.get_classifier()
        return list(classifier) if isinstance(classifier, tuple) else [classifier]

    def build(self) -> Any:
        """The timm module, freshly initialised."""
        options: dict[str, Any] = {"num_classes": self.num_classes, "drop_rate": float(self.recipe["dropout"])}
        return timm.create_model(self.recipe["backbone"], pretrained=False, **options)
