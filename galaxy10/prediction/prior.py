"""Adapt a trained network's probabilities to another mix of classes than it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from galaxy10.config.fields import did_you_mean
from galaxy10.errors import Galaxy10Error
from galaxy10.runs.files import RunFiles

PRIORS = ("none", "natural", "uniform", "fitted")
STRENGTHS = tuple(round(0.05 * step, 2) for step in range(31))  # 0 to 1.5, which `fitted` tries
_RESAMPLES = 200
_BLOCK = 4_000_000  # weights of galaxies in resamples that are in memory at once


@dataclass(frozen=True)
class ClassShares:
    """Shares of the classes in training and in nature, each (C,) with the sum 1.

    Attributes:
        trained: what the network was trained on: the epochs' images after `data.balance`, times the loss's weights.
        natural: the training subset, before `data.balance`.
    """

    trained: np.ndarray
    natural: np.ndarray

    @classmethod
    def of_counts(cls, trained: Sequence[float], natural: Sequence[float]) -> "ClassShares":
        """Return the shares of numbers (C,) of images, not all zero.

        A class without images counts as half the rarest class, so that logarithms are finite.
        """
        return cls(_shares(trained), _shares(natural))

    def log_offsets(self, strength: float) -> np.ndarray:
        """Return what is added to the log-probabilities, (C,) with the mean 0, for the prior ∝ natural^(1 − strength).

        Strength 0 is the natural prior, 1 the uniform one.
        """
        offsets: np.ndarray = (1 - strength) * np.log(self.natural) - np.log(self.trained)
        offsets -= offsets.mean()
        return offsets


def _shares(numbers: Sequence[float]) -> np.ndarray:
    counts = np.asarray(numbers, dtype=np.float64)
    counts = np.where(counts > 0, counts, counts[counts > 0].min() / 2)
    shares: np.ndarray = counts / counts.sum()
    return shares


def check_prior(prior: str) -> None:
    """Check the name of a prior.

    Raises:
        Galaxy10Error: it is none of PRIORS.
    """
    if prior not in PRIORS:
        nearest = did_you_mean(prior, list(PRIORS))
        raise Galaxy10Error(f"--prior {prior} is unknown{nearest}; type one of {', '.join(PRIORS)}")


def class_shares(run: Path, prior: str = "natural") -> ClassShares:
    """Return the class shares that a run records.

    A run without `training.class_counts` in its provenance.json, as of an older version, has them in
    class_distribution.csv, if its loss does not weight the classes.

    Args:
        prior: for the message.

    Raises:
        Galaxy10Error: the run records none.
    """
    files = RunFiles(run)
    about = files.read_provenance()
    classes = len((about.get("data") or {}).get("class_names") or ())
    recorded = (about.get("training") or {}).get("class_counts") or {}
    counts: list[Any] = [recorded.get("trained"), recorded.get("natural")]
    if not recorded and not (files.read_config().get("loss") or {}).get("class_weights"):
        counts = _counts_of_older_run(files)
    if all(_are_counts(numbers, classes) for numbers in counts):
        return ClassShares.of_counts(*counts)
    raise Galaxy10Error(
        f"{run} does not record how many images of each class it was trained on, so --prior {prior} cannot be "
        "computed; leave out --prior, or train again with this version"
    )


def _counts_of_older_run(files: RunFiles) -> list[Any]:
    """Return images per class in an epoch and in the training subset, from class_distribution.csv; None if unknown."""
    import pandas as pd  # not for --help

    try:
        table = pd.read_csv(files.class_distribution)
        return [table["images_per_epoch"].tolist(), table["train"].tolist()]
    except (OSError, ValueError, KeyError):
        return [None, None]


def _are_counts(numbers: Any, classes: int) -> bool:
    if not isinstance(numbers, list) or len(numbers) != classes:
        return False
    return all(isinstance(x, int | float) and 0 <= x < float("inf") for x in numbers) and any(numbers)


def shift_prior(samples: np.ndarray, log_offsets: np.ndarray | Sequence[Sequence[float]] | None) -> np.ndarray:
    """Return probabilities (K, N, C) for another prior: p' ∝ p · exp(offset) (Saerens, Latinne & Decaestecker 2002).

    Saerens et al.: Neural Computation 14, 21, eq. 2.4. As a rule of decision it is post-hoc logit adjustment (Menon et
    al. 2021, arXiv 2007.07314, eq. 9).

    Args:
        log_offsets: (1, C) or (K, C), log π_target − log π_trained; None changes nothing.
    """
    if log_offsets is None:
        return samples
    offsets = np.asarray(log_offsets, dtype=np.float64)[:, None, :]
    weighted = np.maximum(samples.astype(np.float64), 1e-30) * np.exp(offsets)
    shifted: np.ndarray = (weighted / weighted.sum(axis=-1, keepdims=True)).astype(samples.dtype)
    return shifted


def offsets_of(shares: Sequence[ClassShares], strength: float) -> list[list[float]]:
    """Return the log offsets (1, C) or (K, C) of one run, or of each of K samples."""
    return [[round(x, 6) for x in one.log_offsets(strength).tolist()] for one in shares]


def fit_strength(samples: np.ndarray, labels: np.ndarray, shares: Sequence[ClassShares]) -> float:
    """Return the strength of the prior that suits the macro-F1 of the validation galaxies, from 0 to 1.5.

    One number for all classes, because a rare class has a handful of validation galaxies, to which an offset of its own
    would be fitted. macro-F1 jumps with every galaxy that changes its class, and so does the strength at which it is
    highest: that strength is found in each of 200 bootstrap resamples of the galaxies, and the mean is returned
    (bagging; Breiman 1996, Machine Learning 24, 123). docs/catalogue.md compares it with other rules.

    Args:
        samples: (K, N, C) probabilities.
        labels: (N,) class numbers.
        shares: of one run, or of each of the K samples.
    """
    number, classes = samples.shape[1:]
    predicted = [
        shift_prior(samples, offsets_of(shares, strength)).mean(axis=0).argmax(axis=1) for strength in STRENGTHS
    ]
    rng, truth = np.random.default_rng(0), _one_hot(labels, classes)
    blocks = []
    at_once = max(1, _BLOCK // number)
    for start in range(0, _RESAMPLES, at_once):
        size = min(at_once, _RESAMPLES - start)
        drawn = rng.multinomial(number, np.full(number, 1 / number), size).astype(np.float64)
        actual = drawn @ truth
        blocks.append([_macro_f1(drawn, actual, truth, classes_of, labels) for classes_of in predicted])
    scores = np.concatenate(blocks, axis=1)  # (strengths, resamples)
    best = scores >= scores.max(axis=0) - 1e-9  # often several: where no galaxy changes its class
    middles = np.array(STRENGTHS) @ best / best.sum(axis=0)
    return round(float(middles.mean()), 3)


def _macro_f1(
    drawn: np.ndarray, actual: np.ndarray, truth: Any, predicted: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return the macro-F1 (R,) of R resamples with weights (R, N); a class that a resample does not have has no F1."""
    hits = (drawn * (predicted == labels)) @ truth
    sizes = actual + drawn @ _one_hot(predicted, actual.shape[1])
    f1 = np.divide(2 * hits, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    mean: np.ndarray = f1.sum(axis=1) / (sizes > 0).sum(axis=1)
    return mean


def _one_hot(labels: np.ndarray, classes: int) -> Any:
    from scipy.sparse import csr_matrix

    number = len(labels)
    return csr_matrix((np.ones(number), (np.arange(number), labels)), shape=(number, classes))
