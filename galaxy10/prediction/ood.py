"""Out-of-distribution score: distance to the nearest validation features."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from galaxy10.files import atomic_write
from galaxy10.foreign_files import load_arrays

_NEIGHBOURS = 10
_BLOCK = 1_024  # rows of the table of distances that are in memory at once
_COMMON = 0.99  # share of validation galaxies with a score below 1


@dataclass(frozen=True)
class KNNDetector:
    """Distance to the k-th nearest validation galaxy in feature space, k = 10 (Sun et al. 2022, arXiv 2204.06507).

    Scores are in units of `scale`: above 1, an image is farther away than 99 % of the validation galaxies are.

    Attributes:
        features: (n, D) float32 of length one, of the validation galaxies.
        distances: (n,) float32, sorted: of the validation galaxies to their k-th nearest.
        scale: the 99th percentile of the distances.
    """

    features: np.ndarray
    distances: np.ndarray
    scale: float

    def score(self, features: torch.Tensor) -> np.ndarray:
        """Return the scores (B,) float32, from 0, of features (B, D) as the network gives them."""
        reference = torch.from_numpy(self.features).to(features.device)
        return (_kth_distance(_unit(features), reference, min(_NEIGHBOURS, len(reference))) / self.scale).cpu().numpy()

    def percentile(self, scores: np.ndarray) -> np.ndarray:
        """Return the share (B,) float32 of validation galaxies with a lower score, in per cent."""
        lower = np.searchsorted(self.distances / self.scale, scores)
        percent: np.ndarray = (100 * lower / len(self.distances)).astype(np.float32)
        return percent

    @classmethod
    def fit(cls, features: torch.Tensor) -> "KNNDetector | None":
        """Return the detector of the features (n, D) of n validation galaxies; None for fewer than three."""
        if len(features) < 3:
            return None
        features = _unit(features)
        own = _kth_distance(features, features, min(_NEIGHBOURS, len(features) - 1), to_others=True)
        distances = np.sort(own.cpu().numpy())
        return cls(features.cpu().numpy(), distances, max(float(np.quantile(distances, _COMMON)), 1e-6))

    def save(self, path: Path) -> None:
        """Write the detector as an .npz file of plain arrays."""
        with atomic_write(path) as part, part.open("wb") as file:
            np.savez(file, features=self.features, distances=self.distances, scale=np.array(self.scale))

    @classmethod
    def load(cls, path: Path) -> "KNNDetector | None":
        """Return a saved detector; None if there is no such file."""
        if not path.exists():
            return None
        arrays = load_arrays(path)
        if "distances" not in arrays:  # of an older version
            return cls.fit(torch.from_numpy(arrays["features"]))
        return cls(arrays["features"], arrays["distances"], float(arrays["scale"]))


def _unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features.float(), dim=1)


def _kth_distance(first: torch.Tensor, second: torch.Tensor, k: int, to_others: bool = False) -> torch.Tensor:
    """Return the distances (B,) from rows (B, D) to their k-th nearest of (n, D), all of length one.

    Needs memory for 1,024 × n numbers. to_others: both are the same galaxies, and none is its own neighbour.
    """
    nearest = []
    for start in range(0, len(first), _BLOCK):
        squared = (first[start : start + _BLOCK] @ second.T).mul_(-2).add_(2)
        if to_others:
            squared.diagonal(start).fill_(float("inf"))
        nearest.append(squared.kthvalue(k, dim=1).values.clamp_min(0).sqrt())
    return torch.cat(nearest) if nearest else first.new_empty(0)
