"""Principal components and logistic regression: a linear network that scikit-learn fits in one epoch.

The images are read twice, once for the components (IncrementalPCA) and once for the projections on them, in batches:
memory is bounded by the size of a batch, not of the file.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import IncrementalPCA
from torch import nn

from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.loader import GalaxyLoader, SequentialSampler
from galaxy10.data.resampling import repeats_per_row
from galaxy10.data.store import forget_pages
from galaxy10.data.thumbnails import save_arrays, thumbnails
from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write
from galaxy10.models.logistic import fit_logistic, moments
from galaxy10.models.solved_once import SolvedOnce
from galaxy10.runs.files import RunFiles

logger = logging.getLogger(__name__)

# Galaxies per step of IncrementalPCA, as a multiple of its components: more cost memory and time in each step; fewer
# make the components less exact.
STEP_PER_COMPONENT = 2
MIN_STEP = 64
COMPONENTS_SHOWN = 20


@dataclass(frozen=True)
class Components:
    """mean (D,), components (K, D) and explained_variance_ratio (K,) float32 of images (3, S, S), D = 3·S·S."""

    mean: np.ndarray
    components: np.ndarray
    explained_variance_ratio: np.ndarray


class PCALinear(nn.Module):
    """A network (B, 3, S, S) → (B, C): projection on K components, standardisation, then a linear layer."""

    def __init__(self, num_pixels: int, num_components: int, num_classes: int):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(num_pixels))
        self.components = nn.Parameter(torch.zeros(num_components, num_pixels))
        self.projection_mean = nn.Parameter(torch.zeros(num_components))
        self.projection_std = nn.Parameter(torch.ones(num_components))
        self.linear = nn.Linear(num_components, num_classes)

    def project(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the projections (B, K) of inputs (B, 3, S, S) on the components."""
        return (inputs.flatten(1) - self.mean) @ self.components.T

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits (B, C) of normalised inputs (B, 3, S, S)."""
        logits: torch.Tensor = self.linear((self.project(inputs) - self.projection_mean) / self.projection_std)
        return logits


class PCAClassifier(SolvedOnce):
    """Principal components of the normalised pixels, and logistic regression on the projections.

    Rank 0 fits both at the start of the first epoch; the epoch's batches then only measure the result, and training
    ends. The repeats of an image under `data.balance` become its weight in the regression.

    Args:
        image_size: px, the side of the input.
        num_components: components given to the regression.
        scree_components: components computed for the scree plot.
        components_from: `train`, or `each_subset`, which decomposes validation and test images separately before they
            are classified: a common mistake, kept because only it explains the baseline's numbers
            (docs/pca_baseline.md).
        standardize: whether projections are centred and scaled.
        C, max_iter: as in sklearn.linear_model.LogisticRegression.
        others: arguments of Classifier.
    """

    init_description = "principal components of the training images"

    def __init__(
        self,
        *,
        image_size: int,
        num_components: int = 20,
        scree_components: int = 100,
        components_from: str = "train",
        standardize: bool = True,
        C: float = 1.0,
        max_iter: int = 1000,
        **others: Any,
    ):
        if C is None:
            raise Galaxy10Error("model.C=null: this model chooses none itself; type model.C=1.0")
        super().__init__(**others)
        self.num_components, self.scree_components = num_components, scree_components
        self.standardize, self.C, self.max_iter = standardize, C, max_iter
        self.evaluates_saved_weights = components_from == "train"
        self.automatic_optimization = False
        self._training: Components | None = None  # of the training images, while those of another subset are in use
        self.set_network(PCALinear(3 * image_size**2, num_components, self.num_classes), head=[])

    def solved(self) -> list[nn.Parameter]:
        """Return all parameters."""
        return list(self.network.parameters())

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return probabilities (B, C), computed in float32 at any precision of the run."""
        with torch.autocast(inputs.device.type, enabled=False):
            return super().probabilities(inputs.float())

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> dict[str, torch.Tensor]:
        """Return the loss and logits of one batch; no weight changes."""
        self.optimizers().step()  # type: ignore[union-attr]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            loss, logits = self.loss(batch["inputs"].float(), batch["labels"])
        return {"loss": loss, "logits": logits}

    def solve_and_write(self, data: GalaxyData, rows: np.ndarray, labels: np.ndarray) -> None:
        """Fit components and regression, and write the components."""
        start = time.perf_counter()
        device = self.device
        self.network.cpu()
        found, converged = self.fit(data, rows, labels)
        self.network.to(device)
        seconds = time.perf_counter() - start
        logger.info(f"fitted  {len(found.components)} components of {len(rows)} images in {seconds:.1f} s")
        if self.num_components > len(found.components):
            logger.info(f"        model.num_components={self.num_components}, but there are no more")
        if not converged:
            logger.info(f"        the regression did not converge within model.max_iter={self.max_iter}")
        write_components(found, self, RunFiles(Path(self.trainer.default_root_dir)))

    @torch.no_grad()
    def fit(self, data: GalaxyData, rows: np.ndarray, labels: np.ndarray) -> tuple[Components, bool]:
        """Fit components and regression to training images; return the components, and whether it converged.

        n images give at most n components.

        Args:
            rows, labels: (n,) of the store, in any order.
        """
        most = min(len(rows), len(self.network.mean))
        found = self._decompose(data, rows, min(max(self.num_components, self.scree_components), most))
        self._use(found)
        projections = np.concatenate([self.network.project(x).numpy() for x in self._inputs(data, rows)])
        return found, self._regress(projections, labels, repeats_per_row(labels, data.balance), data.balance)

    def _regress(self, projections: np.ndarray, labels: np.ndarray, weight: np.ndarray | None, balance: str) -> bool:
        """Fit the regression of projections (n, K) to labels (n,) into the network; return whether it converged."""
        if self.standardize:
            mean, std = moments(projections)
            self.network.projection_mean.copy_(torch.from_numpy(mean))
            self.network.projection_std.copy_(torch.from_numpy(std))
            projections = (projections - mean) / std
        found = fit_logistic(
            projections,
            labels,
            self.num_classes,
            C=self.C,
            max_iter=self.max_iter,
            weight=weight,
            balanced=balance == "weighted",
        )
        found.copy_to(self.network.linear)
        return found.converged

    def _decompose(self, data: GalaxyData, rows: np.ndarray, num_components: int) -> Components:
        """Return the leading principal components of galaxies, computed in steps of a few hundred galaxies."""
        # In random order, so that every step has all classes of a file sorted by class; in the same order for every
        # seed, so that components_from=each_subset gives the same numbers in evaluation as in training.
        rows = np.random.default_rng(0).permutation(rows)
        pca = IncrementalPCA(num_components, copy=False)
        steps = max(1, len(rows) // max(MIN_STEP, STEP_PER_COMPONENT * num_components))
        for inputs in self._inputs(data, rows, -(-len(rows) // steps)):
            pca.partial_fit(inputs.flatten(1).numpy())
        arrays = (pca.mean_, pca.components_, pca.explained_variance_ratio_)
        return Components(*(np.asarray(array, dtype=np.float32) for array in arrays))

    def _inputs(self, data: GalaxyData, rows: np.ndarray, batch_size: int = 128) -> Iterator[torch.Tensor]:
        """Yield rows of the store as inputs of this model, (b, 3, S, S) at a time."""
        assert self.preprocessing is not None
        for batch in GalaxyLoader(
            data.store.images, rows, np.zeros_like(rows), SequentialSampler(len(rows), batch_size)
        ):
            yield self.preprocessing.eval_transform(batch["images"])
            forget_pages(data.store.images)

    def _use(self, found: Components) -> None:
        """Put components into the network; if there are too few, the projections on the rest are zero."""
        self.network.mean.copy_(torch.from_numpy(found.mean))
        self.network.components.zero_()
        kept = found.components[: len(self.network.components)]
        self.network.components[: len(kept)] = torch.from_numpy(kept)

    # --- components_from=each_subset -------------------------------------------------------------------------------

    @torch.no_grad()
    def _adapt(self, subset: str) -> None:
        """Replace the components of the training images by those of a subset."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        rows = data.split.rows(subset)
        if self.evaluates_saved_weights or not len(rows):
            return
        network, device = self.network, self.device
        mean, components = (tensor.detach().cpu().numpy().copy() for tensor in (network.mean, network.components))
        self._training = Components(mean, components, np.empty(0))
        network.cpu()
        self._use(self._decompose(data, rows, min(len(network.components), len(rows))))
        network.to(device)

    @torch.no_grad()
    def _restore(self) -> None:
        if self._training is not None:
            self.network.mean.copy_(torch.from_numpy(self._training.mean))
            self.network.components.copy_(torch.from_numpy(self._training.components))
            self._training = None

    def on_validation_start(self) -> None:
        """Use the components of the validation images with components_from=each_subset."""
        self._adapt("val")

    def on_test_start(self) -> None:
        """Use the components of the test images with components_from=each_subset."""
        self._adapt("test")

    def on_validation_end(self) -> None:
        """Restore the components of the training images."""
        self._restore()

    def on_test_end(self) -> None:
        """Restore the components of the training images."""
        self._restore()


def write_components(found: Components, module: PCAClassifier, files: RunFiles) -> None:
    """Write scree.csv, images of the leading components, and pca.npz into a run directory.

    In the images grey is zero, and each component is scaled to its largest value. pca.npz needs only numpy to read.
    """
    shares = found.explained_variance_ratio
    scree = pd.DataFrame({"component": np.arange(1, len(shares) + 1), "explained_variance_ratio": shares})
    with atomic_write(files.scree) as part:
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
