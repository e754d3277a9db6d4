"""Logistic regression for the modules that are fitted in one epoch: scikit-learn's, into a linear layer of torch."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

_NEVER = -1e4  # the logit of a class without training galaxies


@dataclass(frozen=True)
class Logistic:
    """A fitted regression over C classes: logits = features (n, K) · weight (C, K)ᵀ + bias (C,)."""

    weight: np.ndarray
    bias: np.ndarray
    converged: bool

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logits (n, C) of features (n, K)."""
        found: np.ndarray = features @ self.weight.T + self.bias
        return found

    def unscaled(self, mean: np.ndarray, std: np.ndarray) -> "Logistic":
        """Return the regression of raw features, if this one is of (features − mean) / std; mean and std (K,)."""
        weight = self.weight / std
        return Logistic(weight, self.bias - weight @ mean, self.converged)

    @torch.no_grad()
    def copy_to(self, layer: nn.Linear) -> None:
        """Write weight and bias into a linear layer."""
        layer.weight.copy_(torch.from_numpy(self.weight))
        layer.bias.copy_(torch.from_numpy(self.bias))


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (K,) of features (n, K); the deviation is at least 1e-6."""
    return features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)


def fit_logistic(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    C: float,
    max_iter: int,
    weight: np.ndarray | None = None,
    balanced: bool = False,
) -> Logistic:
    """Fit a regression by L-BFGS with an L2 penalty.

    Args:
        features: (n, K).
        labels: (n,). A class without any gets the logit −10,000.
        C, max_iter: as in sklearn.linear_model.LogisticRegression.
        weight: (n,) of each image; None: 1.
        balanced: whether every class has the same weight.
    """
    coefficients, bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, _NEVER)
    present = np.unique(labels)
    if len(present) == 1:  # nothing to fit
        bias[present] = 0
        return Logistic(coefficients, bias, True)
    regression = LogisticRegression(C=C, max_iter=max_iter, class_weight="balanced" if balanced else None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        regression.fit(features, labels, sample_weight=weight)
    fitted, intercept = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # scikit-learn then gives only the logit of the second class
        fitted, intercept = np.vstack([-fitted, fitted]) / 2, np.r_[-intercept, intercept] / 2
    coefficients[regression.classes_], bias[regression.classes_] = fitted, intercept
    return Logistic(coefficients, bias, not any(issubclass(w.category, ConvergenceWarning) for w in caught))
