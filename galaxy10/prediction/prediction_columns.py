"""The columns of a catalogue: predictions, uncertainties and prediction sets from probabilities."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from galaxy10.metrics.predictions import class_columns
from galaxy10.prediction.conformal import prediction_set_mask


def prediction_columns(
    samples: np.ndarray,
    ood: tuple[np.ndarray, np.ndarray],
    class_names: Sequence[str],
    thresholds: np.ndarray | None,
) -> pa.Table:
    """Return the prediction columns of N images.

    They are predicted, predicted_name, p_<slug>…, entropy, mutual_information, prediction_set, ood_score and
    ood_percentile.

    The entropy (nats) of the mean prediction is the sum of two parts: the mean entropy of the single predictions
    (aleatoric: in the data), and the mutual information, their disagreement (epistemic: in the model; Houlsby et al.
    2011, arXiv 1112.5745; Depeweg et al. 2018, arXiv 1710.07283). mutual_information is null for K = 1.

    Args:
        samples: (K, N, C) calibrated probabilities of ensemble members and dropout samples, in float64.
        ood: score (N,) and percentile (N,); NaN becomes null.
        thresholds: (C,); a class is in the prediction set if its conformal score is at most this; None: no sets. Sets
            are lists of class names, the most probable class first.
    """
    mean = samples.mean(axis=0)
    total = entropy(mean)
    columns = {
        **{name: pa.array(column) for name, column in class_columns(mean, class_names).items()},
        "entropy": pa.array(total.astype(np.float32)),
    }
    if len(samples) > 1:
        information = np.maximum(total - entropy(samples).mean(axis=0), 0)
        columns["mutual_information"] = pa.array(information.astype(np.float32))
    else:
        columns["mutual_information"] = pa.nulls(len(mean), pa.float32())
    if thresholds is None:
        columns["prediction_set"] = pa.nulls(len(mean), pa.list_(pa.string()))
    else:
        order, inside = np.argsort(-mean, axis=1, kind="stable").tolist(), prediction_set_mask(mean, thresholds)
        sets = [[class_names[k] for k in ks if row[k]] for ks, row in zip(order, inside, strict=True)]
        columns["prediction_set"] = pa.array(sets, pa.list_(pa.string()))
    for name, values in zip(("ood_score", "ood_percentile"), ood, strict=True):
        columns[name] = pa.array(values.astype(np.float32), from_pandas=True)
    return pa.table(columns)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the Shannon entropy (…,) of probabilities (…, C), in nats."""
    nats: np.ndarray = -(probabilities * np.log(np.maximum(probabilities, 1e-30))).sum(axis=-1)
    return nats
