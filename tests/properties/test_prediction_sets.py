"""Any probabilities: prediction sets cover the validation galaxies they were fitted to, and grow with the coverage."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from galaxy10.prediction.calibration import calibrate
from galaxy10.prediction.conformal import prediction_set_mask
from galaxy10.prediction.prediction_columns import prediction_columns
from galaxy10.prediction.temperature import apply_temperature
from tests.properties.test_prediction import probabilities

coverages = st.floats(0.01, 0.999)


@given(probabilities(), coverages, coverages, st.booleans())
def test_sets_cover_what_they_were_fitted_to_and_grow(made, one, other, per_class):
    samples, labels = made
    calibration = calibrate(samples, labels)
    mean = apply_temperature(samples.astype(np.float64), calibration.temperature).mean(axis=0)
    thresholds = [calibration.thresholds(coverage, per_class) for coverage in sorted((one, other))]
    inside = [prediction_set_mask(mean, threshold) for threshold in thresholds]
    assert inside[0].any(axis=1).all()
    assert inside[0][np.arange(len(labels)), labels].mean() >= min(one, other) - 1e-9
    assert (inside[0] <= inside[1]).all()


@given(probabilities(), st.none() | st.floats(0, 1) | st.just(float("inf")), st.floats(0.05, 20))
def test_columns_of_any_probabilities_are_finite(made, threshold, temperature):
    samples, labels = made
    names = [f"class {k}" for k in range(samples.shape[2])]
    thresholds, unknown = None if threshold is None else np.full(len(names), threshold), np.full(len(labels), np.nan)
    tempered = apply_temperature(samples.astype(np.float64), temperature)
    table = prediction_columns(tempered, (unknown, unknown), names, thresholds).to_pandas()
    assert np.isfinite(table[["entropy", *(f"p_class_{k}" for k in range(len(names)))]].to_numpy(float)).all()
    assert np.allclose(table.filter(like="p_class").sum(axis=1), 1, atol=1e-4)
    assert table["ood_score"].isna().all()
    assert set(table["predicted_name"]) <= set(names)
