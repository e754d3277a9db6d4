"""Features of a network: what its final linear layer is given, or what a documented method of it returns."""

from typing import Any

import torch
from torch import nn

from galaxy10.errors import Galaxy10Error
from galaxy10.models.classifier import Classifier

# Methods of a network without a final linear layer, the first that it has: timm's name, then torchvision's.
METHODS = ("forward_features", "features")
_OF_LINEAR_LAYER = "input of the final linear layer"


class FeatureHook:
    """A forward hook that keeps the input (B, D) of a network's final linear layer, or else the network's output.

    has_layer: whether there is a linear layer with one output per class.
    """

    def __init__(self, network: nn.Module, num_classes: int):
        self.features: torch.Tensor | None = None
        layer = final_linear_layer(network, num_classes)
        self.has_layer = layer is not None
        if layer is not None:
            self._handle = layer.register_forward_pre_hook(self._keep_input)
        else:
            self._handle = network.register_forward_hook(self._keep_output)

    def remove(self) -> None:
        """Remove the hook from the network."""
        self._handle.remove()

    def _keep_input(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.features = inputs[0].detach().flatten(1)

    def _keep_output(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self.features = output.detach().flatten(1)


def final_linear_layer(network: nn.Module, num_classes: int) -> nn.Linear | None:
    """Return the last linear layer with one output per class; None if there is none."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == num_classes]
    return layers[-1] if layers else None


@torch.inference_mode()
def linear_head(module: Classifier) -> nn.Linear:
    """Return the final linear layer of a network whose probabilities are the softmax of this layer's output.

    Two images of noise are passed through the network to see it; a log-softmax after the layer changes nothing.

    Raises:
        Galaxy10Error: the network has no such layer, or computes with its output; the message says what is missing.
    """
    network, size = module.network, module.known_preprocessing.image_size
    layer, hook = final_linear_layer(network, module.num_classes), FeatureHook(network, module.num_classes)
    noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        probabilities = module.probabilities(noise.to(module.device))
    finally:
        hook.remove()
    name = type(network).__name__
    if layer is None:
        raise Galaxy10Error(f"{name} has no linear layer with one output per class, whose weights would be sampled")
    features = hook.features
    if features is None or features.shape != (len(noise), layer.in_features):
        raise Galaxy10Error(f"{name} does not use its final linear layer once per image, so it cannot be sampled")
    if not torch.allclose(layer(features).float().softmax(dim=1), probabilities, atol=1e-4):
        raise Galaxy10Error(
            f"{name} changes the output of its final linear layer, whose samples would not be its predictions"
        )
    return layer


class RunFeatures:
    """The features of a trained module, with its probabilities.

    They are the input of the final linear layer, as for the out-of-distribution score; without such a layer, what the
    network's method forward_features(inputs) or features(inputs) returns, averaged over the image.

    Attributes:
        pooling: which of these, in words.

    Raises:
        Galaxy10Error: the network has neither.
    """

    def __init__(self, module: Classifier):
        self._module, self._hook = module, FeatureHook(module.network, module.num_classes)
        self._method: str | None = None
        self.pooling = _OF_LINEAR_LAYER
        if self._hook.has_layer:
            return
        self._method = next((name for name in METHODS if callable(getattr(module.network, name, None))), None)
        if self._method is None:
            raise _without_features(module.network)
        self.pooling = f"{self._method}(), averaged over the image"
        if hasattr(module.network, "forward_head"):  # timm's own pooling
            self.pooling = "forward_features(), then forward_head(pre_logits=True)"

    def __call__(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return features (B, D) and probabilities (B, C), both float32, of normalised inputs (B, 3, S, S).

        Raises:
            Galaxy10Error: the network does not use its linear layer, or its method returns no tensor.
        """
        probabilities = self._module.probabilities(inputs)
        if self._method is None:
            found = self._hook.features
        else:
            network = self._module.network
            found = getattr(network, self._method)(inputs)
            if hasattr(network, "forward_head") and self._method == METHODS[0]:
                found = network.forward_head(found, pre_logits=True)
        return pooled(found, self._module.network), probabilities


def pooled(found: Any, network: nn.Module) -> torch.Tensor:
    """Return features (B, D) float32: maps (B, D, h, w) and tokens (B, T, D) are averaged.

    Raises:
        Galaxy10Error: `found` is no tensor of 2 to 4 dimensions.
    """
    if not isinstance(found, torch.Tensor) or not 2 <= found.ndim <= 4:
        raise _without_features(network)
    if found.ndim == 4:
        found = found.mean(dim=(2, 3))
    elif found.ndim == 3:
        found = found.mean(dim=1)
    features: torch.Tensor = found.float()
    return features


def _without_features(network: nn.Module) -> Galaxy10Error:
    return Galaxy10Error(
        f"{type(network).__name__} has no features to give: no final linear layer with one output per class, and no "
        "method forward_features(inputs) that returns a tensor (B, D); add either to the network"
    )
