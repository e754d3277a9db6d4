"""The matplotlib style of all figures: readable in a paper and with colour blindness; class names are never cut."""

import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

from galaxy10.reports.fonts import DEFAULT_FONT, use_installed_fonts, width_in_letters

# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/), distinct with every common form of colour blindness.
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, YELLOW, BLACK = "#56B4E9", "#CC79A7", "#F0E442", "#000000"
GREY, SOFT = "#8A8A8A", "#555555"  # lines, text
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
SUBSET_COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN, "dropped": GREY}
SEQUENTIAL = "Blues"  # one hue, ordered by lightness alone; zero is the white of the paper
SCORES = "cividis"

DPI = 150
_RC: Any = {
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": DEFAULT_FONT,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "text.parse_math": False,  # a class named "$z$" is a name, not a formula
}

P = ParamSpec("P")
R = TypeVar("R")


def in_house_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function in the style of the project; the caller's matplotlib settings stay as they are.

    Texts of a figure that it returns are drawn with installed fonts for scripts that the default font lacks.
    """

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_RC):
            drawn = draw(*args, **kwargs)
            if isinstance(drawn, Figure):
                use_installed_fonts(drawn)
            return drawn

    return styled


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure (inches) with constrained layout, unknown to pyplot."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def wrapped(names: Sequence[str], width: int = 26) -> list[str]:
    """Break names into lines of at most `width` characters; nothing is cut off."""
    return ["\n".join(textwrap.wrap(name, width)) or "(no name)" for name in names]


MANY = 40  # classes: more are drawn in columns, or without the name of each


def class_labels(names: Sequence[str]) -> list[str]:
    """Return class names as tick labels; more than 12 classes get wider labels with fewer lines."""
    return wrapped(names, 26 if len(names) <= 12 else 44)


def lines_in(labels: Sequence[str]) -> int:
    """Return the number of lines of the tallest label."""
    return max((label.count("\n") + 1 for label in labels), default=1)


def label_width_in(labels: Sequence[str], size_pt: float) -> float:
    """Estimate the width of the widest label, in inches, at a font size in points."""
    longest = max((width_in_letters(line) for label in labels for line in label.split("\n")), default=1)
    return longest * 0.6 * size_pt / 72


def line_height_in(size_pt: float) -> float:
    """Return the height of one line of text, in inches."""
    return 1.3 * size_pt / 72


def row_height_in(labels: Sequence[str], size_pt: float, least_in: float) -> float:
    """Return the row height, in inches, at which labels do not touch."""
    return max(least_in, lines_in(labels) * line_height_in(size_pt) + 0.04)


def text_on(shade: float) -> str:
    """Return a text colour that is readable on a sequential colour map at `shade` (0–1)."""
    return "white" if shade > 0.55 else "black"
