"""A linear probe: a frozen pretrained network, and logistic regression on its features, solved in one epoch.

The features of all images are computed once and kept beside the store (galaxy10.models.feature_cache), so that every
further run on them takes seconds.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from torch import nn

from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.dihedral import tta_views
from galaxy10.data.resampling import repeats_per_row
from galaxy10.errors import Galaxy10Error, TrainingError
from galaxy10.files import atomic_write
from galaxy10.models.feature_cache import cached_features, features_files
from galaxy10.models.features import FeatureHook
from galaxy10.models.logistic import Logistic, fit_logistic, moments
from galaxy10.models.solved_once import SolvedOnce
from galaxy10.models.timm_classifier import TimmClassifier
from galaxy10.runs.files import RunFiles
from galaxy10.runs.signals import Interrupted

logger = logging.getLogger(__name__)

# The values of C that are tried, from the strongest penalty on.
GRID = tuple(float(f"{10 ** (k / 2):.1e}") for k in range(-10, 1))
_WORSE_IN_A_ROW = 2  # values after the best one, then the rest of the grid is left out


class LinearProbe(TimmClassifier, SolvedOnce):
    """A timm network whose final linear layer is a logistic regression on the standardised features before it.

    Rank 0 solves it at the start of the first epoch (L-BFGS, scikit-learn); the epoch's batches then only measure the
    result, and training ends. The standardisation is folded into the layer, so that the checkpoint is that of any
    timm network. The repeats of an image under `data.balance` become its weight in the regression. Features of an image
    change with its orientation, so that train_views=8 (with tta_views=8) is much better, at eight times the cost.

    Args:
        backbone: timm's name, with or without the tag of its weights.
        C: inverse strength of the L2 penalty, as in sklearn.linear_model.LogisticRegression; None: of GRID, the one
            with the lowest loss on the validation images.
        max_iter: as in sklearn.linear_model.LogisticRegression.
        train_views: flips and quarter turns of each training image that the regression is fitted to: 1, 2, 4 or 8.
        freeze: backbone.
        others: arguments of Classifier.

    Raises:
        Galaxy10Error: the network's classifier is no linear layer, or freeze is not backbone.
    """

    def __init__(
        self,
        backbone: str,
        *,
        C: float | None = None,
        max_iter: int = 1000,
        train_views: int = 1,
        freeze: str = "backbone",
        **others: Any,
    ):
        if freeze != "backbone":
            raise Galaxy10Error(
                f"model.freeze={freeze}: a linear probe trains only its last layer; type model.freeze=backbone, or "
                f"model=timm model.backbone={backbone} to train the whole network"
            )
        super().__init__(backbone, freeze=freeze, **others)
        if not (len(self.head) == 1 and isinstance(self.head[0], nn.Linear)):
            raise Galaxy10Error(f"model.backbone={backbone} does not end in one linear layer; name another backbone")
        self.C, self.max_iter, self.train_views = C, max_iter, train_views
        self.automatic_optimization = False
        self._features: list[np.ndarray] = []  # (N, D) for each view, of the file that was trained on
        self._features_of = ""  # its content

    @property
    def classifier(self) -> nn.Linear:
        """Return the final linear layer."""
        layer = self.head[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def compile_network(self) -> None:
        """Refuse: the network sees each image once.

        Raises:
            Galaxy10Error: always.
        """
        raise Galaxy10Error("trainer.compile=true gains nothing in a linear probe; type trainer.compile=false")

    def solved(self) -> list[nn.Parameter]:
        """Return the parameters of the final linear layer."""
        return list(self.classifier.parameters())

    def on_train_epoch_start(self) -> None:
        """Solve on rank 0, broadcast, and read the features on the other ranks."""
        super().on_train_epoch_start()
        if self.current_epoch == 0 and not self.trainer.is_global_zero:
            self.read_features(self.trainer.datamodule)  # type: ignore[attr-defined]

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> dict[str, torch.Tensor]:
        """Return the loss and logits of one batch; no weight changes."""
        self.optimizers().step()  # type: ignore[union-attr]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            known = self._known_logits(batch, 1)
            logits = known[0] if known else self._logits(batch["inputs"].float())
            return {"loss": self.criterion(logits, batch["labels"]), "logits": logits}

    def batch_probabilities(self, batch: dict[str, torch.Tensor], views: int) -> torch.Tensor:
        """Return probabilities (B, C) of a batch, averaged over views; from kept features if there are so many."""
        with torch.autocast(self.device.type, enabled=False):
            known = self._known_logits(batch, views)
            if not known:
                return super().batch_probabilities(batch, views)
            return torch.stack([logits.softmax(dim=1) for logits in known]).mean(dim=0)

    def _known_logits(self, batch: dict[str, torch.Tensor], views: int) -> list[torch.Tensor]:
        """Return the logits (B, C) of each view of a batch by its rows; none if the features are not at hand."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if views > len(self._features) or not isinstance(data, GalaxyData) or data.store.content != self._features_of:
            return []
        rows = batch["rows"].cpu().numpy()
        of_views = [torch.from_numpy(features[rows]).to(self.device) for features in self._features[:views]]
        return [self.classifier(features).float() for features in of_views]

    # --- features and regression -----------------------------------------------------------------------------------

    @torch.inference_mode()
    def read_features(self, data: GalaxyData) -> list[np.ndarray]:
        """Return the features (N, D) float32 of all images of the file for each view; compute those not kept yet.

        Raises:
            Galaxy10Error: they cannot be kept beside the store, or the network does not use its final layer.
        """
        preprocessing = self.known_preprocessing
        paths = features_files(data.store, preprocessing, self.network, self.head, self.train_views)
        hook, mode = FeatureHook(self.network, self.num_classes), self.training
        self.eval()

        def compute(images: torch.Tensor, view: int) -> torch.Tensor:
            self._stop_if_signalled()
            with torch.autocast(self.device.type, enabled=False):
                inputs = tta_views(preprocessing.eval_transform(images.to(self.device)), self.train_views)[view]
                self._logits(inputs.to(memory_format=torch.channels_last))
            if hook.features is None or hook.features.shape[1] != self.classifier.in_features:
                raise TrainingError("the network does not use its final linear layer once per image; name another")
            return hook.features

        try:
            self._features = [
                cached_features(path, data.store, partial(compute, view=view)) for view, path in enumerate(paths)
            ]
        finally:
            hook.remove()
            self.train(mode)
        self._features_of = data.store.content
        return self._features

    def _stop_if_signalled(self) -> None:
        """Stop between two batches of features; the parts that are complete are kept.

        Raises:
            Interrupted: a callback has received a signal, and no other process waits for this one.
        """
        trainer: Any = self._trainer
        for callback in trainer.callbacks if trainer is not None and trainer.world_size == 1 else []:
            number = getattr(callback, "signal_number", None)
            if number is not None:
                raise Interrupted(number)

    def solve(
        self, features: Sequence[np.ndarray], data: GalaxyData, rows: np.ndarray, labels: np.ndarray
    ) -> pd.DataFrame:
        """Solve the regression into the network; return a table of the C tried: C, val_loss, converged, chosen.

        Args:
            features: (N, D) of all images of the file, for each view.
            rows, labels: (n,) training images.
        """
        mean, std = joint_moments([moments(np.asarray(of_view[rows], np.float64)) for of_view in features])
        train = standardised([of_view[rows] for of_view in features], mean, std)
        val_rows, val_labels = data.split.rows("val"), data.labels("val")
        averaged = self.tta_views if self.tta_views <= len(features) else 1
        val = [standardised([of_view[val_rows]], mean, std) for of_view in features[:averaged]]
        repeats, balanced = repeats_per_row(labels, data.balance), data.balance == "weighted"
        weight = None if repeats is None else np.tile(repeats, len(features)) / len(features)
        if weight is None and len(features) > 1:
            weight = np.full(len(train), 1 / len(features))
        labels = np.tile(labels, len(features))
        tried, best = [], (np.inf, Logistic(np.empty(0), np.empty(0), True))
        for C in self._candidates(len(val_rows)):
            found = fit_logistic(
                train, labels, self.num_classes, C=C, max_iter=self.max_iter, weight=weight, balanced=balanced
            )
            loss = _loss([found.logits(of_view) for of_view in val], val_labels)
            tried.append({"C": C, "val_loss": loss, "converged": found.converged})
            if loss < best[0]:
                best = (loss, found)
            elif all(line["val_loss"] > best[0] for line in tried[-_WORSE_IN_A_ROW:]):
                break
        best[1].unscaled(mean, std).copy_to(self.classifier)
        table = pd.DataFrame(tried)
        return table.assign(chosen=table["val_loss"] == best[0])

    def _candidates(self, num_val: int) -> Iterator[float]:
        if self.C is not None:
            yield self.C
        elif num_val:
            yield from GRID
        else:
            raise TrainingError("there are no validation images to choose model.C on; type model.C=0.001")

    def solve_and_write(self, data: GalaxyData, rows: np.ndarray, labels: np.ndarray) -> None:
        """Compute or read the features, solve the regression, and write which C were tried."""
        self.read_features(data)
        views = f" and each of {self.train_views} views" if self.train_views > 1 else ""
        logger.info(f"features {self.classifier.in_features} of each image{views}, kept beside {data.store.path}")
        start = time.perf_counter()
        table = self.solve(self._features, data, rows, labels)
        found = table[table["chosen"]].iloc[0]
        seconds = time.perf_counter() - start
        logger.info(f"solved  C={found['C']:g} of {len(table)} tried, {len(rows)} images in {seconds:.1f} s")
        if not found["converged"]:
            logger.info(f"        the regression did not converge within model.max_iter={self.max_iter}")
        with atomic_write(RunFiles(Path(self.trainer.default_root_dir)).regularization) as part:
            table.to_csv(part, index=False)


def joint_moments(of_views: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (D,) of several sets of equal size from those of each."""
    means, stds = (np.stack(part) for part in zip(*of_views, strict=True))
    mean = means.mean(axis=0)
    return mean, np.sqrt((stds**2 + (means - mean) ** 2).mean(axis=0))


def standardised(of_views: Sequence[np.ndarray], mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return (features − mean) / std of several views, one after another, as float32: half the memory."""
    return np.concatenate([((of_view - mean) / std).astype(np.float32) for of_view in of_views])


def _loss(logits: Sequence[np.ndarray], labels: np.ndarray) -> float:
    """Return the negative log-likelihood of labels (n,) under the mean over views of logits (n, C); 0 without any."""
    if not len(labels):
        return 0.0
    probabilities = np.mean([softmax(of_view, axis=1) for of_view in logits], axis=0)
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-30)).mean())
