"""Ways of asking networks side by side: are their probabilities true, and do they know when they do not know?"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from galaxy10.metrics.confusion import reliability
from galaxy10.reports.style import BLUE, CYCLE, GREY, SKY, VERMILLION, in_house_style, new_figure, wrapped


@in_house_style
def reliability_grid(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """A small reliability diagram for every way (across), before and after the temperature (down).

    Args:
        before, after: way → (N, C) probabilities.
        labels: (N,).
    """
    figure = new_figure(2.8 * len(before) + 0.6, 6.2)
    grid = figure.subplots(2, len(before), sharex=True, sharey=True, squeeze=False)
    for row, (said, answers) in zip(grid, (("before", before), ("after", after)), strict=True):
        for axes, (way, probabilities) in zip(row, answers.items(), strict=True):
            bins = reliability(labels, probabilities, bins=10)
            assert bins is not None
            filled = bins.count > 0
            centre, width = ((bins.edges[1:] + bins.edges[:-1]) / 2)[filled], np.diff(bins.edges)[filled] * 0.94
            axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2)
            axes.bar(centre, bins.accuracy[filled], width, color=SKY, edgecolor=BLUE)
            axes.vlines(centre, bins.accuracy[filled], bins.confidence[filled], color=VERMILLION, linewidth=2)
            axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0.2, 0.5, 0.8))
            axes.text(0.04, 0.93, f"{said}", fontsize=10)
            if said == "before":
                axes.set_title(wrapped([way], 18)[0], fontsize=11)
    figure.supxlabel("confidence (highest class probability)", fontsize=11)
    figure.supylabel("share of right verdicts", fontsize=11)
    return figure


@in_house_style
def accuracy_when_choosing(probabilities: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """Accuracy among the galaxies kept, against the share kept, the least certain left out first.

    Args:
        probabilities: way → (N, C).
        labels: (N,).
    """
    figure = new_figure(7.2, 4.8)
    axes = figure.subplots()
    least = 1.0
    for (way, answers), colour in zip(probabilities.items(), CYCLE * 2, strict=False):
        order = np.argsort(-answers.max(axis=1), kind="stable")
        right = (answers.argmax(axis=1) == labels)[order]
        kept = np.arange(1, len(labels) + 1)
        # Of a handful, an accuracy says nothing; where there is no more than that, it is all there is to show.
        shown = kept >= min(len(labels), max(20, len(labels) // 20))
        accuracy = right.cumsum() / kept
        axes.plot(kept[shown] / len(labels), accuracy[shown], color=colour, label=way)
        least = min(least, float(accuracy[shown].min()))
    axes.set(xlim=(0, 1), ylim=(max(0.0, least - 0.02), 1.005))
    axes.set(xlabel="share of galaxies kept, the most certain first", ylabel="accuracy among them")
    axes.grid(True)
    figure.legend(loc="outside lower center", ncols=3)
    return figure
