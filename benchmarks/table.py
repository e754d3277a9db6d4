"""All stored results as Markdown: a table for each machine and day, of what was asked and what was reached; and one
for each time that a GPU was measured (benchmarks/gpu)."""

import json
from statistics import median
from typing import Any

from side_by_side import RESULTS, Row

HEAD = "| what | asked | reached | spread | ours | the alternative |\n|---|---|---|---|---|---|"
GPU_HEAD = "| step | what | shows |\n|---|---|---|"


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


def gpu_lines(content: dict[str, Any]) -> list[str]:
    """The table of one results.json of benchmarks/gpu: a line for everything that a step has shown."""
    lines = [f"{content['card']}, {content['date'][:10]}, all steps in {content['seconds']:.0f} s:", "", GPU_HEAD]
    for step in content["steps"]:
        if step["state"] not in ("done", "skipped") or not step["rows"]:
            reason = step.get("reason", "").replace("|", "/")
            lines.append(f"| {step['step']} | {step['title']} | {step['state']}{': ' if reason else ''}{reason} |")
        for row in step["rows"]:
            values = (f"{key} {_cell(value)}" for key, value in row.items() if key != "what")
            lines.append(f"| {step['step']} | {row['what']} | {', '.join(values)} |")
    return lines


def _cell(value: Any) -> str:
    return _short(value) if isinstance(value, float) else str(value).replace("|", "/")


def main() -> None:
    """Print the tables."""
    tables: dict[str, list[str]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        tables.setdefault(place(content), []).extend(line(row) for row in content["rows"])
    for name, lines in tables.items():
        print(f"{name}:\n\n{HEAD}", *lines, "", sep="\n")
    for path in sorted((RESULTS / "gpu").glob("*.json")):
        print(*gpu_lines(json.loads(path.read_text())), "", sep="\n")


if __name__ == "__main__":
    main()
