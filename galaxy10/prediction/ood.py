"""How unlike anything the network was judged on a picture is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from galaxy10.files import replacing

_NEIGHBOURS = 10
_BLOCK = 1_024  # rows of the table of distances that are in memory at once
_COMMON = 0.99  # share of validation galaxies with a score below 1


@dataclass(frozen=True)
class KNNDetector:
    """Distance to the nearest validation galaxies, in what the network sees (Sun et al. 2022, arXiv 2204.06507).

    features: (n, D) float32 of length one, of the validation galaxies. scale: the distance that 99 of 100 of them stay
    below when each is compared with the others; a score above 1 is stranger than that.
    """

    features: np.ndarray
    scale: float

    def score(self, features: torch.Tensor) -> np.ndarray:
        """(B, D) features as the network gives them → (B,) float32, from 0."""
        reference = torch.from_numpy(self.features).to(features.device)
        return (_kth_distance(_unit(features), reference, min(_NEIGHBOURS, len(reference))) / self.scale).cpu().numpy()

    @classmethod
    def of(cls, features: torch.Tensor) -> "KNNDetector | None":
        """From the features (n, D) of validation galaxies; None for fewer than three."""
        if len(features) < 3:
            return None
        features = _unit(features)
        own = _kth_distance(features, features, min(_NEIGHBOURS, len(features) - 1), to_others=True)
        return cls(features.cpu().numpy(), max(float(torch.quantile(own, _COMMON)), 1e-6))

    def save(self, path: Path) -> None:
        """Write it as plain arrays."""
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, features=self.features, scale=np.array(self.scale))

    @classmethod
    def load(cls, path: Path) -> "KNNDetector | None":
        """What was saved; None where there is nothing."""
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["features"], float(arrays["scale"]))


def _unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features.float(), dim=1)


def _kth_distance(first: torch.Tensor, second: torch.Tensor, k: int, to_others: bool = False) -> torch.Tensor:
    """(B, D), (n, D) of length one → (B,), the distance to the kth nearest; memory for 1,024 × n numbers at a time.

    to_others: both are the same galaxies, and none counts as its own neighbour.
    """
    nearest = []
    for start in range(0, len(first), _BLOCK):
        squared = (first[start : start + _BLOCK] @ second.T).mul_(-2).add_(2)
        if to_others:
            squared.diagonal(start).fill_(float("inf"))
        nearest.append(squared.kthvalue(k, dim=1).values.clamp_min(0).sqrt())
    return torch.cat(nearest) if nearest else first.new_empty(0)


class FeatureHook:
    """Keeps what last went into a network's final linear layer, (B, D); without such a layer, what came out of it."""

    def __init__(self, network: nn.Module, num_classes: int):
        self.features: torch.Tensor | None = None
        layers = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == num_classes]
        if layers:
            layers[-1].register_forward_pre_hook(self._keep_input)
        else:
            network.register_forward_hook(self._keep_output)

    def _keep_input(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.features = inputs[0].detach().flatten(1)

    def _keep_output(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self.features = output.detach().flatten(1)
