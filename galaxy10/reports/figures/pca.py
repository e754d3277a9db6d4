"""The scree plot of a PCA."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from galaxy10.reports.style import BLUE, GREY, VERMILLION, in_house_style, new_figure


@in_house_style
def scree_plot(scree: pd.DataFrame, chosen: float | None = None) -> Figure:
    """Draw the explained variance of each component (bars, left axis) and its cumulative sum (line, right axis).

    Args:
        scree: component (1, 2, …), explained_variance_ratio (0–1).
        chosen: the number of components kept, to be marked, if any.
    """
    figure = new_figure(7.2, 4.6)
    axes = figure.subplots()
    number, share = scree["component"].to_numpy(), scree["explained_variance_ratio"].to_numpy(float)
    bars = axes.bar(number, share, color=BLUE, width=0.85, label="one component (left axis)")
    axes.set(xlabel="principal component", ylabel="explained variance", ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    together = axes.twinx()
    total = np.cumsum(share)
    (line,) = together.plot(number, total, color=VERMILLION, marker="o", markersize=3, label="cumulative (right axis)")
    together.set(ylim=(0, 1.02), ylabel="explained variance, cumulative")
    together.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    together.spines["right"].set_visible(True)
    handles = [bars, line]
    if chosen is not None and number.min() <= chosen <= number.max():
        kept = total[int(np.searchsorted(number, chosen))]
        label = f"{chosen:g} kept: {kept:.0%} of the variance"
        handles.append(axes.axvline(chosen, color=GREY, linestyle="--", linewidth=1.5, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    axes.grid(True, axis="y")
    return figure
