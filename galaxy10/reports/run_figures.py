"""Which figures a run's directory yields, and the words that go with each."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from galaxy10.classes import slugs
from galaxy10.metrics.confusion import class_scores, reliability
from galaxy10.metrics.specs import DEFAULT_METRIC_NAMES, logged_columns, metric_specs_of_run
from galaxy10.reports.figures.calibration import reliability_diagram
from galaxy10.reports.figures.classes import class_distribution, f1_by_class, is_balanced
from galaxy10.reports.figures.confusion import confusion_heat_map
from galaxy10.reports.figures.curves import logged_curves, loss_curves, metric_curves
from galaxy10.reports.figures.galleries import error_captions, gallery
from galaxy10.reports.figures.pca import scree_plot
from galaxy10.reports.html import Drawing, is_number
from galaxy10.runs.record import JUDGED, SUBSETS, RunRecord

MOST_IN_GALLERY = 24
_SAID = {"test": "test", "val": "validation", "train": "training"}
PAGE_ORDER = {
    "classes": ["f1_by_class"],
    "confusion": [f"confusion_{subset}_{kind}" for subset in JUDGED for kind in ("by_row", "counts")],
    "calibration": ["reliability"],
    "curves": ["curves_loss", "curves_metrics", "curves_logged"],
    "components": ["scree"],
    "data": ["class_distribution"],
}


def draw_all(run: RunRecord, counts: dict[str, np.ndarray]) -> Iterator[Drawing]:
    """Every figure for which the run directory holds the data.

    Args:
        counts: confusion counts (C, C) by subset.
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
            "What the training minimises, epoch by epoch. While both lines fall, the network learns; where the "
            "validation line rises again, it learns the training galaxies by heart. (Some papers call the validation "
            "loss “test loss”.) Below, the learning rate.",
            loss,
        )
    if metrics := metric_curves(run.curves, best):
        yield Drawing(
            "curves_metrics",
            "Metrics",
            "Scores on the validation galaxies after every epoch; dashed, the accuracy on the training batches. "
            "The grey line marks the epoch whose weights were kept.",
            metrics,
        )
    own = {f"val/{m.name}": m.label for m in metric_specs_of_run(run) if m.name not in DEFAULT_METRIC_NAMES}
    if logged := logged_curves(run.curves, own | {column: column for column in logged_columns(run)}):
        yield Drawing(
            "curves_logged",
            "Own metrics",
            "What this run's own metrics have measured, and what its own code has logged, after every epoch.",
            logged,
        )


def _confusion(run: RunRecord, subset: str, matrix: np.ndarray) -> Iterator[Drawing]:
    said = _SAID[subset]
    title = f"{said}: {matrix.sum():,} galaxies"
    yield Drawing(
        f"confusion_{subset}_by_row",
        f"Confusion matrix, {said}, in percent",
        "A row is a true class, and its cells say what share of it got which verdict: each row adds up to 100 %. The "
        "diagonal is what the network gets right. At the right, how many galaxies stand behind the row.",
        confusion_heat_map(matrix, run.class_names, f"{title}, % of the true class", by_row=True),
    )
    yield Drawing(
        f"confusion_{subset}_counts",
        f"Confusion matrix, {said}, in galaxies",
        "The same as numbers of galaxies. The colour follows the square root, so that rare classes show.",
        confusion_heat_map(matrix, run.class_names, title),
    )


def _classes(run: RunRecord, counts: dict[str, np.ndarray]) -> Iterator[Drawing]:
    if not counts:
        return
    scores = {}
    for subset in (s for s in SUBSETS if s in counts):
        table = class_scores(counts[subset])
        # The recorded value goes first, so that page, figure and JSON line cannot differ by a rounding.
        recorded = [run.metrics.get(f"{subset}/f1_{slug}") for slug in slugs(run.class_names)]
        table["f1"] = pd.Series([v if is_number(v) else np.nan for v in recorded]).fillna(table["f1"])
        scores[subset] = table
    also = " The diamond is the validation galaxies’." if len(scores) > 1 else ""
    yield Drawing(
        "f1_by_class",
        "F1 of every class",
        "F1 is the harmonic mean of precision (how many of those called so are so) and recall (how many of those that "
        f"are so were found).{also} n is the number of {_SAID[next(iter(scores))]} galaxies; with few of them the "
        "value is uncertain.",
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
            f"Reliability, {_SAID[subset]}",
            "Verdicts sorted by how sure the network was. Bars that end on the dashed line mean that “80 % sure” is "
            "right 80 % of the time; bars below it mean overconfidence. Below, how many galaxies each bar stands for.",
            reliability_diagram(bins, f"{_SAID[subset]}: {bins.count.sum():,} galaxies"),
        )
        return


def _distribution(run: RunRecord) -> Iterator[Drawing]:
    table = run.distribution
    if table is None or len(table) != len(run.class_names):
        return
    caption = "How many galaxies of each class the file holds, and which subset they went to."
    if is_balanced(table):
        caption += (
            " At the right, what one epoch of training shows: balancing presents rare classes more often "
            "(and common ones less), never inside validation or test."
        )
    yield Drawing("class_distribution", "Class distribution", caption, class_distribution(table, run.class_names))


def _scree(run: RunRecord) -> Iterator[Drawing]:
    if run.scree is None:
        return
    chosen = run.section(run.config, "model").get("num_components")
    yield Drawing(
        "scree",
        "Scree plot",
        "How much of the difference between images each principal component holds, and all components up to it. "
        "The dashed line marks how many the classifier was given.",
        scree_plot(run.scree, float(chosen) if is_number(chosen) else None),
    )


def _galleries(run: RunRecord) -> Iterator[Drawing]:
    """The page shows galleries as cards that flow with its width; these are the same for a paper."""
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
    """The lines below each picture of the demonstrations that the run wrote."""
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
