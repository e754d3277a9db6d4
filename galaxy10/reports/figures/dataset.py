"""Histograms of a data set: redshift, pixel scale and brightness."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxy10.reports.style import BLUE, GREEN, VERMILLION, in_house_style, new_figure

_CHANNELS = (("red (z)", VERMILLION, "-"), ("green (r)", GREEN, "--"), ("blue (g)", BLUE, ":"))


@in_house_style
def histogram(values: np.ndarray, xlabel: str, log: bool = False) -> Figure:
    """Draw the number of galaxies in bins of a quantity.

    Args:
        values: (N,), at least one finite; values that are not finite are left out.
        log: whether the counts have a logarithmic axis, for quantities that are nearly constant.
    """
    values = values[np.isfinite(values)]
    figure = new_figure(7.2, 3.8)
    axes = figure.subplots()
    low, high = float(values.min()), float(values.max())
    if low == high:
        # A single value has no range: draw one bar with a margin.
        low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)
    axes.hist(values, bins=np.linspace(low, high, 51).tolist(), color=BLUE, log=log)
    axes.set(xlabel=xlabel, ylabel="galaxies")
    if not log:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(True, axis="y")
    return figure


@in_house_style
def channel_histogram(levels: np.ndarray) -> Figure:
    """Draw the share of pixels of each brightness in each channel.

    Args:
        levels: (3, 256) numbers of pixels, channels in the order of the file.
    """
    figure = new_figure(7.2, 3.8)
    axes = figure.subplots()
    share = levels / np.maximum(1, levels.sum(axis=1, keepdims=True))
    for values, (label, colour, line) in zip(share, _CHANNELS, strict=True):
        axes.plot(np.arange(256) / 255, np.where(values > 0, values, np.nan), color=colour, linestyle=line, label=label)
    axes.set_yscale("log")
    axes.set(xlabel="brightness (0–1)", ylabel="share of the pixels", xlim=(0, 1))
    axes.legend()
    axes.grid(True)
    return figure
