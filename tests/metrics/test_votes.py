"""Metrics against the fractions of people's votes."""

from math import log

import numpy as np
import pandas as pd
import pytest
import torch

from galaxy10.metrics.predictions import prediction_table
from galaxy10.metrics.specs import lower_is_better
from galaxy10.metrics.votes import vote_metrics

NAMES = ("Smooth", "Disk")


def table_of(probabilities, votes):
    rows, labels = torch.arange(len(votes)), torch.tensor(votes).argmax(dim=1)
    return prediction_table([(rows, labels, torch.tensor(probabilities), torch.tensor(votes))], NAMES)


def test_brier_score_and_divergence_are_those_computed_by_hand():
    measured = vote_metrics(table_of([[0.5, 0.5], [0.9, 0.1]], [[3.0, 1.0], [0.0, 10.0]]), NAMES)
    assert measured["vote_brier"] == pytest.approx((2 * 0.25**2 + 2 * 0.9**2) / 2, rel=1e-6)
    first = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    assert measured["vote_kl"] == pytest.approx((first + log(1 / 0.1)) / 2, rel=1e-6)


def test_perfect_fractions_are_at_no_distance():
    votes = [[3.0, 1.0], [0.0, 10.0], [5.0, 5.0]]
    shares = (np.array(votes) / np.sum(votes, axis=1, keepdims=True)).tolist()
    measured = vote_metrics(table_of(shares, votes), NAMES)
    assert measured["vote_brier"] == pytest.approx(0, abs=1e-12)
    assert measured["vote_kl"] == pytest.approx(0, abs=1e-6)
    assert measured["vote_entropy_correlation"] == pytest.approx(1)


def test_uncertainty_is_compared_with_disagreement_by_rank():
    votes = [[10.0, 0.0], [8.0, 2.0], [5.0, 5.0]]
    wrong_way = [[0.5, 0.5], [0.3, 0.7], [0.01, 0.99]]
    assert vote_metrics(table_of(wrong_way, votes), NAMES)["vote_entropy_correlation"] == pytest.approx(-1)
    constant = [[0.3, 0.7]] * 3
    assert vote_metrics(table_of(constant, votes), NAMES)["vote_entropy_correlation"] is None


def test_there_are_none_without_votes():
    table = pd.DataFrame({"row": [0], "label": [0], "p_smooth": [0.7], "p_disk": [0.3]})
    assert vote_metrics(table, NAMES) == {}


def test_directions():
    assert lower_is_better("val/vote_brier")
    assert lower_is_better("val/vote_kl")
    assert not lower_is_better("val/vote_entropy_correlation")
