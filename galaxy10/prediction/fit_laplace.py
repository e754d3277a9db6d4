"""Fit the Laplace approximation of a run's last layer to the features of its training galaxies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from torch import nn

from galaxy10.data.store import Store, forget_pages
from galaxy10.errors import Galaxy10Error
from galaxy10.models.classifier import Classifier
from galaxy10.models.factory import load_classifier
from galaxy10.models.feature_cache import cached_features, features_files
from galaxy10.models.features import FeatureHook, linear_head
from galaxy10.prediction.calibration import calibrate
from galaxy10.prediction.device import choose_device
from galaxy10.prediction.head_samples import layer_weights, with_ones
from galaxy10.prediction.laplace import LastLayerLaplace, has_laplace, save_laplace
from galaxy10.prediction.run_store import run_store
from galaxy10.progress import progress
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import check_run

BATCH_SIZE = 64
PRECISIONS = tuple(round(10 ** (half / 2), 3) for half in range(-2, 11))  # 0.1 to 100,000
_SAMPLES = 20  # of the weights, for each precision


def fit_laplace(run: Path, device: str = "auto") -> None:
    """Fit the approximation and keep it in the run directory; do nothing if it is there for the present weights.

    Every training galaxy counts once, as it is in the file: without augmentation, repeats or class weights. The prior
    precision is chosen on the validation galaxies (choose_precision).

    Raises:
        Galaxy10Error: the network does not end in a linear layer, or the training file is gone or has changed.
    """
    about = check_run(run)
    if has_laplace(run):
        return
    module = load_classifier(RunFiles(run).best).to(choose_device(device))
    layer = head_of_run(run, module)
    store, split = run_store(run, about)
    train, val = (split[split["subset"] == subset].sort_values("row") for subset in ("train", "val"))
    if not (len(train) and len(val)):
        raise Galaxy10Error(
            f"{run} has no training or no validation galaxies to fit --laplace to; train with a split that has both"
        )
    rows = np.concatenate([train["row"], val["row"]]).astype(np.int64)
    features = with_ones(_features(module, layer, store, rows), layer)
    weights, num_train = layer_weights(layer), len(train)
    found = LastLayerLaplace.fit(weights, features[:num_train], PRECISIONS[0])
    precision = choose_precision(found, weights, features[num_train:], val["label"].to_numpy(np.int64))
    save_laplace(run, replace(found, precision=precision))


def choose_precision(found: LastLayerLaplace, weights: np.ndarray, features: np.ndarray, labels: np.ndarray) -> float:
    """Return the prior precision of PRECISIONS with the lowest loss on validation galaxies, each with its temperature.

    The loss is the cross-entropy of the mean over 20 samples, as `predict` gives it: with the temperature that suits
    these samples. Without it, the precision would make up for a network that is too confident or not confident enough.
    Of equal losses, the highest precision. Daxberger et al. (2021, arXiv 2106.14806, section 3) compare this with the
    marginal likelihood, which gave a linear probe, whose penalty is chosen on the validation galaxies, far too wide a
    distribution (docs/catalogue.md).

    Args:
        weights: (C, D) of the layer.
        features: (n, D) of the validation galaxies.
        labels: (n,) class numbers.
    """
    losses = []
    for precision in PRECISIONS:
        samples = replace(found, precision=precision).sample(weights, _SAMPLES)
        logits = np.matmul(features.astype(np.float32), samples.transpose(0, 2, 1))
        losses.append((calibrate(softmax(logits, axis=-1), labels).loss[1], -precision))
    return -min(losses)[1]


def head_of_run(run: Path, module: Classifier) -> nn.Linear:
    """Return the last layer of a run's network.

    Raises:
        Galaxy10Error: the network does not end in a linear layer with one output per class.
    """
    try:
        return linear_head(module)
    except Galaxy10Error as error:
        raise Galaxy10Error(f"{run}: {error}; leave out --laplace") from error


@torch.inference_mode()
def _features(module: Classifier, layer: nn.Linear, store: Store, rows: np.ndarray) -> np.ndarray:
    """Return the features (n, D) float32 of rows (n,) of a store; those that a linear probe keeps are read."""
    hook, parts = FeatureHook(module.network, module.num_classes), []

    def compute(images: torch.Tensor) -> torch.Tensor:
        inputs = module.known_preprocessing.eval_transform(images.to(module.device))
        module.probabilities(inputs.to(memory_format=torch.channels_last))
        assert hook.features is not None
        return hook.features.float()

    kept = features_files(store, module.known_preprocessing, module.network, [layer])[0]
    try:
        if kept.exists():
            found: np.ndarray = cached_features(kept, store, compute)[rows]
            return found
        with progress("reading features", len(rows)) as update:
            for start in range(0, len(rows), BATCH_SIZE):
                images = torch.from_numpy(np.array(store.images[rows[start : start + BATCH_SIZE]]))
                parts.append(compute(images).cpu().numpy())
                forget_pages(store.images)
                update(start + len(images))
    finally:
        hook.remove()
    return np.concatenate(parts)
