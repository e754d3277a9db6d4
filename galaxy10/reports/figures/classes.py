"""Number of galaxies and F1 of each class."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxy10.reports.style import (
    BLUE,
    MANY,
    SKY,
    SUBSET_COLOURS,
    VERMILLION,
    class_labels,
    in_house_style,
    label_width_in,
    line_height_in,
    new_figure,
    row_height_in,
    wrapped,
)

_SIZE_PT = 11
_PER_COLUMN, _MOST_DRAWN = 75, 300
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
    subsets = [s for s in SUBSET_COLOURS if s in distribution and distribution[s].fillna(0).sum() > 0]
    counts = {s: distribution[s].fillna(0).to_numpy(float) for s in subsets}
    if len(class_names) > MANY:
        size = np.sum([np.zeros(len(class_names)), *counts.values()], axis=0)
        figure = class_columns(class_names, size, lambda axes, rows: _stack(axes, counts, rows))
        handles, texts = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=4)
        return figure
    labels = class_labels(class_names)
    figure = _class_figure(labels, 11.2 if balanced else 7.0, legend=True)
    panels = figure.subplots(1, 2 if balanced else 1, sharey=True, squeeze=False)[0]
    _stack(panels[0], counts, np.arange(len(class_names)))
    panels[0].set_xlabel("galaxies in the file")
    panels[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.0, handlelength=1.2)
    if balanced:
        _balancing_panel(panels[1], distribution, np.arange(len(class_names)))
    _finish_class_axis(panels, labels)
    return figure


def _stack(axes: Axes, counts: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
    """Draw the galaxies of some classes (n,), one bar of all subsets for each, and write their sum."""
    position, left = np.arange(len(rows)), np.zeros(len(rows))
    for subset, count in counts.items():
        axes.barh(position, count[rows], left=left, color=SUBSET_COLOURS[subset], label=_SUBSET_LABELS[subset])
        left += count[rows]
    _write_ends(axes, position, left, [f"{n:,.0f}" for n in left])


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
    if len(class_names) > MANY:
        return class_columns(class_names, counts, lambda axes, rows: _stack(axes, {"train": counts}, rows))
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
    if len(class_names) > MANY:
        support = next(iter(scores.values()))["support"].to_numpy(float)
        figure = class_columns(class_names, support, lambda axes, rows: _f1_bars(axes, scores, rows), "F1")
        if len(scores) > 1:
            figure.legend(handles=_f1_handles(figure.axes[0]), loc="outside upper left", ncols=2)
        return figure
    labels = class_labels(class_names)
    figure = _class_figure(labels, 6.8, legend=len(scores) > 1)
    axes = figure.subplots()
    _f1_bars(axes, scores, np.arange(len(class_names)))
    axes.set_xlabel("F1")
    if len(scores) > 1:
        axes.legend(handles=_f1_handles(axes), loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    _finish_class_axis([axes], labels)
    return figure


def _f1_handles(axes: Axes) -> list[Artist]:
    return [axes.containers[0], *axes.lines]  # type: ignore[list-item]


def _f1_bars(axes: Axes, scores: dict[str, pd.DataFrame], rows: np.ndarray) -> None:
    """Draw the F1 of some classes (n,), and write it in a column at the right."""
    position = np.arange(len(rows))
    (first, table), *others = scores.items()
    f1 = table["f1"].to_numpy(float)[rows]
    axes.barh(position, np.nan_to_num(f1), height=0.7, color=BLUE, label=_SUBSET_LABELS.get(first, first))
    for other, other_table in others[:1]:
        values = other_table["f1"].to_numpy(float)[rows]
        axes.plot(
            values, position, "D", color="white", markeredgecolor=VERMILLION, markeredgewidth=1.8, markersize=7,
            linestyle="none", label=_SUBSET_LABELS.get(other, other), clip_on=False,
        )  # fmt: skip
    texts = [
        f"{value:.2f}  (n = {count:,})" if np.isfinite(value) else f"–  (n = {count:,})"
        for value, count in zip(f1, table["support"].to_numpy()[rows], strict=True)
    ]
    # Texts have a column of their own: beside a diamond they would seem to be the diamond's value.
    _write_ends(axes, position, np.ones(len(texts)), texts)
    axes.set_xlim(0, 1.28)
    axes.set_xticks(np.arange(0, 1.01, 0.2))


def _class_figure(labels: list[str], width_in: float, legend: bool) -> Figure:
    row_in = row_height_in(labels, _SIZE_PT, 0.34)
    # For names wider than 2.5 inches the figure grows; the bars do not shrink.
    width_in += max(0.0, label_width_in(labels, _SIZE_PT) - 2.5)
    return new_figure(width_in, max(2.2, row_in * len(labels) + (1.3 if legend else 0.9)))


def _finish_class_axis(panels: list[Axes] | np.ndarray, labels: list[str], size_pt: float = _SIZE_PT) -> None:
    panels[0].set_yticks(range(len(labels)), labels, fontsize=size_pt)
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


def class_columns(
    class_names: Sequence[str],
    size: np.ndarray,
    draw: Callable[[Axes, np.ndarray], None],
    xlabel: str = "galaxies in the file",
) -> Figure:
    """Draw many classes in columns of bars, at most _MOST_DRAWN of them: the largest, in class order.

    Args:
        size: (C,) galaxies of each class.
        draw: draws some classes (n,), by their numbers, into axes, at 0, 1, … n − 1.
    """
    rows = np.sort(np.argsort(-size, kind="stable")[:_MOST_DRAWN])
    columns = -(-len(rows) // _PER_COLUMN)
    parts = np.array_split(rows, columns)
    labels = [wrapped([class_names[k] for k in part], 40) for part in parts]
    lines = max(sum(label.count("\n") + 1 for label in part) for part in labels)
    reach = max(label_width_in(part, _SIZE_PT - 2) for part in labels)
    figure = new_figure(columns * (reach + 3.6), lines * line_height_in(_SIZE_PT - 2) * 1.2 + 1.4)
    figure.set_layout_engine("constrained", wspace=0.08)  # what is written at a bar's end belongs to that bar
    panels = figure.subplots(1, columns, sharex=True, squeeze=False)[0]
    for axes, part, names in zip(panels, parts, labels, strict=True):
        draw(axes, part)
        axes.set_xlabel(xlabel)
        _finish_class_axis([axes], names, _SIZE_PT - 2)
    if len(rows) < len(class_names):
        figure.suptitle(f"The {len(rows)} largest of {len(class_names):,} classes", x=0.01, ha="left")
    return figure
