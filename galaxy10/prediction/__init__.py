"""A trained network, or an ensemble, on prepared images: probabilities, uncertainty, calibration, export."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_attributes

if TYPE_CHECKING:
    from galaxy10.prediction.calibration_file import Calibration
    from galaxy10.prediction.ensemble import Ensemble
    from galaxy10.prediction.laplace import LastLayerLaplace
    from galaxy10.prediction.mc_dropout import DeterministicMCDropout
    from galaxy10.prediction.ood import KNNDetector
    from galaxy10.prediction.options import PredictOptions
    from galaxy10.prediction.temperature import apply_temperature

__all__ = [
    "Calibration",
    "DeterministicMCDropout",
    "Ensemble",
    "KNNDetector",
    "LastLayerLaplace",
    "PredictOptions",
    "apply_temperature",
]
__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Calibration": "calibration_file",
        "DeterministicMCDropout": "mc_dropout",
        "Ensemble": "ensemble",
        "KNNDetector": "ood",
        "LastLayerLaplace": "laplace",
        "PredictOptions": "options",
        "apply_temperature": "temperature",
    },
)
