"""Thousands of damaged files, the same at every start: no crash, no hang, no more than 1 GiB, no exception but ours."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.security.fuzz import WRITERS

FILES = 300  # of each kind: all kinds together take about a minute and a half of CPU time
LONGEST_S = 120  # for all files of one kind, which take 2 to 8 s: a reader that hangs


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    words = ["-W", "ignore", "-m", "tests.security.fuzz", str(tmp_path), kind, "0", str(FILES)]
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            out, _ = process.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            pytest.fail(f"the reader of {kind} hangs on file {(out.splitlines() or ['(undamaged)'])[-1]}")
    lines = out.splitlines()
    last = next((line for line in reversed(lines) if line.isdecimal()), "none")
    assert process.returncode == 0, (
        f"ended by {process.returncode} after file {last}: {(tmp_path / 'errors').read_text()[-2000:]}"
    )
    assert [line for line in lines if not line.isdecimal()] == []
    assert last == str(FILES - 1)
