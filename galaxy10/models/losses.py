"""Training losses: scalars of logits (B, C) and labels (B,)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from galaxy10.errors import Galaxy10Error


class CrossEntropy(nn.Module):
    """Cross-entropy of logits (B, C) and labels (B,) int64, mean over the batch.

    Args:
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016, arXiv 1512.00567).
        class_weights: None, `balanced` (inversely proportional to the classes' numbers of training images, 1 on
            average over the images), or one number per class.
        class_counts: training images of each class, (C,); needed for `balanced`.

    Raises:
        Galaxy10Error: class_weights is unknown, has not one number per class, or is `balanced` without class_counts.
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
        return F.cross_entropy(logits, labels, weight=self.weight, label_smoothing=self.label_smoothing)


class FocalLoss(nn.Module):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002, eq. 4): −(1 − p)^gamma · log p, with p of the true class.

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
        log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
        losses = -((1 - log_p.exp()) ** self.gamma) * log_p
        if self.weight is None:
            return losses.mean()
        weights = self.weight[labels]
        return (losses * weights).sum() / weights.sum()


def class_weight_tensor(
    class_weights: str | Sequence[float] | None, class_counts: Sequence[int] | None
) -> torch.Tensor | None:
    """Return the weight of each class, (C,) float32, or None for none.

    `balanced` gives a class without training images the weight 0.

    Raises:
        Galaxy10Error: class_weights is unknown, has not one number per class, or is `balanced` without class_counts.
    """
    if class_weights is None:
        return None
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise Galaxy10Error(f"loss.class_weights={class_weights} is unknown; type balanced, a list, or null")
        if class_counts is None:
            raise Galaxy10Error(
                "loss.class_weights=balanced needs the training images of each class; give class_counts"
            )
        counts = torch.as_tensor(class_counts, dtype=torch.float64)
        present = counts > 0
        weights = torch.zeros_like(counts)
        weights[present] = counts.sum() / (present.sum() * counts[present])
        return weights.float()
    weights = torch.as_tensor(class_weights, dtype=torch.float32)
    if class_counts is not None and len(weights) != len(class_counts):
        raise Galaxy10Error(
            f"loss.class_weights has {len(weights)} numbers for {len(class_counts)} classes; give one for each"
        )
    return weights
