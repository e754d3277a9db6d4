"""Run every field case, and print a table of what galaxy10 says about each."""

import json
import os
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from tests.field_cases.conftest import FIELD_CASES


def main() -> int:
    """Print the page; the exit code is that of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        collected = Path(folder) / "says.jsonl"
        collected.touch()
        command = [sys.executable, "-m", "pytest", "-n", "auto", str(Path(__file__).parent)]
        done = subprocess.run(command, env={**os.environ, FIELD_CASES: str(collected)}, stdout=sys.stderr)
        lines = [json.loads(line) for line in collected.read_text().splitlines()]
    lines.sort(key=lambda line: (line["kind"], line["case"], line["which"], line["says"]))
    print(
        "# Field cases\n\n"
        "What other people's files, machines and habits do, and what galaxy10 says to it. Each row is a test;\n"
        "`python -m tests.field_cases` made this page."
    )
    for kind, cases in groupby(lines, lambda line: line["kind"]):
        print(f"\n## {kind}\n\n| case | galaxy10 says |\n|---|---|")
        for line in cases:
            case = " ".join(line["case"].split()) + (f" ({line['which']})" if line["which"] else "")
            print(f"| {_cell(case)} | {_cell(' '.join(line['says'].split()))} |")
    return done.returncode


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(main())
