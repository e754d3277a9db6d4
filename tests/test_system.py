"""Freed memory is kept for the next step."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from galaxy10.system import keep_freed_memory

def faults_of_steps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(50 * 2**20, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults_of_steps()
assert keep_freed_memory()
np.ones(50 * 2**20, dtype=np.uint8)
print(given_back, faults_of_steps())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_freed_blocks_are_not_cleared_again_by_the_system():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 10
