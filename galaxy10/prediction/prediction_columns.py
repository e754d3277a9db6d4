"""From what networks say to the columns of a catalogue."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from galaxy10.metrics.predictions import class_columns
from galaxy10.prediction.calibration import apply_temperature

JOINED_BY = "|"


def prediction_columns(
    samples: np.ndarray,
    ood_score: np.ndarray,
    class_names: Sequence[str],
    temperature: float,
    threshold: float | None,
) -> pa.Table:
    """predicted, predicted_name, p_<slug>…, entropy, mutual_information, prediction_set and ood_score of N pictures.

    The entropy (nats) of the mean answer is the sum of two parts: the mean entropy of the single answers, which is in
    the data, and the mutual information, which is their disagreement and so in the model (Houlsby et al. 2011, arXiv
    1112.5745; Depeweg et al. 2018, arXiv 1710.07283). With a single answer the second cannot be told: null.

    Args:
        samples: (K, N, C) probabilities of ensemble members and dropout samples.
        temperature: softens every sample; 1 leaves them.
        threshold: a class is in the prediction set if one minus its probability is at most this; None: no sets. The
            most probable class comes first in it.
    """
    answers = apply_temperature(samples.astype(np.float64), temperature)
    mean = answers.mean(axis=0)
    total = entropy(mean)
    columns = {
        **{name: pa.array(column) for name, column in class_columns(mean, class_names).items()},
        "entropy": pa.array(total.astype(np.float32)),
    }
    if len(answers) > 1:
        information = np.maximum(total - entropy(answers).mean(axis=0), 0)
        columns["mutual_information"] = pa.array(information.astype(np.float32))
    else:
        columns["mutual_information"] = pa.nulls(len(mean), pa.float32())
    if threshold is None:
        columns["prediction_set"] = pa.nulls(len(mean), pa.string())
    else:
        order, inside = np.argsort(-mean, axis=1, kind="stable").tolist(), in_set(mean, threshold)
        sets = [JOINED_BY.join(class_names[k] for k in ks if row[k]) for ks, row in zip(order, inside, strict=True)]
        columns["prediction_set"] = pa.array(sets, pa.string())
    columns["ood_score"] = pa.array(ood_score.astype(np.float32), from_pandas=True)
    return pa.table(columns)


def in_set(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Which classes are in the prediction sets, (N, C) bool: those less improbable than the threshold.

    The sets of least mean size at a given coverage (Sadinle, Lei & Wasserman 2019, JASA 114, 223). A set may be empty:
    every class is then more improbable than for nearly all galaxies whose class is known.
    """
    # A picture that is itself the threshold must not fall out by the rounding of another batch.
    return 1 - probabilities <= threshold + 1e-6


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy (…,) of probabilities (…, C), in nats."""
    return -(probabilities * np.log(np.maximum(probabilities, 1e-30))).sum(axis=-1)
