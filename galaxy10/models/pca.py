"""Principal components and logistic regression, as one linear network that is solved instead of trained.

scikit-learn does the mathematics. Memory is bounded by the size of a batch, not of the file: the images pass by
twice, once for the components (IncrementalPCA) and once for the galaxies' scores on them.
"""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import IncrementalPCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.loader import GalaxyLoader, SequentialSampler
from galaxy10.data.resampling import showings_per_row
from galaxy10.data.store import forget_pages
from galaxy10.models.classifier import Classifier

# Galaxies of one step of IncrementalPCA, as a multiple of its components: with more, each step's decomposition costs
# more memory and time; with fewer, the components come out less exact.
STEP_PER_COMPONENT = 2
LEAST_STEP = 64
_NEVER = -1e4  # the logit of a class without training galaxies


@dataclass(frozen=True)
class Components:
    """mean (D,), components (K, D), explained_variance_ratio (K,), all float32, of images (S, S, 3) as D = 3·S·S."""

    mean: np.ndarray
    components: np.ndarray
    explained_variance_ratio: np.ndarray


class LinearScores(nn.Module):
    """(B, 3, S, S) → (B, C): scores on K components, shifted and scaled, then a linear layer."""

    def __init__(self, num_pixels: int, num_components: int, num_classes: int):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(num_pixels))
        self.components = nn.Parameter(torch.zeros(num_components, num_pixels))
        self.score_mean = nn.Parameter(torch.zeros(num_components))
        self.score_std = nn.Parameter(torch.ones(num_components))
        self.linear = nn.Linear(num_components, num_classes)

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) → (B, K) scores on the components."""
        return (inputs.flatten(1) - self.mean) @ self.components.T

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised inputs → (B, C) logits."""
        return self.linear((self.scores(inputs) - self.score_mean) / self.score_std)


class PCAClassifier(Classifier):
    """num_components principal components of the normalised pixels, and logistic regression on the scores.

    recipe["components_from"] = each_subset decomposes validation and test galaxies anew before judging them: a common
    mistake, kept because it alone explains the study's numbers (docs/pca_baseline.md).
    """

    def __init__(self, recipe: dict[str, Any], *args: Any, **kwargs: Any):
        super().__init__(recipe, *args, **kwargs)
        num_pixels = 3 * self.preprocessing.image_size**2
        self.network = LinearScores(num_pixels, int(recipe["num_components"]), self.num_classes)
        self.data_seconds = 0.0  # spent on reading and resizing while solving

    @torch.no_grad()
    def solve(self, data: GalaxyData, rows: np.ndarray, labels: np.ndarray) -> tuple[Components, bool]:
        """Fit everything to some training galaxies; all components found, and whether the regression converged.

        Balancing gives a galaxy as much weight in the regression as an epoch would give it showings.

        rows, labels: (n,) of the store, in any order. Fewer galaxies than components give as many as they can.
        """
        wanted = int(self.recipe["num_components"])
        most = min(len(rows), len(self.network.mean))
        found = self._decompose(data, rows, min(max(wanted, int(self.recipe["scree_components"])), most))
        self._use(found)
        scores = np.concatenate([self.network.scores(x).numpy() for x in self._inputs(data, rows)])
        return found, self._regress(scores, labels, showings_per_row(labels, data.balance), data.balance)

    def _regress(self, scores: np.ndarray, labels: np.ndarray, weight: np.ndarray | None, balance: str) -> bool:
        """Logistic regression from scores (n, K) to labels (n,), put into the network; whether it converged."""
        if self.recipe["standardize"]:
            self.network.score_mean.copy_(torch.from_numpy(scores.mean(axis=0)))
            self.network.score_std.copy_(torch.from_numpy(np.maximum(scores.std(axis=0), 1e-6)))
            scores = (scores - scores.mean(axis=0)) / np.maximum(scores.std(axis=0), 1e-6)
        regression = LogisticRegression(
            C=self.recipe["C"],
            max_iter=self.recipe["max_iterations"],
            class_weight="balanced" if balance == "weighted" else None,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            regression.fit(scores, labels, sample_weight=weight)
        coefficients, intercept = regression.coef_, regression.intercept_
        if len(regression.classes_) == 2:  # scikit-learn then gives the second class's logit alone
            coefficients, intercept = np.vstack([-coefficients, coefficients]) / 2, np.r_[-intercept, intercept] / 2
        self.network.linear.weight.zero_()
        self.network.linear.bias.fill_(_NEVER)
        self.network.linear.weight[regression.classes_] = torch.from_numpy(coefficients).float()
        self.network.linear.bias[regression.classes_] = torch.from_numpy(intercept).float()
        return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)

    def _decompose(self, data: GalaxyData, rows: np.ndarray, num_components: int) -> Components:
        """The leading principal components of some galaxies, in steps of a few hundred of them."""
        # In random order, so that every step sees all classes of a file that is sorted by them; the same order
        # whatever the seed, so that components_from=each_subset gives the same numbers in evaluation as in training.
        rows = np.random.default_rng(0).permutation(rows)
        pca = IncrementalPCA(num_components, copy=False)
        steps = max(1, len(rows) // max(LEAST_STEP, STEP_PER_COMPONENT * num_components))
        for inputs in self._inputs(data, rows, -(-len(rows) // steps)):
            pca.partial_fit(inputs.flatten(1).numpy())
        arrays = (pca.mean_, pca.components_, pca.explained_variance_ratio_)
        return Components(*(np.asarray(array, dtype=np.float32) for array in arrays))

    def _inputs(self, data: GalaxyData, rows: np.ndarray, batch_size: int = 128) -> Iterator[torch.Tensor]:
        """Rows of the store as this model's input, (b, 3, S, S) at a time."""
        sampler = SequentialSampler(len(rows), batch_size)
        start = time.perf_counter()
        for batch in GalaxyLoader(data.store.images, rows, np.zeros_like(rows), sampler):
            inputs = self.preprocessing.eval_transform(batch["images"])
            forget_pages(data.store.images)
            self.data_seconds += time.perf_counter() - start
            yield inputs
            start = time.perf_counter()

    def _use(self, found: Components) -> None:
        """Put components into the network; where there are fewer than it has room for, the rest scores zero."""
        self.network.mean.copy_(torch.from_numpy(found.mean))
        self.network.components.zero_()
        kept = found.components[: len(self.network.components)]
        self.network.components[: len(kept)] = torch.from_numpy(kept)

    # --- the study's way: new components for the galaxies that are judged ------------------------------------------

    @torch.no_grad()
    def adapt(self, data: Any, subset: str) -> None:
        """Before a subset is judged: with components_from=each_subset, the components of that subset."""
        if self.recipe["components_from"] == "each_subset":
            rows = data.split.rows(subset)
            self._use(self._decompose(data, rows, min(len(self.network.components), len(rows))))

    def on_validation_start(self) -> None:
        """Lightning's hook."""
        self.adapt(self.trainer.datamodule, "val")  # type: ignore[attr-defined]

    def on_test_start(self) -> None:
        """Lightning's hook."""
        self.adapt(self.trainer.datamodule, "test")  # type: ignore[attr-defined]

    def on_validation_batch_end(self, *_: Any) -> None:
        """Lightning's hook."""
        forget_pages(self.trainer.datamodule.store.images)  # type: ignore[attr-defined]

    def on_test_batch_end(self, *_: Any) -> None:
        """Lightning's hook."""
        forget_pages(self.trainer.datamodule.store.images)  # type: ignore[attr-defined]
