"""Training on votes: what a loss is given in place of labels, and the likelihood of counts of votes."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from galaxy10.data.votes import VOTES


def loss_targets(criterion: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return what a loss compares the logits of a batch with.

    That is the labels (B,) int64 of a batch without votes, or labels that are fractions (B, C) already; else the votes
    divided by their sum, (B, C) float32. A loss whose attribute `takes_counts` is true gets the votes as they are.
    """
    labels, votes = batch["labels"], batch.get(VOTES)
    if votes is None or labels.is_floating_point():
        return labels
    if getattr(criterion, "takes_counts", False):
        return votes
    return votes / votes.sum(dim=1, keepdim=True)


class DirichletMultinomial(nn.Module):
    """Negative log-likelihood of votes under a Dirichlet-multinomial distribution, mean over the batch, in nats.

    The loss of Walmsley et al. (2022, MNRAS 509, 3966, arXiv 2102.08414) for one question. The network's logits are the
    logarithms of the concentrations α. With k of n votes for each class and A = Σ α, the likelihood of a galaxy is

        L = n! / Π k! · Γ(A) / Γ(n + A) · Π Γ(k + α) / Γ(α).

    The expected fractions α / A are softmax(logits), so that metrics, calibration, prediction and export need nothing
    else. A large A means that the network is sure of the fractions. Weighted votes need not be whole numbers.

    Args:
        num_votes: number of votes for each galaxy, for data that have only fractions or labels; None: the votes are
            counts.
    """

    takes_counts = True

    def __init__(self, num_votes: float | None = None):
        super().__init__()
        self.num_votes = num_votes

    def forward(self, logits: torch.Tensor, votes: torch.Tensor) -> torch.Tensor:
        """Return the loss of log-concentrations (B, C) and votes (B, C); labels (B,) int64 are one vote each."""
        if not votes.is_floating_point():
            votes = F.one_hot(votes, logits.shape[1])
        # Differences of large logarithms: in float32 a confident network would lose all digits. MPS has no float64.
        kind = torch.float32 if logits.device.type == "mps" else torch.float64
        alpha, k = logits.to(kind).exp(), votes.to(kind)
        if self.num_votes is not None:
            k = self.num_votes * k / k.sum(dim=1, keepdim=True)
        n, total = k.sum(dim=1), alpha.sum(dim=1)
        coefficient = torch.lgamma(n + 1) - torch.lgamma(k + 1).sum(dim=1)
        of_classes = (torch.lgamma(k + alpha) - torch.lgamma(alpha)).sum(dim=1)
        likelihood = coefficient + torch.lgamma(total) - torch.lgamma(n + total) + of_classes
        return -likelihood.mean().to(logits.dtype)
