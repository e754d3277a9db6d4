"""Any probabilities: temperatures are finite, and probabilities stay probabilities."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from galaxy10.prediction.calibration import apply_temperature, calibrate


@st.composite
def probabilities(draw):
    """(K, N, C) float32, some of them certain to the last bit, and labels (N,)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    samples, number, num_classes = draw(st.integers(1, 3)), draw(st.integers(1, 40)), draw(st.integers(2, 6))
    logits = rng.normal(0, draw(st.sampled_from([0.0, 1.0, 30.0, 1e4])), (samples, number, num_classes))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    labels = rng.integers(0, draw(st.sampled_from([1, num_classes])), number)
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32), labels


@given(probabilities(), st.floats(0.05, 20))
def test_a_temperature_keeps_probabilities_and_their_order(made, temperature):
    samples, _ = made
    found = apply_temperature(samples, temperature)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert np.allclose(found.sum(axis=-1), 1, atol=1e-5)
    assert np.allclose(np.take_along_axis(found, samples.argmax(-1)[..., None], -1)[..., 0], found.max(-1), atol=1e-6)


@given(probabilities())
def test_any_validation_galaxies_give_a_finite_calibration(made):
    samples, labels = made
    found = calibrate(samples, labels)
    assert 0.05 <= found.temperature <= 20
    assert np.isfinite([*found.loss, *found.calibration_error]).all()
    assert found.loss[1] <= found.loss[0] + 1e-6
    same = calibrate(samples, labels)
    assert same == found


@given(probabilities())
def test_a_temperature_of_one_changes_nothing(made):
    samples, _ = made
    assert apply_temperature(samples, 1) is samples
