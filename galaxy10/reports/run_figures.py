"""Draw the figures of a run directory, with their titles and captions."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from galaxy10.classes import slugs
from galaxy10.metrics.calibration_error import reliability
from galaxy10.metrics.confusion import class_scores
from galaxy10.metrics.specs import DEFAULT_METRIC_NAMES, logged_columns, metric_specs_of_run
from galaxy10.reports.figures.calibration import reliability_diagram
from galaxy10.reports.figures.classes import class_distribution, f1_by_class, is_balanced
from galaxy10.reports.figures.confusion import confusion_heat_map
from galaxy10.reports.figures.curves import logged_curves, loss_curves, metric_curves
from galaxy10.reports.figures.galleries import error_captions, gallery
from galaxy10.reports.figures.pca import scree_plot
from galaxy10.reports.html import Drawing, is_number
from galaxy10.reports.style import MANY
from galaxy10.runs.record import SCORED_SUBSETS, SUBSETS, RunRecord

MOST_IN_GALLERY = 24
_SUBSET_NAMES = {"test": "test", "val": "validation", "train": "training"}
PAGE_ORDER = {
    "classes": ["f1_by_class"],
    "confusion": [f"confusion_{subset}_{kind}" for subset in SCORED_SUBSETS for kind in ("by_row", "counts")],
    "calibration": ["reliability"],
    "curves": ["curves_loss", "curves_metrics", "curves_logged"],
    "components": ["scree"],
    "data": ["class_distribution"],
}


def draw_all(run: RunRecord, counts: dict[str, np.ndarray]) -> Iterator[Drawing]:
    """Draw every figure for which the run directory has the data.

    Args:
        counts: confusion matrix (C, C) of each subset.
    """
    yield from _curves(run)
    for subset, matrix in counts.items():
        yield from _confusion(run, subset, matrix)
    yield from _classes(run, counts)
    yield from _calibration(run)
    yield from _distribution(run)
    yield from _scree(run)
    yield from _galleries(run)


def _curves(run: RunRecord) -> Iterator[Drawing]:
    if run.curves is None or "epoch" not in run.curves:
        return
    best = run.section(run.status, "best").get("epoch")
    best = float(best) if is_number(best) else None
    if loss := loss_curves(run.curves, best):
        yield Drawing(
            "curves_loss",
            "Loss",
            "The loss of every epoch, and below it the learning rate. Where the validation loss rises while the "
            "training loss falls, the network overfits. (Some papers call the validation loss “test loss”.)",
            loss,
        )
    if metrics := metric_curves(run.curves, best):
        yield Drawing(
            "curves_metrics",
            "Metrics",
            "Metrics of the validation galaxies after every epoch; dashed: the accuracy on the training batches. "
            "The grey line marks the epoch whose weights were kept.",
            metrics,
        )
    own = {f"val/{m.name}": m.label for m in metric_specs_of_run(run) if m.name not in DEFAULT_METRIC_NAMES}
    if logged := logged_curves(run.curves, own | {column: column for column in logged_columns(run)}):
        yield Drawing(
            "curves_logged",
            "Own metrics",
            "The user's own metrics, those of votes, and what the user's code has logged, after every epoch.",
            logged,
        )


def _confusion(run: RunRecord, subset: str, matrix: np.ndarray) -> Iterator[Drawing]:
    name = _SUBSET_NAMES[subset]
    title = f"{name}: {matrix.sum():,} galaxies"
    many = ""
    if len(run.class_names) > MANY:
        many = (
            " Classes are numbered as in the table of classes, from 0; beside the matrix, the most frequent confusions."
        )
    yield Drawing(
        f"confusion_{subset}_by_row",
        f"Confusion matrix, {name}, in percent",
        "Rows are true classes, columns are predicted classes; each row adds up to 100 %. The diagonal is the recall "
        "of each class." + (many or " At the right, the number of galaxies of the row."),
        confusion_heat_map(matrix, run.class_names, f"{title}, % of the true class", by_row=True),
    )
    yield Drawing(
        f"confusion_{subset}_counts",
        f"Confusion matrix, {name}, in galaxies",
        "Numbers of galaxies. The colour follows the square root of the number, so that rare classes are visible."
        + many,
        confusion_heat_map(matrix, run.class_names, title),
    )


def _classes(run: RunRecord, counts: dict[str, np.ndarray]) -> Iterator[Drawing]:
    if not counts:
        return
    scores = {}
    for subset in (s for s in SUBSETS if s in counts):
        table = class_scores(counts[subset], run.absent)
        # The recorded value takes precedence, so that page, figure and JSON line do not differ by rounding.
        recorded = [run.metrics.get(f"{subset}/f1_{slug}") for slug in slugs(run.class_names)]
        table["f1"] = pd.Series([v if is_number(v) else np.nan for v in recorded]).fillna(table["f1"])
        scores[subset] = table
    also = " Diamonds are the F1 of the validation galaxies." if len(scores) > 1 else ""
    yield Drawing(
        "f1_by_class",
        "F1 of every class",
        "F1 is the harmonic mean of precision (share of the galaxies predicted as the class that belong to the class) "
        f"and recall (share of the class that is predicted as the class).{also} n is the number of "
        f"{_SUBSET_NAMES[next(iter(scores))]} galaxies; with few galaxies, F1 is uncertain.",
        f1_by_class(scores, run.class_names),
    )


def _calibration(run: RunRecord) -> Iterator[Drawing]:
    for subset in (s for s in SUBSETS if s in run.predictions):
        labels = run.predictions[subset]["label"].to_numpy()
        bins = reliability(labels, run.probabilities(subset))
        if bins is None:
            continue
        yield Drawing(
            "reliability",
            f"Reliability diagram, {_SUBSET_NAMES[subset]}",
            "Accuracy of the predictions in bins of their confidence. Bars that end on the dashed line are calibrated: "
            "of the predictions with a confidence of 80 %, 80 % are correct. Bars below the line are overconfident. "
            "Below, the number of galaxies in each bin.",
            reliability_diagram(bins, f"{_SUBSET_NAMES[subset]}: {bins.count.sum():,} galaxies"),
        )
        return


def _distribution(run: RunRecord) -> Iterator[Drawing]:
    table = run.distribution
    if table is None or len(table) != len(run.class_names):
        return
    caption = "Number of galaxies of each class in the file, by subset."
    if is_balanced(table) and len(run.class_names) > MANY:
        caption += " The number of training images of each class in an epoch is in class_distribution.csv."
    elif is_balanced(table):
        caption += (
            " At the right, the number of training images in an epoch: balancing repeats rare classes (and leaves out "
            "images of common ones) in training only."
        )
    yield Drawing("class_distribution", "Class distribution", caption, class_distribution(table, run.class_names))


def _scree(run: RunRecord) -> Iterator[Drawing]:
    if run.scree is None:
        return
    chosen = run.section(run.config, "model").get("num_components")
    yield Drawing(
        "scree",
        "Scree plot",
        "Variance of the images explained by each principal component, and cumulated. The dashed line marks the number "
        "of components that the classifier uses.",
        scree_plot(run.scree, float(chosen) if is_number(chosen) else None),
    )


def _galleries(run: RunRecord) -> Iterator[Drawing]:
    """Draw the galleries of the page as figures for a paper."""
    for subset in SUBSETS:
        sample = run.samples.get(f"misclassified_{subset}")
        if sample is None or not len(sample["images"]):
            continue
        first = {key: values[:MOST_IN_GALLERY] for key, values in sample.items()}
        names = run.names_of(first["labels"]), run.names_of(first["predicted"])
        captions = error_captions(*names, first["confidence"], first["rows"])
        yield Drawing(f"misclassified_{subset}", "", "", gallery(first["images"], captions))
    batch = run.samples.get("batch")
    if batch is not None and len(batch["images"]):
        images, labels = batch["images"][:MOST_IN_GALLERY], batch["labels"][:MOST_IN_GALLERY]
        yield Drawing("batch", "", "", gallery(images, run.names_of(labels)))
    for name, texts in demonstration_texts(run).items():
        yield Drawing(name, "", "", gallery(run.samples[name]["images"], ["\n".join(lines) for lines in texts]))


def demonstration_texts(run: RunRecord) -> dict[str, list[tuple[str, ...]]]:
    """Return the lines of text below each image of the demonstrations that the run has written."""
    texts: dict[str, list[tuple[str, ...]]] = {}
    if sample := run.samples.get("augmentation"):
        names = run.names_of(sample["labels"])
        shown = ["as in the file" if v == 0 else f"augmented, {v}" for v in sample["variant"]]
        texts["augmentation"] = list(zip(names, shown, strict=True))
    if sample := run.samples.get("noise"):
        names = run.names_of(sample["labels"])
        texts["noise"] = [(name, f"β = {beta:.3g}") for name, beta in zip(names, sample["beta"], strict=True)]
    if sample := run.samples.get("components"):
        shares = sample["explained_variance_ratio"]
        texts["components"] = [(f"component {i}", f"{share:.1%}") for i, share in enumerate(shares, 1)]
    return texts
