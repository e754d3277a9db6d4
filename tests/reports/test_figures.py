"""Figures: every name whole, one epoch visible, the numbers those of scikit-learn."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from galaxy10.classes import GALAXY10_CLASSES
from galaxy10.metrics.calibration_error import reliability
from galaxy10.metrics.confusion import class_scores, confusion_matrix
from galaxy10.reports.figures.calibration import reliability_diagram
from galaxy10.reports.figures.classes import class_distribution, f1_by_class
from galaxy10.reports.figures.confusion import confusion_heat_map
from galaxy10.reports.figures.curves import loss_curves, metric_curves
from galaxy10.reports.figures.galleries import gallery

LONG_NAMES = tuple(f"Featured galaxy number {i} with a tightly wound arm and no bulge" for i in range(37))
NAME_SETS = [("smooth", "<b>x</b> $y_", ""), GALAXY10_CLASSES, pytest.param(LONG_NAMES, marks=pytest.mark.long)]


def random_counts(num_classes: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return confusion_matrix(*rng.integers(0, num_classes, (2, 400)), num_classes)


def class_figures(names) -> list[Figure]:
    counts = random_counts(len(names))
    table = pd.DataFrame({s: np.arange(len(names)) * 7 + 3 for s in ("train", "val", "test", "dropped")})
    table["images_per_epoch"] = 400
    return [
        confusion_heat_map(counts, names, "test"),
        confusion_heat_map(counts, names, "test", by_row=True),
        class_distribution(table, names),
        f1_by_class({"test": class_scores(counts), "val": class_scores(counts)}, names),
    ]


def tick_labels(figure: Figure) -> list[Text]:
    return [label for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]


@pytest.mark.parametrize("names", NAME_SETS, ids=len)
def test_class_names_are_whole_inside_and_apart(names):
    for figure in class_figures(names):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        shown = {label.get_text().replace("\n", " ") for label in tick_labels(figure)}
        assert {name or "(no name)" for name in names} <= shown
        whole = figure.get_tightbbox(renderer).padded(0.01)
        vertical = [t.get_window_extent(renderer) for t in figure.axes[0].get_yticklabels() if t.get_text()]
        inches = [box.transformed(figure.dpi_scale_trans.inverted()) for box in vertical]
        assert all(whole.x0 <= box.x0 and box.y1 <= whole.y1 for box in inches)
        vertical.sort(key=lambda box: box.y0)
        assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(vertical))
        # The rows themselves stay tall enough to look at, whatever room the names take.
        assert figure.axes[0].get_window_extent(renderer).height > 0.2 * 72 * len(names)


def test_one_epoch_is_a_visible_point():
    curves = pd.DataFrame({"epoch": [0], "train/loss": [1.2], "val/loss": [1.1], "val/accuracy": [0.4], "lr": [0.1]})
    for figure in (loss_curves(curves, 0), metric_curves(curves, 0)):
        assert figure is not None
        low, high = figure.axes[0].get_xlim()
        assert low < 0 < high
        assert any(line.get_marker() == "o" for line in figure.axes[0].lines)


def test_curves_survive_what_is_not_a_number():
    curves = pd.DataFrame({"epoch": [0, 1, 2], "train/loss": [np.nan, 2.0, np.inf], "val/loss": [np.nan] * 3})
    figure = loss_curves(curves)
    assert figure is not None
    (axes,) = figure.axes  # no rates: no panel for them
    (line,) = axes.lines
    assert line.get_label() == "training"
    assert [y for y in line.get_ydata() if np.isfinite(y)] == [2.0]
    FigureCanvasAgg(figure).draw()
    assert np.isfinite(axes.get_ylim()).all()
    assert axes.get_ylim()[0] < 2 < axes.get_ylim()[1]
    assert metric_curves(curves) is None
    assert loss_curves(curves[["epoch", "val/loss"]]) is None


def test_reliability_counts_every_galaxy_once():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8], [np.nan, 0.1]])
    bins = reliability(np.array([0, 0, 0, 1]), probabilities)
    assert bins is not None
    assert bins.count.sum() == 3
    assert bins.error == pytest.approx((0.0 + 0.5 + 0.8) / 3)
    assert reliability_diagram(bins, "test").axes
    assert reliability(np.array([0]), np.array([[np.nan, np.nan]])) is None


def test_gallery_shows_every_caption_whole_below_its_image():
    captions = ["In-between Round Smooth\n→ a class with a name that needs more than one line\n93%, row 12"] * 7
    figure = gallery(np.zeros((7, 20, 30, 3), np.uint8), captions)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = figure.bbox
    boxes = [text.get_window_extent(canvas.get_renderer()) for axes in figure.axes for text in axes.texts]
    assert len(boxes) == 7
    assert all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 for b in boxes)
    images = [axes.get_window_extent() for axes in figure.axes]
    assert not any(b.overlaps(image) for b in boxes for image in images)
