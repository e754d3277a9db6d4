"""LightningModules, networks, losses and weights."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_attributes

if TYPE_CHECKING:
    from galaxy10.models.classifier import Classifier
    from galaxy10.models.d4_networks import D4CNN, D4ResNet, PlainCNN, PlainResNet
    from galaxy10.models.factory import load_classifier
    from galaxy10.models.inception import InceptionV3Classifier
    from galaxy10.models.linear_probe import LinearProbe
    from galaxy10.models.losses import CrossEntropy, FocalLoss, LogitAdjusted
    from galaxy10.models.pca import PCAClassifier
    from galaxy10.models.simple_cnn import SimpleCNN
    from galaxy10.models.timm_classifier import TimmClassifier
    from galaxy10.models.votes import DirichletMultinomial

__all__ = [
    "D4CNN",
    "Classifier",
    "CrossEntropy",
    "D4ResNet",
    "DirichletMultinomial",
    "FocalLoss",
    "InceptionV3Classifier",
    "LinearProbe",
    "LogitAdjusted",
    "PCAClassifier",
    "PlainCNN",
    "PlainResNet",
    "SimpleCNN",
    "TimmClassifier",
    "load_classifier",
]
__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Classifier": "classifier",
        "CrossEntropy": "losses",
        "D4CNN": "d4_networks",
        "D4ResNet": "d4_networks",
        "DirichletMultinomial": "votes",
        "FocalLoss": "losses",
        "InceptionV3Classifier": "inception",
        "LinearProbe": "linear_probe",
        "LogitAdjusted": "losses",
        "PCAClassifier": "pca",
        "PlainCNN": "d4_networks",
        "PlainResNet": "d4_networks",
        "SimpleCNN": "simple_cnn",
        "TimmClassifier": "timm_classifier",
        "load_classifier": "factory",
    },
)
