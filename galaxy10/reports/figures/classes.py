"""Number of galaxies and F1 of each class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxy10.reports.style import (
    BLUE,
    SKY,
    SUBSET_COLOURS,
    VERMILLION,
    class_labels,
    in_house_style,
    label_width_in,
    new_figure,
    row_height_in,
)

_SIZE_PT = 11
_SUBSET_LABELS = {"train": "training", "val": "validation", "test": "test", "dropped": "dropped"}


def is_balanced(distribution: pd.DataFrame) -> bool:
    """Return whether the number of images of a class in an epoch differs from that in the training subset."""
    if not {"images_per_epoch", "train"} <= set(distribution):
        return False
    per_epoch = distribution["images_per_epoch"].dropna()
    return bool((per_epoch != distribution.loc[per_epoch.index, "train"]).any())


@in_house_style
def class_distribution(distribution: pd.DataFrame, class_names: Sequence[str]) -> Figure:
    """Draw the galaxies of each class by subset and, if balancing changes it, their number in an epoch.

    Args:
        distribution: one row per class, in class order: train, val, test, dropped, images_per_epoch.
    """
    balanced = is_balanced(distribution)
    labels = class_labels(class_names)
    figure = _class_figure(labels, 11.2 if balanced else 7.0, legend=True)
    panels = figure.subplots(1, 2 if balanced else 1, sharey=True, squeeze=False)[0]
    subsets = [s for s in SUBSET_COLOURS if s in distribution and distribution[s].fillna(0).sum() > 0]
    position = np.arange(len(class_names))
    left = np.zeros(len(class_names))
    for subset in subsets:
        count = distribution[subset].fillna(0).to_numpy(float)
        panels[0].barh(position, count, left=left, color=SUBSET_COLOURS[subset], label=_SUBSET_LABELS[subset])
        left += count
    _write_ends(panels[0], position, left, [f"{n:,.0f}" for n in left])
    panels[0].set_xlabel("galaxies in the file")
    panels[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.0, handlelength=1.2)
    if balanced:
        _balancing_panel(panels[1], distribution, position)
    _finish_class_axis(panels, labels)
    return figure


def _balancing_panel(axes: Axes, distribution: pd.DataFrame, position: np.ndarray) -> None:
    before = distribution["train"].fillna(0).to_numpy(float)
    after = distribution["images_per_epoch"].fillna(0).to_numpy(float)
    axes.barh(position - 0.2, before, height=0.4, color=BLUE, label="before balancing")
    axes.barh(position + 0.2, after, height=0.4, color=SKY, hatch="//", edgecolor="white", label="after balancing")
    _write_ends(axes, position + 0.2, after, [f"{n:,.0f}" for n in after])
    axes.set_xlabel("training images in one epoch")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


@in_house_style
def class_counts(counts: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draw the number of galaxies of each class. counts: (C,) integers."""
    labels = class_labels(class_names)
    figure = _class_figure(labels, 6.8, legend=False)
    axes = figure.subplots()
    position = np.arange(len(labels))
    axes.barh(position, counts, height=0.7, color=BLUE)
    share = counts / max(1, counts.sum())
    texts = [f"{n:,}  ({part:.1%})" for n, part in zip(counts, share, strict=True)]
    _write_ends(axes, position, counts, texts)
    axes.set_xlabel("galaxies in the file")
    _finish_class_axis([axes], labels)
    axes.set_xlim(0, 1.28 * max(1, counts.max()))
    return figure


@in_house_style
def f1_by_class(scores: dict[str, pd.DataFrame], class_names: Sequence[str]) -> Figure:
    """Draw the F1 of every class: bars for the first subset, diamonds for the second.

    Args:
        scores: subset → one row per class: f1 (NaN for a class without F1), support.
    """
    labels = class_labels(class_names)
    figure = _class_figure(labels, 6.8, legend=len(scores) > 1)
    axes = figure.subplots()
    position = np.arange(len(class_names))
    (first, table), *others = scores.items()
    f1 = table["f1"].to_numpy(float)
    bars = axes.barh(position, np.nan_to_num(f1), height=0.7, color=BLUE, label=_SUBSET_LABELS.get(first, first))
    for other, other_table in others[:1]:
        values = other_table["f1"].to_numpy(float)
        axes.plot(
            values, position, "D", color="white", markeredgecolor=VERMILLION, markeredgewidth=1.8, markersize=7,
            linestyle="none", label=_SUBSET_LABELS.get(other, other), clip_on=False,
        )  # fmt: skip
    texts = [
        f"{value:.2f}  (n = {count:,})" if np.isfinite(value) else f"–  (n = {count:,})"
        for value, count in zip(f1, table["support"], strict=True)
    ]
    # Texts have a column of their own: beside a diamond they would seem to be the diamond's value.
    _write_ends(axes, position, np.ones(len(texts)), texts)
    axes.set_xlim(0, 1.28)
    axes.set_xticks(np.arange(0, 1.01, 0.2))
    axes.set_xlabel("F1")
    if len(scores) > 1:
        axes.legend(handles=[bars, *axes.lines], loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    _finish_class_axis([axes], labels)
    return figure


def _class_figure(labels: list[str], width_in: float, legend: bool) -> Figure:
    row_in = row_height_in(labels, _SIZE_PT, 0.34)
    # For names wider than 2.5 inches the figure grows; the bars do not shrink.
    width_in += max(0.0, label_width_in(labels, _SIZE_PT) - 2.5)
    return new_figure(width_in, max(2.2, row_in * len(labels) + (1.3 if legend else 0.9)))


def _finish_class_axis(panels: list[Axes] | np.ndarray, labels: list[str]) -> None:
    panels[0].set_yticks(range(len(labels)), labels, fontsize=_SIZE_PT)
    panels[0].set_ylim(len(labels) - 0.4, -0.6)  # class 0 on top, as in every table
    for axes in panels:
        axes.grid(True, axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        if axes.get_xlabel() != "F1":
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.margins(x=0.16)


def _write_ends(axes: Axes, position: np.ndarray, ends: np.ndarray, texts: list[str]) -> None:
    for y, x, text in zip(position, ends, texts, strict=True):
        axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=_SIZE_PT - 1)
