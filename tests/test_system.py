"""Freed memory is kept for the next step, and given back once training is over."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from galaxy10.system import keep_freed_memory, memory_is_shared, return_freed_memory, share_memory_between_threads

assert not memory_is_shared()
assert share_memory_between_threads()
assert memory_is_shared()

def faults_of_steps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(100 * 2**20, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults_of_steps()
assert keep_freed_memory()
np.ones(100 * 2**20, dtype=np.uint8)
kept = faults_of_steps()
with ThreadPoolExecutor(1) as pool:
    kept_of_thread = pool.submit(faults_of_steps).result()

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

block, upper = np.ones(200 * 2**20, dtype=np.uint8), np.ones(2**20, dtype=np.uint8)
del block
held = resident()
assert return_freed_memory()
print(given_back, kept, kept_of_thread, held - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_freed_blocks_are_not_cleared_again_by_the_system_until_they_are_given_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    given_back, kept, kept_of_thread, returned = map(int, done.stdout.split())
    assert kept < given_back / 10
    assert kept_of_thread < given_back / 10
    assert returned > 150 * 2**20
