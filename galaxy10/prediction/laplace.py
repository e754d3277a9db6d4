"""The Laplace approximation of a network's last layer: which weights the training galaxies leave possible.

`galaxy10 calibrate RUN --laplace N` fits it and keeps it in the run directory; this file needs no torch.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from scipy.special import softmax

from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write
from galaxy10.foreign_files import load_arrays
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import checkpoint_hash

FORMAT = 1
FULL = 1_000  # weights up to which the full Hessian is used: a megabyte in the file, under a second to decompose


@dataclass(frozen=True)
class LastLayerLaplace:
    """A normal distribution of the last layer's weights around the trained ones (MacKay 1992; Daxberger et al. 2021).

    The inverse covariance is H + τI. H is the Gauss-Newton Hessian of the training galaxies' cross-entropy, which for a
    linear layer is the exact Hessian: Σ Λ ⊗ hhᵀ, with the features h of a galaxy, its probabilities p, and
    Λ = diag(p) − ppᵀ. Layers of up to 1,000 weights have all of it; larger ones the Kronecker product of the mean of Λ
    and the sum of hhᵀ (Ritter et al. 2018; Kristiadi et al. 2020, arXiv 2002.10118; Daxberger et al. 2021, arXiv
    2106.14806, section 2). Weights are the rows of a matrix (C, D), with the bias, if there is one, as the last column,
    whose feature is 1.

    Predictions are means over samples of the weights. Unlike the closed form of MacKay (1992), samples have a mutual
    information, and the views of a galaxy share them.

    Attributes:
        curvature: eigenvalues of H, (C · D,) for the full Hessian, (C, D) for the product.
        bases: its eigenvectors in columns: one matrix (C · D, C · D), or two, (C, C) and (D, D).
        precision: τ, the inverse variance of the prior of every weight.
    """

    curvature: np.ndarray
    bases: tuple[np.ndarray, ...]
    precision: float

    @classmethod
    def fit(cls, weights: np.ndarray, features: np.ndarray, precision: float, full: int = FULL) -> "LastLayerLaplace":
        """Return the approximation at trained weights (C, D) for the features (n, D) of n training galaxies.

        Args:
            precision: τ.
            full: number of weights up to which the full Hessian is used.
        """
        weights, features = weights.astype(np.float64), features.astype(np.float64)
        probabilities = softmax(features @ weights.T, axis=1)
        if weights.size <= full:
            values, vectors = np.linalg.eigh(_hessian(probabilities, features))
            curvature, bases = values.clip(0), [vectors]
        else:
            of_classes = (np.diag(probabilities.sum(axis=0)) - probabilities.T @ probabilities) / len(features)
            (classes, left), (inputs, right) = np.linalg.eigh(of_classes), np.linalg.eigh(features.T @ features)
            curvature, bases = np.outer(classes.clip(0), inputs.clip(0)), [left, right]
        return cls(curvature, tuple(bases), precision)

    def sample(self, weights: np.ndarray, number: int, seed: int = 0) -> np.ndarray:
        """Return samples (number, C, D) float32 of the weights around the trained ones (C, D).

        They come in pairs at equal distance on both sides of the trained weights, so that the mean of few samples is
        already close to that of all (antithetic variates; Hammersley & Morton 1956). The draws are a function of
        the seed and the number: every image of a run has the same samples.
        """
        drawn = np.random.default_rng(seed).normal(size=(-(-number // 2), *self.curvature.shape))
        drawn /= np.sqrt(self.curvature + self.precision)
        moved = drawn @ self.bases[0].T if len(self.bases) == 1 else self.bases[0] @ drawn @ self.bases[1].T
        moved = moved.reshape(len(drawn), *weights.shape)
        samples: np.ndarray = (weights + np.concatenate([moved, -moved])[:number]).astype(np.float32)
        return samples

    def covariance(self) -> np.ndarray:
        """Return the covariance (C · D, C · D) of the weights, row after row; for small layers and tests."""
        basis = self.bases[0] if len(self.bases) == 1 else np.kron(*self.bases)
        found: np.ndarray = (basis / (self.curvature.ravel() + self.precision)) @ basis.T
        return found


def _hessian(probabilities: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the Hessian (C · D, C · D) of the cross-entropy of n galaxies, from (n, C) and (n, D)."""
    classes, size = probabilities.shape[1], features.shape[1]
    hessian = np.empty((classes, size, classes, size))
    for j in range(classes):
        for k in range(j, classes):
            curvature = probabilities[:, j] * ((j == k) - probabilities[:, k])
            block = (features * curvature[:, None]).T @ features
            hessian[j, :, k], hessian[k, :, j] = block, block
    return hessian.reshape(classes * size, classes * size)


def save_laplace(run: Path, found: LastLayerLaplace) -> None:
    """Write the approximation into the run directory, with the identity of the weights that it belongs to."""
    arrays: dict[str, Any] = {f"basis{i}": basis.astype(np.float32) for i, basis in enumerate(found.bases)}
    with atomic_write(RunFiles(run).laplace) as part, part.open("wb") as file:
        np.savez(
            file,
            format=np.array(FORMAT),
            checkpoint=np.array(checkpoint_hash(run)),
            curvature=found.curvature,
            precision=np.array(found.precision),
            **arrays,
        )


def load_laplace(run: Path, cli_options: str) -> LastLayerLaplace:
    """Return the approximation that is kept in a run directory.

    Args:
        cli_options: of the mode, for the message.

    Raises:
        Galaxy10Error: there is none for these weights; the message names the command to type.
    """
    arrays = _current(run)
    if arrays is None:
        raise missing_laplace(run, cli_options)
    bases = tuple(arrays[f"basis{i}"].astype(np.float64) for i in range(2) if f"basis{i}" in arrays)
    return LastLayerLaplace(arrays["curvature"], bases, float(arrays["precision"]))


def has_laplace(run: Path) -> bool:
    """Return whether a run directory has the approximation of its present weights."""
    return _current(run) is not None


def missing_laplace(run: Path, cli_options: str) -> Galaxy10Error:
    """Return the error of a run without the approximation, which names the command to type."""
    command = f"galaxy10 calibrate {shlex.quote(str(run))}{cli_options}"
    return Galaxy10Error(f"{run} has no Laplace approximation of its present weights; type {command}")


def _current(run: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of the file; None if there is none for these weights, or it is damaged: it is made again."""
    path = RunFiles(run).laplace
    if not path.exists():
        return None
    try:
        arrays = load_arrays(path)
        same = str(arrays["checkpoint"]) == checkpoint_hash(run) and int(arrays["format"]) == FORMAT
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return arrays if same and {"curvature", "precision", "basis0"} <= set(arrays) else None
