"""Bootstrap intervals of accuracy and macro-F1 over the evaluated galaxies (Efron 1979, Ann. Statist. 7, 1)."""

import numpy as np

RESAMPLES = 1000
_PERCENT = (2.5, 97.5)


def bootstrap_intervals(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile intervals of accuracy and macro_f1, means over S sets of predictions.

    Galaxies are drawn with replacement, the same ones for all sets. Galaxies of equal label and predictions are drawn
    as one cell of a multinomial distribution, which is the same and much faster.

    Args:
        labels: (N,) class numbers, N at least 1.
        predicted: (S, N) class numbers, such as of S seeds.
        num_classes: C.
    """
    cells, count = np.unique(np.vstack([labels, predicted]), axis=1, return_counts=True)  # (1 + S, P), (P,)
    drawn = np.random.default_rng(seed).multinomial(len(labels), count / len(labels), size=resamples)  # (B, P)
    true = cells[0]
    support = drawn @ _one_hot(true, num_classes)  # (B, C)
    accuracy, macro_f1 = np.zeros(resamples), np.zeros(resamples)
    for guess in cells[1:]:
        right = guess == true
        hits = drawn[:, right] @ _one_hot(true[right], num_classes)
        both = support + drawn @ _one_hot(guess, num_classes)
        with np.errstate(invalid="ignore"):
            f1 = 2 * hits / both  # NaN for a class that is among neither labels nor predictions
        accuracy += hits.sum(axis=1) / len(labels)
        macro_f1 += np.nanmean(f1, axis=1)
    values = {"accuracy": accuracy / len(predicted), "macro_f1": macro_f1 / len(predicted)}
    return {name: tuple(np.percentile(value, _PERCENT).tolist()) for name, value in values.items()}


def _one_hot(classes: np.ndarray, num_classes: int) -> np.ndarray:
    found: np.ndarray = np.eye(num_classes, dtype=np.int64)[classes]
    return found
