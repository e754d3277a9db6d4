"""LightningModules, networks, losses and weights."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from galaxy10.models.classifier import Classifier
    from galaxy10.models.inception import InceptionV3Classifier
    from galaxy10.models.losses import CrossEntropy, FocalLoss
    from galaxy10.models.pca import PCAClassifier
    from galaxy10.models.simple_cnn import SimpleCNN
    from galaxy10.models.timm_classifier import TimmClassifier

_WHERE = {
    "Classifier": "classifier",
    "CrossEntropy": "losses",
    "FocalLoss": "losses",
    "InceptionV3Classifier": "inception",
    "PCAClassifier": "pca",
    "SimpleCNN": "simple_cnn",
    "TimmClassifier": "timm_classifier",
}
__all__ = [
    "Classifier",
    "CrossEntropy",
    "FocalLoss",
    "InceptionV3Classifier",
    "PCAClassifier",
    "SimpleCNN",
    "TimmClassifier",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: the settings of models are checked without torch."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
