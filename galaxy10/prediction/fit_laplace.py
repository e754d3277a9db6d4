"""Fit the Laplace approximation of a run's last layer to the features of its training galaxies."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from galaxy10.data.store import Store, forget_pages
from galaxy10.errors import Galaxy10Error
from galaxy10.models.classifier import Classifier
from galaxy10.models.factory import load_classifier
from galaxy10.models.feature_cache import cached_features, features_files
from galaxy10.models.features import FeatureHook, linear_head
from galaxy10.prediction.ensemble import choose_device
from galaxy10.prediction.head_samples import layer_weights, with_ones
from galaxy10.prediction.laplace import LastLayerLaplace, has_laplace, save_laplace
from galaxy10.prediction.run_store import run_store
from galaxy10.progress import progress
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import check_run

BATCH_SIZE = 64


def fit_laplace(run: Path, device: str = "auto") -> None:
    """Fit the approximation and keep it in the run directory; do nothing if it is there for the present weights.

    Every training galaxy counts once, as it is in the file: without augmentation, repeats or class weights.

    Raises:
        Galaxy10Error: the network does not end in a linear layer, or the training file is gone or has changed.
    """
    about = check_run(run)
    if has_laplace(run):
        return
    module = load_classifier(RunFiles(run).best).to(choose_device(device))
    layer = head_of_run(run, module)
    store, split = run_store(run, about)
    rows = np.sort(split.loc[split["subset"] == "train", "row"].to_numpy(np.int64))
    if not len(rows):
        raise Galaxy10Error(f"{run} has no training galaxies to fit --laplace to; train with a split that has some")
    features = with_ones(_features(module, layer, store, rows), layer)
    save_laplace(run, LastLayerLaplace.fit(layer_weights(layer), features))


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
    if kept.exists():
        found: np.ndarray = cached_features(kept, store, compute)[rows]
        return found
    with progress("reading training galaxies", len(rows)) as update:
        for start in range(0, len(rows), BATCH_SIZE):
            images = torch.from_numpy(np.array(store.images[rows[start : start + BATCH_SIZE]]))
            parts.append(compute(images).cpu().numpy())
            forget_pages(store.images)
            update(start + len(images))
    hook.remove()
    return np.concatenate(parts)
