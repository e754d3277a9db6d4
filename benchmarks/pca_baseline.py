#!/usr/bin/env python3
"""Try which mistakes give the published baseline's 31 % on training and 19 % on test galaxies (docs/pca_baseline.md).

galaxy10 simulate survey.h5 --images 8000 --size 64 --seed 3
python benchmarks/pca_baseline.py survey.h5
"""

import sys
import warnings
from collections.abc import Iterator

import h5py
import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from galaxy10.data.image_geometry import center_square, resize

SIZE_PX = 64
COMPONENTS = 20


def read(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (N, D) on the 0–255 scale and labels (N,)."""
    with h5py.File(path) as file:
        images, labels = torch.from_numpy(file["images"][:]), file["ans"][:].astype(int)
    small = torch.cat([resize(center_square(batch), SIZE_PX) for batch in images.split(200)])
    return small.flatten(1).float().numpy(), labels


def accuracies(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    own_components: bool = False,
    standardise: bool = True,
    iterations: int = 1000,
) -> tuple[float, float]:
    """Return the accuracy on training and test galaxies.

    own_components: whether the PCA of the test galaxies is fitted to them.
    """
    pca = PCA(COMPONENTS, svd_solver="randomized", random_state=0).fit(train[0])
    test_pca = PCA(COMPONENTS, svd_solver="randomized", random_state=0).fit(test[0]) if own_components else pca
    scores, test_scores = pca.transform(train[0]), test_pca.transform(test[0])
    if standardise:
        scaler = StandardScaler().fit(scores)
        test_scores = (StandardScaler().fit(test_scores) if own_components else scaler).transform(test_scores)
        scores = scaler.transform(scores)
    regression = LogisticRegression(max_iter=iterations).fit(scores, train[1])
    return regression.score(scores, train[1]), regression.score(test_scores, test[1])


def lines(pixels: np.ndarray, labels: np.ndarray) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield a description and the accuracies of each variant."""
    first, second = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    train, test = (pixels[first], labels[first]), (pixels[second], labels[second])
    yield "correct", accuracies(train, test)
    yield "scores not standardised, 100 iterations", accuracies(train, test, standardise=False, iterations=100)
    yield "the same, 3 iterations", accuracies(train, test, standardise=False, iterations=3)
    yield "components anew for the test galaxies", accuracies(train, test, own_components=True)
    yield "the same, not standardised", accuracies(train, test, own_components=True, standardise=False, iterations=100)
    order, cut = np.argsort(labels, kind="stable"), int(0.8 * len(labels))
    sorted_cut = [(pixels[rows], labels[rows]) for rows in (order[:cut], order[cut:])]
    yield "sorted by class, cut without shuffling", accuracies(sorted_cut[0], sorted_cut[1])
    few = first[: max(100, len(first) // 40)]
    yield f"{len(few)} training galaxies", accuracies((pixels[few], labels[few]), test)
    neighbours = KNeighborsClassifier(20).fit(*train)
    yield "20 nearest neighbours on pixels", (float("nan"), neighbours.score(*test))


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*failed to converge.*")
    print(f"{'':42}train  test")
    for name, (train_accuracy, test_accuracy) in lines(*read(sys.argv[1])):
        print(f"{name:42}{100 * train_accuracy:5.1f} {100 * test_accuracy:5.1f}", flush=True)
