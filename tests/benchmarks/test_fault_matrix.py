"""benchmarks/fault_matrix.py: a very small form of it."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.long
def test_commands_go_on_after_a_kill_and_a_full_disk(tmp_path):
    page = tmp_path / "page.md"
    words = [
        "--moments",
        "1",
        "--commands",
        "pack",
        "download",
        "--faults",
        "KILL",
        "full disk",
        "--markdown",
        str(page),
    ]
    command = [sys.executable, str(ROOT / "benchmarks" / "fault_matrix.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| KILL | 1 / 1 | 1 / 1 |" in done.stdout
    assert done.stdout.strip() in page.read_text()
