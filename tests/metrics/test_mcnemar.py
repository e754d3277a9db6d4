"""McNemar's test on pairs of answers, and Holm's correction for several of them."""

import numpy as np
import pytest
from scipy.stats import binom

from galaxy10.metrics.mcnemar import holm, mcnemar


def test_mcnemar_is_the_exact_binomial_for_few_and_chi2_for_many():
    first = np.array([True] * 10 + [False] * 2 + [True] * 30)
    second = np.array([False] * 10 + [True] * 2 + [True] * 30)
    few = mcnemar(first, second)
    assert (few.only_first, few.only_second, few.exact) == (10, 2, True)
    assert few.p == pytest.approx(2 * binom.cdf(2, 12, 0.5))
    # Agresti (1990): approval ratings, 150 and 86 changed their mind; χ² with correction 16.82.
    many = mcnemar(np.repeat([True, False], [150, 86]), np.repeat([False, True], [150, 86]))
    assert not many.exact
    assert many.p == pytest.approx(4.115e-5, rel=1e-3)
    assert mcnemar(first, first).p == 1.0


def test_holm_never_makes_a_pair_more_certain():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
