"""All stored results as Markdown: a table for each machine and day, of what was asked and what was reached."""

import json
from statistics import median
from typing import Any

from side_by_side import RESULTS, Row

HEAD = "| what | asked | reached | spread | ours | the alternative |\n|---|---|---|---|---|---|"


def place(content: dict[str, Any]) -> str:
    """Where and when a result was measured."""
    machine = content["machine"]
    computer = machine.get("gpus", [f"{machine['cores']} cores {machine['cpu']}"])[0]
    return f"{content['date'][:10]}, {computer}, torch {content['versions']['torch']}"


def line(stored: dict[str, Any]) -> str:
    """One row of a table."""
    row = Row(**{key: value for key, value in stored.items() if key != "reached"})
    asked = "" if row.asked is None else f"{'≤' if row.at_most else '≥'} {row.asked:,g}"
    if row.skipped:
        return f"| {row.name} | {asked} | not measured: {row.skipped} | | | |"
    unit = "" if row.theirs else f" {row.unit}"
    value = f"{_short(median(row.values))}{unit}"
    value = {True: f"**{value}**", False: f"{value} (not reached)", None: value}[stored["reached"]]
    spread = f"{_short(min(row.values))}–{_short(max(row.values))}" if len(row.values) > 1 else ""
    pair = [f"{_short(median(x))} {row.unit}" if x else "" for x in (row.ours if row.theirs else [], row.theirs)]
    return f"| {row.name} | {asked} | {value} | {spread} | {pair[0]} | {pair[1]} |"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def main() -> None:
    """Print the tables."""
    tables: dict[str, list[str]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        tables.setdefault(place(content), []).extend(line(row) for row in content["rows"])
    for name, lines in tables.items():
        print(f"{name}:\n\n{HEAD}", *lines, "", sep="\n")


if __name__ == "__main__":
    main()
