"""LightningModules, networks, losses and weights."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_attributes

if TYPE_CHECKING:
    from galaxy10.models.classifier import Classifier
    from galaxy10.models.factory import load_classifier
    from galaxy10.models.inception import InceptionV3Classifier
    from galaxy10.models.losses import CrossEntropy, FocalLoss
    from galaxy10.models.pca import PCAClassifier
    from galaxy10.models.simple_cnn import SimpleCNN
    from galaxy10.models.timm_classifier import TimmClassifier

__all__ = [
    "Classifier",
    "CrossEntropy",
    "FocalLoss",
    "InceptionV3Classifier",
    "PCAClassifier",
    "SimpleCNN",
    "TimmClassifier",
    "load_classifier",
]
__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Classifier": "classifier",
        "CrossEntropy": "losses",
        "FocalLoss": "losses",
        "InceptionV3Classifier": "inception",
        "PCAClassifier": "pca",
        "SimpleCNN": "simple_cnn",
        "TimmClassifier": "timm_classifier",
        "load_classifier": "factory",
    },
)
