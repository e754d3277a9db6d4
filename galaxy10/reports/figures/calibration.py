"""The reliability diagram of one subset."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxy10.metrics.calibration_error import Reliability
from galaxy10.reports.style import BLUE, GREY, SKY, VERMILLION, in_house_style, new_figure


@in_house_style
def reliability_diagram(bins: Reliability, title: str) -> Figure:
    """Draw the accuracy of predictions against their confidence, and the number of galaxies in each bin."""
    figure = new_figure(5.6, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    centre = (bins.edges[1:] + bins.edges[:-1]) / 2
    width = np.diff(bins.edges) * 0.94
    filled = bins.count > 0
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.4, label="perfectly calibrated")
    upper.bar(centre[filled], bins.accuracy[filled], width[filled], color=SKY, edgecolor=BLUE, label="accuracy")
    upper.vlines(
        centre[filled], bins.accuracy[filled], bins.confidence[filled], color=VERMILLION, linewidth=2.2, label="gap"
    )
    upper.set(ylim=(0, 1.02), ylabel="accuracy")
    upper.set_title(f"{title}, calibration error {bins.error:.3f}")
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)
    lower.bar(centre, bins.count, width, color=BLUE)
    lower.set(xlabel="confidence (highest class probability)", ylabel="galaxies", xlim=(0, 1))
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter("{x:,.0f}")
    for axes in (upper, lower):
        axes.grid(True)
    return figure
