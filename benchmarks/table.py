"""All stored results as one Markdown table: what was asked, what was reached, on which machine and day."""

import json
from statistics import median

from side_by_side import RESULTS, Row

HEAD = "| what | asked | reached | spread | ours | theirs | measured |\n|---|---|---|---|---|---|---|"


def cells(content: dict) -> list[str]:
    """The lines of one result file."""
    machine = content["machine"]
    place = machine.get("gpus", [f"{machine['cores']} cores {machine['cpu']}"])[0]
    where = f"{content['date'][:10]}, {place}, load {machine['load_average_1_min']:g}"
    lines = []
    for stored in content["rows"]:
        reached = stored.pop("reached")
        row = Row(**stored)
        asked = "" if row.asked is None else f"{'≤' if row.at_most else '≥'} {row.asked:g}"
        if row.skipped:
            lines.append(f"| {row.name} | {asked} | not measured: {row.skipped} | | | | {where} |")
            continue
        unit = "" if row.theirs else f" {row.unit}"
        value = f"{median(row.values):.3g}{unit}"
        value = {True: f"**{value}**", False: f"{value} (not reached)", None: value}[reached]
        spread = f"{min(row.values):.3g}–{max(row.values):.3g}"
        pair = [f"{median(x):.4g} {row.unit}" if x else "" for x in (row.ours if row.theirs else [], row.theirs)]
        lines.append(f"| {row.name} | {asked} | {value} | {spread} | {pair[0]} | {pair[1]} | {where} |")
    return lines


if __name__ == "__main__":
    print(HEAD)
    for path in sorted(RESULTS.glob("*.json")):
        print("\n".join(cells(json.loads(path.read_text()))))
