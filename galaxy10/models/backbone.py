"""A pretrained network of timm without its classifier: features of images without a trained run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from galaxy10.data.augment import Preprocessing
from galaxy10.models.features import pooled
from galaxy10.models.timm_classifier import TimmClassifier
from galaxy10.models.weights import WeightsSource, download_weights, find_weights, load_pretrained


class BackboneFeatures:
    """The pooled features of a timm network without its classifier, with None in place of probabilities."""

    pooling = "the network's own, without its classifier"

    def __init__(self, network: nn.Module):
        self._network = network

    def __call__(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return features (B, D) float32 of normalised inputs (B, 3, S, S), and None."""
        return pooled(self._network(inputs), self._network), None


@dataclass(frozen=True)
class Backbone:
    """Pretrained weights of a timm network, found on this machine, and the input that they are used with.

    Attributes:
        identity: first 16 hex digits of the SHA-256 of the weights file, as it was when it was found.
    """

    source: WeightsSource
    preprocessing: Preprocessing
    identity: str

    def load(self) -> nn.Module:
        """Return the network with these weights and without its classifier, in evaluation mode.

        Raises:
            Galaxy10Error: the weights are damaged, could run code, or do not fit, or the network takes no images of
                this size.
        """
        module = TimmClassifier(self.source.backbone, num_classes=2, image_size=self.preprocessing.image_size)
        load_pretrained(module.network, self.source, module.head)
        network: Any = module.network
        network.reset_classifier(0)
        found: nn.Module = network.eval()
        return found


def find_backbone(backbone: str, weights: str | Path | None = None, image_size: int | None = None) -> Backbone:
    """Find the pretrained weights of a timm network; download them if they are not on this machine.

    Args:
        backbone: timm's name, with or without the tag of its weights.
        weights: a file or folder, or hf_hub:OWNER/NAME; None: installed package, local caches, hub.
        image_size: px; None: the size that the weights were trained at.

    Raises:
        Galaxy10Error: there are no weights at hand.
    """
    named = None if weights is None else str(weights)
    source = find_weights(backbone, named)
    if source.path is None:
        download_weights(named or backbone)
        source = find_weights(backbone, named)
    preprocessing = Preprocessing(
        image_size=image_size or source.input_size_px,
        mean=source.mean,
        std=source.std,
        interpolation=source.interpolation,
    )
    assert source.sha256 is not None
    return Backbone(source, preprocessing, source.sha256[:16])
