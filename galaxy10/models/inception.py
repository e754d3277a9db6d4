"""InceptionV3 with its auxiliary head, which takes part in training only."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import nn

from galaxy10.models.timm_classifier import TimmClassifier

AUXILIARY_WEIGHT = 0.4  # Szegedy et al. 2016, arXiv 1512.00567, as the reference implementations weigh it
_AUXILIARY_CELLS = 5  # the auxiliary head's second convolution is 5×5 without padding


class InceptionV3Classifier(TimmClassifier):
    """timm's InceptionV3 with auxiliary head: loss = main + 0.4 × auxiliary in training, main alone otherwise."""

    def build(self, backbone: str) -> Any:
        """Return the timm module with its auxiliary head, freshly initialised."""
        return timm.create_model(
            "inception_v3", pretrained=False, aux_logits=True, num_classes=self.num_classes, drop_rate=self.dropout
        )

    def heads(self, network: Any) -> list[nn.Module]:
        """Main and auxiliary classifier."""
        return [*super().heads(network), network.AuxLogits.fc]

    def set_network(self, network: Any, head: Sequence[nn.Module] | None = None) -> None:
        """Take the network; the auxiliary head of a frozen one trains nothing, so nothing trains it."""
        super().set_network(network, head)
        if self.frozen:
            network.AuxLogits.requires_grad_(False)

    def compile_network(self) -> None:
        """In place, part by part: training and answering both go around the network's own forward."""
        for part in ("forward_preaux", "forward_postaux", "forward_head"):
            setattr(self.network, part, torch.compile(getattr(self.network, part)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised inputs → (B, C) logits of the main head."""
        return self.network.forward_head(self.network.forward_postaux(self.network.forward_preaux(inputs)))

    def loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Main loss plus 0.4 × auxiliary loss (a scalar), and the main logits (B, C)."""
        if self.frozen:  # what the auxiliary loss would train does not move
            return super().loss(inputs, labels)
        features = self.network.forward_preaux(inputs)
        logits = self.network.forward_head(self.network.forward_postaux(features))
        main = self.criterion(logits.float(), labels)
        auxiliary = self.criterion(self._auxiliary(features).float(), labels)
        return main + AUXILIARY_WEIGHT * auxiliary, logits

    def _auxiliary(self, features: torch.Tensor) -> torch.Tensor:
        """(B, 768, h, w) → (B, C). Below 299 px the head's own pooling leaves too few cells: then they are resized."""
        head = self.network.AuxLogits
        if min(features.shape[-2:]) >= 17:
            return head(features)
        cells = F.adaptive_avg_pool2d(features, _AUXILIARY_CELLS)
        x = head.conv1(head.conv0(cells))
        return head.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
