"""Training losses: scalars of logits (B, C) and labels: class numbers (B,), or class fractions (B, C) that sum to 1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from galaxy10.errors import Galaxy10Error

_BETA = 0.999  # of effective numbers: Cui et al. 2019 compare 0.9 to 0.9999


class CrossEntropy(nn.Module):
    """Cross-entropy of logits (B, C) and labels (B,) int64 or (B, C) float32, mean over the batch.

    With class weights, the mean is weighted; an image with fractions of classes has the mean of their weights.

    Args:
        label_smoothing: share of the target that is spread evenly over all classes (Szegedy et al. 2016, arXiv
            1512.00567). With class weights, it has the weight of the image: torch would give each class's part of it
            the weight of that class, and with 2 % of mergers and 0.1 every image would be nearly as much a merger as
            what it is.
        class_weights: None, `balanced` (inversely proportional to the classes' numbers of training images),
            `effective` (inversely proportional to their effective numbers (1 − βⁿ) / (1 − β), β = 0.999, which hardly
            grow from a thousand images on; Cui et al. 2019, arXiv 1901.05555), both 1 on average over the images; or
            one number per class.
        class_counts: training images of each class, (C,); needed for `balanced` and `effective`.

    Raises:
        Galaxy10Error: class_weights is unknown, has not one number per class, or needs class_counts.
    """

    weight: torch.Tensor | None

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: str | Sequence[float] | None = None,
        class_counts: Sequence[int] | None = None,
    ):
        super().__init__()
        self.label_smoothing = float(label_smoothing)
        self.register_buffer("weight", class_weight_tensor(class_weights, class_counts), persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        if self.weight is None:
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        of_image = self.weight[labels] if labels.ndim == 1 else (labels * self.weight).sum(dim=1)
        # torch divides by the sum of the weights only for class numbers.
        loss = F.cross_entropy(logits, labels, weight=self.weight, reduction="sum") / of_image.sum()
        if not self.label_smoothing:
            return loss
        spread = -(F.log_softmax(logits, dim=1).mean(dim=1) * of_image).sum() / of_image.sum()
        return (1 - self.label_smoothing) * loss + self.label_smoothing * spread


class LogitAdjusted(nn.Module):
    """Cross-entropy of logits plus τ · log π, π the classes' shares (Menon et al. 2021, arXiv 2007.07314, eq. 10).

    The network learns what remains, and its own logits, which evaluation and prediction use, favour no frequent class:
    with τ = 1 they are those for equally frequent classes.

    Args:
        tau: strength; 0 is cross-entropy.
        label_smoothing: share of the target that is spread over all classes in proportion to π^τ, so that it favours
            none in the network's own logits. Spread evenly, it would call nearly every galaxy a rare one: with 2 % of
            mergers and 0.1, the target of each would be more of a merger than there are mergers.
        class_counts: training images of each class, (C,). A class without images counts as half the rarest class.

    Attributes:
        class_factor: (C,) how many times as often each class seems to be there to the network, 1 on average over the
            images.

    Raises:
        Galaxy10Error: there are no class_counts.
    """

    log_prior: torch.Tensor
    class_factor: torch.Tensor

    def __init__(self, tau: float = 1.0, label_smoothing: float = 0.0, class_counts: Sequence[int] | None = None):
        super().__init__()
        if class_counts is None or not any(class_counts):
            raise Galaxy10Error("loss=logit_adjusted needs the training images of each class; give class_counts")
        self.tau, self.label_smoothing = float(tau), float(label_smoothing)
        counts = torch.as_tensor(class_counts, dtype=torch.float64)
        shares = torch.where(counts > 0, counts, counts[counts > 0].min() / 2)
        factor = (shares / shares.sum()) ** -self.tau
        self.register_buffer("log_prior", (shares / shares.sum()).log().float(), persistent=False)
        average = (factor * counts).sum() / counts.sum()
        self.register_buffer("class_factor", (factor / average).float(), persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        adjustment = self.tau * self.log_prior
        loss = F.cross_entropy(logits + adjustment, labels)
        if not self.label_smoothing:
            return loss
        log_p = F.log_softmax(logits + adjustment, dim=1)
        spread = -(log_p * adjustment.softmax(dim=0)).sum(dim=1).mean()
        return (1 - self.label_smoothing) * loss + self.label_smoothing * spread


class FocalLoss(nn.Module):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002, eq. 4): −(1 − p)^gamma · log p, with p of the true class.

    For class fractions (B, C), the mean over the classes of an image in these fractions.

    Args:
        gamma: how much less well-classified images count; 0 is cross-entropy.
        class_weights, class_counts: see CrossEntropy; the paper's alpha.
    """

    weight: torch.Tensor | None

    def __init__(
        self,
        gamma: float = 2.0,
        class_weights: str | Sequence[float] | None = None,
        class_counts: Sequence[int] | None = None,
    ):
        super().__init__()
        self.gamma = float(gamma)
        self.register_buffer("weight", class_weight_tensor(class_weights, class_counts), persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        if labels.ndim == 2:
            log_p = F.log_softmax(logits, dim=1)
            weights = labels if self.weight is None else labels * self.weight
            return -(weights * (1 - log_p.exp()) ** self.gamma * log_p).sum() / weights.sum()
        log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
        losses = -((1 - log_p.exp()) ** self.gamma) * log_p
        if self.weight is None:
            return losses.mean()
        weights = self.weight[labels]
        return (losses * weights).sum() / weights.sum()


def class_factor(loss: Any, num_classes: int) -> np.ndarray:
    """Return how many times as often each class seems to be there to a network trained with a loss, (C,) float64.

    These are the loss's class weights: its attribute `class_factor` (C,) or else `weight`; 1 without either.
    """
    factor = getattr(loss, "class_factor", None)
    factor = getattr(loss, "weight", None) if factor is None else factor
    if not isinstance(factor, torch.Tensor) or factor.shape != (num_classes,):
        return np.ones(num_classes)
    return factor.detach().cpu().double().numpy()


def class_weight_tensor(
    class_weights: str | Sequence[float] | None, class_counts: Sequence[int] | None
) -> torch.Tensor | None:
    """Return the weight of each class, (C,) float32, or None for none.

    `balanced` and `effective` give a class without training images the weight 0.

    Raises:
        Galaxy10Error: class_weights is unknown, has not one number per class, or needs class_counts.
    """
    if class_weights is None:
        return None
    if isinstance(class_weights, str):
        if class_weights not in ("balanced", "effective"):
            raise Galaxy10Error(
                f"loss.class_weights={class_weights} is unknown; type balanced, effective, a list, or null"
            )
        if class_counts is None:
            raise Galaxy10Error(
                f"loss.class_weights={class_weights} needs the training images of each class; give class_counts"
            )
        counts = torch.as_tensor(class_counts, dtype=torch.float64)
        present = counts > 0
        sizes = counts if class_weights == "balanced" else 1 - _BETA**counts
        weights = torch.zeros_like(counts)
        weights[present] = 1 / sizes[present]
        return (weights * (counts.sum() / (weights * counts).sum())).float()
    weights = torch.as_tensor(class_weights, dtype=torch.float32)
    if class_counts is not None and len(weights) != len(class_counts):
        raise Galaxy10Error(
            f"loss.class_weights has {len(weights)} numbers for {len(class_counts)} classes; give one for each"
        )
    return weights
