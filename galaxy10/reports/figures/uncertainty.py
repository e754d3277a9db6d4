"""Figures that compare prediction modes: reliability diagrams and selective accuracy."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from galaxy10.metrics.calibration_error import reliability
from galaxy10.reports.style import BLUE, CYCLE, GREY, SKY, VERMILLION, in_house_style, new_figure, wrapped


@in_house_style
def reliability_grid(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """Draw a reliability diagram for every mode (columns), before and after temperature scaling (rows).

    Args:
        before, after: mode → (N, C) probabilities.
        labels: (N,) class numbers.
    """
    figure = new_figure(2.8 * len(before) + 0.6, 6.2)
    grid = figure.subplots(2, len(before), sharex=True, sharey=True, squeeze=False)
    for row, (stage, by_mode) in zip(grid, (("before", before), ("after", after)), strict=True):
        for axes, (mode, probabilities) in zip(row, by_mode.items(), strict=True):
            bins = reliability(labels, probabilities, bins=10)
            assert bins is not None
            filled = bins.count > 0
            centre, width = ((bins.edges[1:] + bins.edges[:-1]) / 2)[filled], np.diff(bins.edges)[filled] * 0.94
            axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2)
            axes.bar(centre, bins.accuracy[filled], width, color=SKY, edgecolor=BLUE)
            axes.vlines(centre, bins.accuracy[filled], bins.confidence[filled], color=VERMILLION, linewidth=2)
            axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0.2, 0.5, 0.8))
            axes.text(0.04, 0.93, stage, fontsize=10)
            if stage == "before":
                axes.set_title(wrapped([mode], 18)[0], fontsize=11)
    figure.supxlabel("confidence (highest class probability)", fontsize=11)
    figure.supylabel("accuracy", fontsize=11)
    return figure


@in_house_style
def selective_accuracy(probabilities: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """Draw the accuracy of the most certain galaxies against the share of galaxies kept.

    Args:
        probabilities: mode → (N, C).
        labels: (N,) class numbers.
    """
    figure = new_figure(7.2, 4.8)
    axes = figure.subplots()
    least = 1.0
    for (mode, rows), colour in zip(probabilities.items(), CYCLE * 2, strict=False):
        order = np.argsort(-rows.max(axis=1), kind="stable")
        right = (rows.argmax(axis=1) == labels)[order]
        kept = np.arange(1, len(labels) + 1)
        # The accuracy of fewer than 20 galaxies is noise; a smaller subset is drawn as a single point.
        shown = kept >= min(len(labels), max(20, len(labels) // 20))
        accuracy = right.cumsum() / kept
        axes.plot(kept[shown] / len(labels), accuracy[shown], color=colour, label=mode)
        least = min(least, float(accuracy[shown].min()))
    axes.set(xlim=(0, 1), ylim=(max(0.0, least - 0.02), 1.005))
    axes.set(xlabel="share of galaxies kept, the most certain first", ylabel="accuracy among them")
    axes.grid(True)
    figure.legend(loc="outside lower center", ncols=3)
    return figure
