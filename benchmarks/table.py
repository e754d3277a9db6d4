"""Print all stored results as Markdown: a table for each machine and day, and one for each GPU (benchmarks/gpu)."""

import json
from statistics import median
from typing import Any

from side_by_side import RESULTS, Row

HEAD = "| what | median | spread | ours | the alternative |\n|---|---|---|---|---|"
GPU_HEAD = "| step | measurement | result |\n|---|---|---|"


def place(content: dict[str, Any]) -> str:
    """Return date, processor and torch version of a result."""
    machine = content["machine"]
    computer = machine.get("gpus", [f"{machine['cores']} cores {machine['cpu']}"])[0]
    return f"{content['date'][:10]}, {computer}, torch {content['versions']['torch']}"


def line(stored: dict[str, Any]) -> str:
    """Return one row of a table; a row without an alternative has its value in place of the ratio."""
    row = Row(**{key: value for key, value in stored.items() if key != "meets_target"})
    if row.skipped:
        return f"| {row.name} | not measured: {row.skipped} | | | |"
    unit = "" if row.theirs else f" {row.unit}"
    value = f"{_short(median(row.values))}{unit}"
    spread = f"{_short(min(row.values))}–{_short(max(row.values))}" if len(row.values) > 1 else ""
    pair = [f"{_short(median(x))} {row.unit}" if x else "" for x in (row.ours if row.theirs else [], row.theirs)]
    return f"| {row.name} | {value} | {spread} | {pair[0]} | {pair[1]} |"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def gpu_lines(content: dict[str, Any]) -> list[str]:
    """Return the table of one results.json of benchmarks/gpu, with a row for each measurement of a step."""
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
