"""The main table of a comparison in Markdown, for a README, an issue or a log."""

import html
from collections.abc import Sequence
from typing import Any

from galaxy10.reports.seed_groups import MeanStd

_COLUMNS = ("accuracy", "macro_f1", "calibration_error")
_HEAD = (
    "| experiment | seeds | accuracy | macro-F1 | calibration error | published accuracy |\n|---|---|---|---|---|---|"
)


def comparison_markdown(parts: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> str:
    """Return comparison.md: a table for each split, ranked by accuracy, the best of each column in bold.

    Args:
        parts: for each split its description and the rows of the page's table.
    """
    tables = []
    for description, rows in parts:
        lines = []
        for row in rows:
            experiment, published = row["experiment"], row["published"]
            name = experiment.name + (" (no pretrained weights)" if row["weights"] == "no pretrained weights" else "")
            cells = [_number(row["spreads"][key], row[f"best_{key}"]) for key in _COLUMNS]
            accuracy = f"{published.accuracy:.3f}" if published else ""
            lines.append(f"| {' | '.join([_cell(name), str(len(experiment.runs)), *cells, accuracy])} |")
        tables.append("\n".join([f"{_plain(description)}:", "", _HEAD, *lines, ""]))
    return "\n".join(tables)


def _number(found: MeanStd | None, best: bool) -> str:
    if found is None:
        return ""
    text = f"{found.mean:.3f}" + (f" ± {found.std:.3f}" if found.std is not None else "")
    return f"**{text}**" if best else text


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Return a text in one line and without HTML, which Markdown may hold."""
    return html.escape(" ".join(text.split()), quote=False)
