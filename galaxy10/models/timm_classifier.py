"""timm networks with a new head."""

from typing import Any

import timm
import torch
from torch import nn

from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.models.classifier import Classifier
from galaxy10.models.timm_registry import fixed_input_px


class TimmClassifier(Classifier):
    """Any timm architecture with a new linear layer of C outputs, randomly initialised.

    A network with a table of positions (a vision transformer, Swin, MaxViT …) is built for image_size; pretrained
    tables are interpolated to it when weights are loaded, by timm's own functions.

    Args:
        backbone: timm's name, with or without the tag of its weights (loaded by galaxy10.models.weights).
        dropout: before the new layer.
        image_size: side of the inputs in px; one image of zeros of this size is tried. None: timm's own, not tried.
        others: arguments of Classifier.

    Raises:
        Galaxy10Error: the network cannot take colour images of this size, has no classifier that can be replaced, or
            does not return (B, C).
    """

    def __init__(self, backbone: str, *, dropout: float = 0.0, image_size: int | None = None, **others: Any):
        super().__init__(**others)
        self.dropout, self.image_size = float(dropout), image_size
        network = self.build(backbone)
        if not callable(getattr(network, "get_classifier", None)):
            raise _unsuitable(backbone, "has no classifier that can be replaced (method get_classifier)")
        heads = self.heads(network)
        if not all(isinstance(head, nn.Module) for head in heads):
            raise _unsuitable(backbone, "has no classifier that can be replaced (get_classifier gives no layer)")
        for layer in (part for head in heads for part in head.modules()):
            if isinstance(layer, nn.Linear):
                # timm initialises some layers by their number of outputs, which for few classes is far too wide:
                # EfficientNet-Lite0 would start from a loss of several times ln(C) and lose its pretrained features.
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
        self.set_network(network, heads)
        if image_size is not None:
            self._try(backbone, image_size)

    def heads(self, network: Any) -> list[nn.Module]:
        """Return the new layers, which are not loaded from pretrained weights."""
        classifier = network.get_classifier()
        return list(classifier) if isinstance(classifier, tuple) else [classifier]

    def build(self, backbone: str) -> Any:
        """Return the timm module, freshly initialised.

        Raises:
            Galaxy10Error: the name is an address, such as hf-hub:…, which timm would open; or the network cannot be
                built for image_size.
        """
        if ":" in backbone:
            raise Galaxy10Error(f"model.backbone={backbone} is an address; give the name of a network of timm")
        options: dict[str, Any] = {"num_classes": self.num_classes, "drop_rate": self.dropout}
        fixed = fixed_input_px(backbone)
        if fixed is None or self.image_size in (None, fixed):
            return timm.create_model(backbone, pretrained=False, **options)
        try:
            return timm.create_model(backbone, pretrained=False, img_size=self.image_size, **options)
        except TypeError as error:
            raise Galaxy10Error(
                f"model.backbone={backbone} takes only images of {fixed} px; type model.image_size={fixed}, or leave "
                "it out"
            ) from error
        except Exception as error:  # a size that does not fit its patches or windows; timm raises anything
            raise _wrong_size(backbone, self.image_size, error) from error

    def _try(self, backbone: str, image_size: int) -> None:
        """Check that the network takes one colour image of this size, and returns (1, C)."""
        embed = getattr(self.network, "patch_embed", None)
        patch, projection = getattr(embed, "patch_size", None), getattr(embed, "proj", None)
        if getattr(projection, "stride", None) != getattr(projection, "kernel_size", None):
            patch = None  # its patches overlap: any size fits
        side = int(patch[0]) if isinstance(patch, tuple | list) else int(patch or 1)
        if image_size % side:  # timm would leave out the last rows and columns, without a word
            nearest = max(1, round(image_size / side)) * side
            raise Galaxy10Error(
                f"model.backbone={backbone} takes images of a multiple of {side} px, not {image_size}; type "
                f"model.image_size={nearest}"
            )
        self.network.eval()  # so that no random number is drawn and no statistics change
        found: Any = None
        try:
            with torch.no_grad():
                found = self(torch.zeros(1, 3, image_size, image_size))
        except Exception as error:  # timm's networks raise anything for inputs that they do not take
            raise _wrong_size(backbone, image_size, error) from error
        finally:
            self.train(self.training)
        if not isinstance(found, torch.Tensor) or found.shape != (1, self.num_classes):
            given = tuple(found.shape) if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
            raise _unsuitable(backbone, f"gives {given} for one image, not (1, {self.num_classes})")


def _wrong_size(backbone: str, image_size: int, error: Exception) -> Galaxy10Error:
    fixed = fixed_input_px(backbone)
    reason = first_line(error) or type(error).__name__
    return Galaxy10Error(
        f"model.backbone={backbone} cannot take colour images of {image_size} px ({reason}); type another "
        f"model.image_size{'' if fixed is None else f', such as {fixed}'}, or another model.backbone"
    )


def _unsuitable(backbone: str, why: str) -> Galaxy10Error:
    return Galaxy10Error(
        f"model.backbone={backbone} {why}, so it cannot classify galaxies here; type another model.backbone, such as "
        "resnet18"
    )
