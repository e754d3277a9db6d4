"""Hundreds of classes, and names in any script"""

import logging
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager

from galaxy10.metrics.confusion import class_scores, confusion_matrix
from galaxy10.reports import fonts
from galaxy10.reports.figures.classes import class_counts, class_distribution, f1_by_class
from galaxy10.reports.figures.comparison import f1_heat_map
from galaxy10.reports.figures.confusion import confusion_heat_map, most_confused
from galaxy10.reports.html import MOST_PIXELS, png
from galaxy10.reports.style import DPI

NUMBER = 300
NAMES = [f"Class number {k} of the survey" for k in range(NUMBER)]


def drawn(name):
    """One figure of 300 classes, and the class names that it must show."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(NUMBER), 5)
    predicted = np.where(rng.random(len(labels)) < 0.7, labels, rng.integers(0, NUMBER, len(labels)))
    counts = confusion_matrix(labels, predicted, NUMBER)
    table = pd.DataFrame({s: np.arange(NUMBER) + 3 for s in ("train", "val", "test")}).assign(images_per_epoch=9)
    worst = [f"{NAMES[i]} → {NAMES[k]}" for i, k, _ in zip(*most_confused(counts, 9), strict=True)]
    if name == "confusion":
        return confusion_heat_map(counts, NAMES, "test"), worst
    if name == "distribution":
        return class_distribution(table, NAMES), NAMES
    if name == "f1":
        return f1_by_class({"test": class_scores(counts), "val": class_scores(counts)}, NAMES), NAMES
    if name == "counts":
        return class_counts(counts.sum(axis=1), NAMES), NAMES
    return f1_heat_map(np.stack([np.linspace(0, 1, NUMBER), np.zeros(NUMBER)]), ["a", "b"], NAMES), NAMES[-40:]


@pytest.mark.parametrize("name", ["confusion", "distribution", "f1", "counts", "comparison"])
def test_figures_of_300_classes(name, says):
    """A file has 300 classes."""
    figure, expected = drawn(name)
    width, height = figure.get_size_inches()
    dpi = min(DPI, MOST_PIXELS / max(width, height))
    labels = [tick for axes in figure.axes for tick in axes.get_yticklabels() if tick.get_text()]
    assert set(expected) <= {tick.get_text().replace("\n", " ") for tick in labels}
    assert min(tick.get_fontsize() for tick in labels) * dpi / 72 >= 10  # pixels
    assert sum(len(axes.texts) for axes in figure.axes) <= 2 * NUMBER + 80  # linear in classes, not their square
    says(f"{width:.0f} × {height:.0f} inches, letters of {labels[0].get_fontsize() * dpi / 72:.0f} pixels")


def names_drawn(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = class_counts(np.full(len(names), 7), names)
        png(figure)
    return figure


def test_a_script_that_another_installed_font_has(says):
    """A class name has a sign that the figures' own font lacks, and another installed font has."""
    figure = names_drawn(["Spiral", "\u2313 profile"])  # of STIX, which comes with matplotlib
    families = figure.axes[0].get_yticklabels()[1].get_fontfamily()
    assert families[0] == fonts.DEFAULT_FONT
    paths = [font_manager.findfont(family, fallback_to_default=False) for family in families[1:]]
    assert any("\u2313" in fonts._letters(path) for path in paths)
    says("it is drawn with that font, without a warning")


def test_a_script_that_no_font_has(caplog, monkeypatch, says):
    """Class names are in Chinese and emoji, and no font on the machine has them."""
    monkeypatch.setattr(fonts, "_installed", lambda: [])
    monkeypatch.setattr(fonts, "_told", set())
    fonts.fallback_families.cache_clear()
    with caplog.at_level(logging.WARNING):
        names_drawn(["渦巻", "\U0001f300"])
        names_drawn(["渦巻", "\U0001f300"])
    fonts.fallback_families.cache_clear()
    (message,) = caplog.messages
    assert "fonts-noto-cjk and fonts-symbola" in message
    says(message)
