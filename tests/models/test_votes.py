"""Losses of votes: cross-entropy and focal loss of fractions, and the likelihood of counts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import dirichlet_multinomial
from torch import nn

from galaxy10.errors import Galaxy10Error
from galaxy10.models import CrossEntropy, DirichletMultinomial, FocalLoss, LogitAdjusted
from galaxy10.models.class_fractions import check_takes_votes
from galaxy10.models.votes import loss_targets

LOGITS = torch.tensor([[1.0, 0.0, -1.0], [0.2, 0.3, 2.5]])
FRACTIONS = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.1, 0.9]])
COUNTS = torch.tensor([[20.0, 10.0, 10.0], [0.0, 1.0, 9.0]])


def test_cross_entropy_of_fractions_is_their_mean_over_the_classes():
    expected = -(FRACTIONS * LOGITS.log_softmax(dim=1)).sum(dim=1).mean()
    assert CrossEntropy()(LOGITS, FRACTIONS).item() == pytest.approx(expected.item())
    weight = torch.tensor([1.0, 2.0, 4.0])
    weighted = FRACTIONS * weight
    expected = -(weighted * LOGITS.log_softmax(dim=1)).sum() / weighted.sum()
    assert CrossEntropy(class_weights=[1, 2, 4])(LOGITS, FRACTIONS).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    "loss",
    [CrossEntropy(), CrossEntropy(class_weights=[1, 2, 4]), FocalLoss(), LogitAdjusted(class_counts=[5, 2, 1])],
)
def test_fractions_that_are_all_of_one_class_are_labels(loss):
    labels = torch.tensor([0, 2])
    assert loss(LOGITS, F.one_hot(labels, 3).float()).item() == pytest.approx(loss(LOGITS, labels).item())


def test_the_likelihood_of_counts_is_scipys():
    alpha = LOGITS.double().exp().numpy()
    expected = [
        -dirichlet_multinomial.logpmf(counts.astype(int), a, int(counts.sum()))
        for a, counts in zip(alpha, COUNTS.numpy(), strict=True)
    ]
    assert DirichletMultinomial()(LOGITS, COUNTS).item() == pytest.approx(np.mean(expected), rel=1e-6)
    assert DirichletMultinomial(num_votes=40)(LOGITS[:1], FRACTIONS[:1]).item() == pytest.approx(expected[0], rel=1e-6)


def test_one_vote_is_cross_entropy_whatever_the_sum_of_the_concentrations():
    labels = torch.tensor([0, 2])
    for shift in (0.0, 5.0):  # all concentrations times e⁵: the same probabilities
        loss = DirichletMultinomial()(LOGITS + shift, labels)
        assert loss.item() == pytest.approx(F.cross_entropy(LOGITS, labels).item(), rel=1e-5)


def test_confident_networks_keep_their_digits():
    """With large concentrations the votes are multinomial; in float32, the logarithms would cancel."""
    p = torch.tensor([[0.5, 0.3, 0.2]])
    counts = torch.tensor([[5.0, 3.0, 2.0]])
    logits = (p.log() + 16).requires_grad_()
    loss = DirichletMultinomial()(logits, counts)
    multinomial = -torch.distributions.Multinomial(10, p).log_prob(counts)
    assert loss.item() == pytest.approx(multinomial.item(), rel=1e-4)
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_the_best_concentrations_have_the_fractions_of_the_votes():
    counts = torch.tensor([[30.0, 10.0], [24.0, 16.0], [36.0, 4.0]])
    logits = torch.zeros(1, 2, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100)

    def step():
        optimizer.zero_grad()
        loss = DirichletMultinomial()(logits.expand(3, 2), counts)
        loss.backward()
        return loss

    optimizer.step(step)
    assert logits.softmax(dim=1)[0, 0].item() == pytest.approx(0.75, abs=0.01)


def test_a_loss_gets_labels_fractions_or_counts():
    batch = {"labels": torch.tensor([0, 2])}
    assert loss_targets(CrossEntropy(), batch) is batch["labels"]
    batch["votes"] = COUNTS
    assert torch.equal(loss_targets(CrossEntropy(), batch), COUNTS / COUNTS.sum(dim=1, keepdim=True))
    assert loss_targets(DirichletMultinomial(), batch) is COUNTS
    batch["labels"] = FRACTIONS  # mixed already
    assert loss_targets(CrossEntropy(), batch) is FRACTIONS


def test_a_loss_of_class_numbers_alone_is_refused_for_votes():
    with pytest.raises(Galaxy10Error, match=r"votes have class fractions .* data.soft_labels=false"):
        check_takes_votes(nn.NLLLoss(), 3)
    check_takes_votes(DirichletMultinomial(), 3)
    check_takes_votes(nn.CrossEntropyLoss(), 3)
