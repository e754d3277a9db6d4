"""Galleries of images with captions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from galaxy10.reports.style import in_house_style, line_height_in, lines_in, new_figure, wrapped

_SIZE_PT = 9
_CELL_IN = 2.0
_COLUMNS = 5


@in_house_style
def gallery(images: np.ndarray, captions: Sequence[str]) -> Figure:
    """Draw images in rows of five with captions below; captions are never cut.

    Args:
        images: (n, h, w, 3) uint8, n at least 1.
        captions: n texts; line breaks are kept, long lines are wrapped.
    """
    texts = ["\n".join(wrapped(caption.split("\n"), 29)) for caption in captions]
    columns = min(_COLUMNS, max(2, len(images)))
    rows = -(-len(images) // columns)
    text_in = lines_in(texts) * line_height_in(_SIZE_PT) + 0.12
    # Axes are placed explicitly: a layout engine would shrink the images to fit the captions.
    width, height = columns * _CELL_IN + 0.1, rows * (_CELL_IN + text_in) + 0.1
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        row, column = divmod(number, columns)
        left = (0.1 + column * _CELL_IN) / width
        bottom = 1 - (0.1 + row * (_CELL_IN + text_in) + _CELL_IN - 0.1) / height
        axes = figure.add_axes((left, bottom, (_CELL_IN - 0.1) / width, (_CELL_IN - 0.1) / height))
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
        axes.text(0, -0.03, text, transform=axes.transAxes, va="top", ha="left", fontsize=_SIZE_PT)
    return figure


def error_captions(
    true_names: Sequence[str], predicted_names: Sequence[str], confidence: np.ndarray, rows: np.ndarray
) -> list[str]:
    """Return a caption with true and predicted class, confidence (0–1) and row for each misclassified image."""
    return [
        f"{true}\n→ {guess}\n{sure:.0%}, row {row}"
        for true, guess, sure, row in zip(true_names, predicted_names, confidence, rows, strict=True)
    ]
