"""The confusion matrix as a heat map."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxy10.reports.style import (
    BLUE,
    MANY,
    SEQUENTIAL,
    SOFT,
    class_labels,
    in_house_style,
    label_width_in,
    line_height_in,
    new_figure,
    row_height_in,
    text_on,
    wrapped,
)

_MATRIX_IN, _PAIRS, _OVERVIEW_PT = 9.0, 30, 10
# From a visible blue: a single galaxy among 300 classes is two pixels wide.
_ON_WHITE = ListedColormap(colormaps[SEQUENTIAL](np.linspace(0.35, 1, 256)))


@in_house_style
def confusion_heat_map(counts: np.ndarray, class_names: Sequence[str], title: str, by_row: bool = False) -> Figure:
    """Draw a confusion matrix with the number of galaxies at the right of each row.

    Args:
        counts: (C, C) numbers of galaxies; rows are true classes, columns are predicted classes.
        by_row: draw percentages of the row instead of counts; the row of a class without galaxies stays empty.

    Of more than MANY classes, the matrix has no names; the most frequent confusions are named beside it.
    """
    num_classes = len(class_names)
    if num_classes > MANY:
        return _overview(counts, class_names, title, by_row)
    size_pt, least_in, steep = (12, 0.56, False) if num_classes <= 12 else (10, 0.4, True)
    labels = class_labels(class_names)
    cell_in = row_height_in(labels, size_pt, least_in)
    slanted = not steep and max(len(name) for name in class_names) > 3
    reach = label_width_in(labels, size_pt)
    # The title of a matrix of two or three classes is wider than the matrix.
    side = max(cell_in * num_classes, 2.8)
    figure = new_figure(side + reach + 1.2, side + (reach if steep else 0.75 * reach) + 0.9)
    axes = figure.subplots()
    shown, norm = _row_percent(counts) if by_row else _square_root(counts)
    axes.imshow(shown, cmap=SEQUENTIAL, norm=norm, aspect="equal")
    _write_cells(axes, shown, norm, by_row, size_pt)
    axes.set_yticks(range(num_classes), labels, fontsize=size_pt)
    axes.set_xticks(
        range(num_classes),
        labels,
        fontsize=size_pt,
        rotation=90 if steep else 45 if slanted else 0,
        ha="right" if slanted else "center",
        va="top",
        rotation_mode="anchor" if slanted else "default",
    )
    _write_support(axes, counts.sum(axis=1), size_pt)
    # Lines between cells, so that adjacent dark cells can be counted.
    axes.set_xticks(np.arange(-0.5, num_classes), minor=True)
    axes.set_yticks(np.arange(-0.5, num_classes), minor=True)
    axes.grid(which="minor", color="#E0E0E0", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class", fontsize=size_pt)
    axes.set_ylabel("true class", fontsize=size_pt)
    axes.set_title(title, fontsize=size_pt + 1, pad=12)
    return figure


def _overview(counts: np.ndarray, class_names: Sequence[str], title: str, by_row: bool) -> Figure:
    """Draw the matrix of many classes by their numbers, and a bar for each of the most frequent confusions."""
    rows, columns, number = most_confused(counts, _PAIRS)
    share = number / np.maximum(1, counts.sum(axis=1)[rows])
    pairs = wrapped([f"{class_names[i]} → {class_names[k]}" for i, k in zip(rows, columns, strict=True)], 60)
    reach = label_width_in(pairs, _OVERVIEW_PT)
    height = max(_MATRIX_IN, sum(text.count("\n") + 1 for text in pairs) * line_height_in(_OVERVIEW_PT) * 1.25)
    figure = new_figure(_MATRIX_IN + reach + 4.5, height + 1.4)
    left, right = figure.subplots(1, 2, width_ratios=[_MATRIX_IN, 3])
    shown, norm = _row_percent(counts) if by_row else _square_root(counts)
    left.imshow(np.where(counts > 0, shown, np.nan), cmap=_ON_WHITE, norm=norm, aspect="equal", interpolation="nearest")
    left.set_xlabel("predicted class, by its number")
    left.set_ylabel("true class, by its number")
    left.set_title(title, pad=12)
    left.spines[:].set_visible(True)
    right.barh(range(len(pairs)), 100 * share if by_row else number, color=BLUE)
    right.set_yticks(range(len(pairs)), pairs, fontsize=_OVERVIEW_PT)
    right.set_ylim(max(len(pairs), 1) - 0.4, -0.6)
    right.set_xlabel("% of the true class" if by_row else "galaxies")
    right.set_title(
        "most frequent confusions: true class → predicted class", pad=12, loc="right", fontsize=_OVERVIEW_PT
    )
    right.xaxis.set_major_locator(MaxNLocator(4, integer=not by_row))
    right.grid(True, axis="x")
    right.tick_params(axis="y", length=0)
    return figure


def most_confused(counts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true class, predicted class and number of galaxies of the most frequent confusions, each (n,)."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, wrong.shape)
    number = wrong[rows, columns]
    return rows[number > 0], columns[number > 0], number[number > 0]


def _write_support(axes: Axes, support: np.ndarray, size_pt: float) -> None:
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(support)), [f"{n:,}" for n in support], fontsize=size_pt - 1, color=SOFT)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    axes.annotate(
        "n",
        (1, 1),
        xytext=(5, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        color=SOFT,
        fontsize=size_pt - 1,
    )


def _square_root(counts: np.ndarray) -> tuple[np.ndarray, Normalize]:
    """Return counts with a square-root colour scale: a class of 30 stays visible beside a class of 3,000."""
    return counts.astype(float), PowerNorm(0.5, vmin=0, vmax=max(1, counts.max()))


def _row_percent(counts: np.ndarray) -> tuple[np.ndarray, Normalize]:
    support = counts.sum(axis=1, keepdims=True)
    return np.divide(100 * counts, support, out=np.full(counts.shape, np.nan), where=support > 0), Normalize(0, 100)


def _write_cells(axes: Axes, shown: np.ndarray, norm: Normalize, by_row: bool, size_pt: float) -> None:
    for row, column in zip(*np.nonzero(np.nan_to_num(shown)), strict=True):
        value = shown[row, column]
        text = f"{value:,.0f}" if value >= 0.5 or not by_row else "<1"
        cell = axes.text(column, row, text, ha="center", va="center", color=text_on(float(norm(value))))
        cell.set_fontsize(size_pt - (2 if len(text) > 3 else 1))
        # The text lies inside the axes; measuring 1,369 texts for the layout takes seconds.
        cell.set_in_layout(False)
