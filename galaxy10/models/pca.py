"""Principal components and logistic regression: one linear network, solved in one epoch instead of trained.

scikit-learn does the mathematics. Memory is bounded by the size of a batch, not of the file: the images pass by
twice, once for the components (IncrementalPCA) and once for the galaxies' scores on them.
"""

import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import IncrementalPCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.loader import GalaxyLoader, SequentialSampler
from galaxy10.data.resampling import showings_per_row
from galaxy10.data.store import forget_pages
from galaxy10.data.thumbnails import save_arrays, thumbnails
from galaxy10.errors import TrainingError
from galaxy10.files import replacing
from galaxy10.models.classifier import Classifier
from galaxy10.runs.files import RunFiles

logger = logging.getLogger(__name__)

# Galaxies of one step of IncrementalPCA, as a multiple of its components: with more, each step's decomposition costs
# more memory and time; with fewer, the components come out less exact.
STEP_PER_COMPONENT = 2
LEAST_STEP = 64
COMPONENTS_SHOWN = 20
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

    Solved by the first process at the start of the first epoch; the epoch's batches then measure what was found, and
    training ends. Balancing gives an image as much weight in the regression as an epoch would give it repeats.

    Args:
        image_size: px, the side of the input.
        num_components: given to the regression. scree_components: computed for the scree plot.
        components_from: `train`, or `each_subset`, which decomposes validation and test images anew before they are
            classified: a common mistake, kept because it alone explains the baseline's numbers (docs/pca_baseline.md).
        standardize: whether scores are centred and scaled. C, max_iterations: scikit-learn's.
        others: as Classifier's.
    """

    initialisation = "principal components of the training images"

    def __init__(
        self,
        *,
        image_size: int,
        num_components: int = 20,
        scree_components: int = 100,
        components_from: str = "train",
        standardize: bool = True,
        C: float = 1.0,
        max_iterations: int = 1000,
        **others: Any,
    ):
        super().__init__(**others)
        self.num_components, self.scree_components = num_components, scree_components
        self.standardize, self.C, self.max_iterations = standardize, C, max_iterations
        self.scores_as_it_predicts = components_from == "train"
        self.automatic_optimization = False
        self._own: Components | None = None  # those of the training images, while another subset's are in use
        self.set_network(LinearScores(3 * image_size**2, num_components, self.num_classes), head=[])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer that counts steps and moves nothing."""
        return torch.optim.SGD([self.network.linear.bias], lr=0.0)

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return float32 probabilities (B, C), computed in float32 whatever the run's precision."""
        with torch.autocast(inputs.device.type, enabled=False):
            return super().probabilities(inputs.float())

    def on_train_epoch_start(self) -> None:
        """Solve, in the first process; the others receive its weights."""
        if self.current_epoch > 0:
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, GalaxyData):
            raise TrainingError(f"{type(self).__name__} reads its images from galaxy10.data.GalaxyData's store alone")
        if self.trainer.is_global_zero:
            self._solve_and_show(data)
        if self.trainer.world_size > 1:
            for parameter in self.network.parameters():
                torch.distributed.broadcast(parameter.data, src=0)

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> dict[str, torch.Tensor]:
        """Return loss and logits of one batch."""
        self.optimizers().step()  # type: ignore[union-attr]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            loss, logits = self.loss(batch["inputs"].float(), batch["labels"])
        return {"loss": loss, "logits": logits}

    def on_train_epoch_end(self) -> None:
        """End after the first epoch."""
        self.trainer.should_stop = True

    def _solve_and_show(self, data: GalaxyData) -> None:
        rows, labels = data.split.rows("train"), data.labels("train")
        limit = training_limit(
            self.trainer.num_training_batches, len(data.loaders["train"]), data.batch_size, len(rows)
        )
        if limit < len(rows):
            chosen = np.sort(np.random.default_rng(data.seed).permutation(len(rows))[:limit])
            rows, labels = rows[chosen], labels[chosen]
        start = time.perf_counter()
        device = self.device
        self.network.cpu()
        found, converged = self.solve(data, rows, labels)
        self.network.to(device)
        seconds = time.perf_counter() - start
        logger.info(f"solved  {len(found.components)} components of {len(rows)} images in {seconds:.1f} s")
        if self.num_components > len(found.components):
            logger.info(f"        model.num_components={self.num_components}, but that is all there are")
        if not converged:
            logger.info(f"        the regression was stopped after model.max_iterations={self.max_iterations}")
        write_components(found, self, RunFiles(Path(self.trainer.default_root_dir)))

    @torch.no_grad()
    def solve(self, data: GalaxyData, rows: np.ndarray, labels: np.ndarray) -> tuple[Components, bool]:
        """Fit everything to some training images; all components found, and whether the regression converged.

        rows, labels: (n,) of the store, in any order. Fewer images than components give as many as they can.
        """
        most = min(len(rows), len(self.network.mean))
        found = self._decompose(data, rows, min(max(self.num_components, self.scree_components), most))
        self._use(found)
        scores = np.concatenate([self.network.scores(x).numpy() for x in self._inputs(data, rows)])
        return found, self._regress(scores, labels, showings_per_row(labels, data.balance), data.balance)

    def _regress(self, scores: np.ndarray, labels: np.ndarray, weight: np.ndarray | None, balance: str) -> bool:
        """Logistic regression from scores (n, K) to labels (n,), put into the network; whether it converged."""
        if self.standardize:
            self.network.score_mean.copy_(torch.from_numpy(scores.mean(axis=0)))
            self.network.score_std.copy_(torch.from_numpy(np.maximum(scores.std(axis=0), 1e-6)))
            scores = (scores - scores.mean(axis=0)) / np.maximum(scores.std(axis=0), 1e-6)
        regression = LogisticRegression(
            C=self.C,
            max_iter=self.max_iterations,
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
        assert self.preprocessing is not None
        for batch in GalaxyLoader(
            data.store.images, rows, np.zeros_like(rows), SequentialSampler(len(rows), batch_size)
        ):
            yield self.preprocessing.eval_transform(batch["images"])
            forget_pages(data.store.images)

    def _use(self, found: Components) -> None:
        """Put components into the network; where there are fewer than it has room for, the rest scores zero."""
        self.network.mean.copy_(torch.from_numpy(found.mean))
        self.network.components.zero_()
        kept = found.components[: len(self.network.components)]
        self.network.components[: len(kept)] = torch.from_numpy(kept)

    # --- components_from=each_subset -------------------------------------------------------------------------------

    @torch.no_grad()
    def _adapt(self, subset: str) -> None:
        """Take a subset's own components instead of those of the training images."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        rows = data.split.rows(subset)
        if self.scores_as_it_predicts or not len(rows):
            return
        network, device = self.network, self.device
        mean, components = (tensor.detach().cpu().numpy().copy() for tensor in (network.mean, network.components))
        self._own = Components(mean, components, np.empty(0))
        network.cpu()
        self._use(self._decompose(data, rows, min(len(network.components), len(rows))))
        network.to(device)

    @torch.no_grad()
    def _restore(self) -> None:
        if self._own is not None:
            self.network.mean.copy_(torch.from_numpy(self._own.mean))
            self.network.components.copy_(torch.from_numpy(self._own.components))
            self._own = None

    def on_validation_start(self) -> None:
        """Take the validation images' own components, if asked for."""
        self._adapt("val")

    def on_test_start(self) -> None:
        """Take the test images' own components, if asked for."""
        self._adapt("test")

    def on_validation_end(self) -> None:
        """Take back those of the training images."""
        self._restore()

    def on_test_end(self) -> None:
        """Take back those of the training images."""
        self._restore()


def training_limit(batches: float, all_batches: int, batch_size: int, num_rows: int) -> int:
    """Return how many training images Lightning's limits leave: 1 to num_rows.

    batches: how many Lightning makes of all_batches, which leave out what does not fill one.
    """
    return num_rows if batches >= all_batches else max(1, min(num_rows, int(batches * batch_size)))


def write_components(found: Components, module: PCAClassifier, files: RunFiles) -> None:
    """Write scree.csv, the leading components as images (grey is zero, each stretched to its own largest value), and
    pca.npz for those who have numpy alone, into a run directory."""
    shares = found.explained_variance_ratio
    scree = pd.DataFrame({"component": np.arange(1, len(shares) + 1), "explained_variance_ratio": shares})
    with replacing(files.scree) as part:
        scree.to_csv(part, index=False)
    preprocessing = module.preprocessing
    assert preprocessing is not None
    size = preprocessing.image_size
    shown = found.components[: min(COMPONENTS_SHOWN, module.num_components)]
    images = shown.reshape(-1, 3, size, size).transpose(0, 2, 3, 1)
    largest = np.abs(images).max(axis=(1, 2, 3), keepdims=True)
    images = (127.5 + 127.5 * images / np.maximum(largest, 1e-12)).round().astype(np.uint8)
    save_arrays(
        files.samples("components"),
        images=thumbnails(images),
        explained_variance_ratio=shares[: len(images)].astype(np.float64),
    )
    network = {name.replace(".", "_"): tensor.cpu().numpy() for name, tensor in module.network.state_dict().items()}
    save_arrays(
        files.pca_arrays,
        **network,
        class_names=np.array(module.class_names),
        image_size=np.array(size),
        pixel_mean=np.array(preprocessing.mean),
        pixel_std=np.array(preprocessing.std),
    )
