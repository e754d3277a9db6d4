"""InceptionV3 with its auxiliary head, which is used in training only."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import nn

from galaxy10.models.timm_classifier import TimmClassifier

AUXILIARY_WEIGHT = 0.4  # Szegedy et al. 2016, arXiv 1512.00567, as in the reference implementations
_AUXILIARY_CELLS = 5  # the auxiliary head's second convolution is 5×5 without padding


class InceptionV3Classifier(TimmClassifier):
    """timm's InceptionV3 with auxiliary head: loss = main + 0.4 × auxiliary in training, only main in evaluation."""

    def build(self, backbone: str) -> Any:
        """Return the timm module with its auxiliary head, freshly initialised."""
        return timm.create_model(
            "inception_v3", pretrained=False, aux_logits=True, num_classes=self.num_classes, drop_rate=self.dropout
        )

    def heads(self, network: Any) -> list[nn.Module]:
        """Return the main and the auxiliary classifier."""
        return [*super().heads(network), network.AuxLogits.fc]

    def set_network(self, network: Any, head: Sequence[nn.Module] | None = None) -> None:
        """Set the network; freeze the auxiliary head, too, with freeze=backbone: it would train nothing else."""
        super().set_network(network, head)
        if self.frozen:
            network.AuxLogits.requires_grad_(False)

    def compile_network(self) -> None:
        """Compile the network in place, part by part: training and prediction do not call its forward."""
        for part in ("forward_preaux", "forward_postaux", "forward_head"):
            setattr(self.network, part, torch.compile(getattr(self.network, part)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, C) of the main head for normalised inputs (B, 3, S, S)."""
        features = self.network.forward_postaux(self.network.forward_preaux(inputs))
        logits: torch.Tensor = self.network.forward_head(features)
        return logits

    def loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return main loss plus 0.4 × auxiliary loss (a scalar), and the main logits (B, C)."""
        if self.frozen:  # the auxiliary loss would train only frozen layers
            return super().loss(inputs, labels)
        features = self.network.forward_preaux(inputs)
        logits = self.network.forward_head(self.network.forward_postaux(features))
        main = self.criterion(logits.float(), labels)
        auxiliary = self.criterion(self._auxiliary(features).float(), labels)
        return main + AUXILIARY_WEIGHT * auxiliary, logits

    def _auxiliary(self, features: torch.Tensor) -> torch.Tensor:
        """Return the auxiliary logits (B, C) of features (B, 768, h, w).

        Below 299 px the head's own pooling leaves too few cells: an adaptive pooling then replaces it.
        """
        head = self.network.AuxLogits
        if min(features.shape[-2:]) >= 17:
            logits: torch.Tensor = head(features)
            return logits
        cells = F.adaptive_avg_pool2d(features, _AUXILIARY_CELLS)
        x = head.conv1(head.conv0(cells))
        logits = head.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits
