"""Metrics of a subset's predictions; every metric that the project reports is computed here."""

from collections.abc import Sequence

import torch
from torchmetrics.functional.classification import multiclass_stat_scores

from galaxy10.classes import slugs
from galaxy10.metrics.calibration_error import calibration_error


def classification_metrics(
    probabilities: torch.Tensor, labels: torch.Tensor, class_names: Sequence[str]
) -> dict[str, float | None]:
    """Return the metrics of one subset.

    Args:
        probabilities: (N, C) float, N at least 1; rows add up to one.
        labels: (N,) int64 class numbers.

    Returns:
        loss (mean negative log-likelihood, nats), accuracy, balanced_accuracy (over the classes among the labels),
        macro_f1 (over the classes among the labels or predictions, as in scikit-learn), calibration_error (expected,
        L1, 15 equal bins of the top probability; Guo et al. 2017, arXiv 1706.04599), and f1_<slug> of every class
        (None for a class that is among neither labels nor predictions).
    """
    probabilities = probabilities.double()
    num_classes = probabilities.shape[1]
    true = probabilities.gather(1, labels[:, None]).clamp_min(1e-12)
    stats = multiclass_stat_scores(probabilities, labels, num_classes, average=None).double()
    true_positive, false_positive, _, false_negative, support = stats.unbind(1)
    recall = (true_positive / support)[support > 0]
    seen = true_positive + false_positive + false_negative > 0
    f1 = 2 * true_positive / (2 * true_positive + false_positive + false_negative)
    result: dict[str, float | None] = {
        "loss": float(-true.log().mean()),
        "accuracy": float(true_positive.sum() / len(labels)),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float(f1[seen].mean()),
        "calibration_error": calibration_error(labels.cpu().numpy(), probabilities.cpu().numpy()),
    }
    for name, value, known in zip(slugs(class_names), f1.tolist(), seen.tolist(), strict=True):
        result[f"f1_{name}"] = value if known else None
    return result


def over_present_classes(
    metrics: dict[str, float | None], class_names: Sequence[str], absent: Sequence[str], prefix: str = ""
) -> dict[str, float | None]:
    """Return metrics of a file that lacks some classes, with macro_f1 over the classes that it has.

    A galaxy that is predicted as an absent class is still an error of its own class.

    Args:
        metrics: of classification_metrics, under `prefix`.
        absent: classes without a galaxy in the file: their F1 is None.
    """
    if not absent:
        return metrics
    lacking = set(absent)
    pairs = zip(slugs(class_names), class_names, strict=True)
    keys = {f"{prefix}f1_{slug}": name not in lacking for slug, name in pairs}
    scores = [metrics[key] for key, present in keys.items() if present]
    known = [score for score in scores if score is not None]
    changed = {key: None for key, present in keys.items() if not present}
    return {**metrics, **changed, f"{prefix}macro_f1": sum(known) / len(known)}
