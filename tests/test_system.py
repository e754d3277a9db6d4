"""Freed memory is kept for the next step; CPU quotas and users without a home are seen."""

import os
import subprocess
import sys

import pytest

from galaxy10 import system
from galaxy10.config.paths import expand_home
from galaxy10.errors import Galaxy10Error
from galaxy10.system import cpu_quota, limited_cpus, provide_home, usable_cpus

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


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/", {"cpu.max": "400000 100000"}, 4),
        ("0::/../outside", {"cpu.max": "max 100000"}, None),
        (
            "4:memory:/x\n3:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "50000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("3:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
        ("", {}, None),
    ],
    ids=str,
)
def test_the_quota_of_a_control_group_is_read(groups, files, cores, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "groups").write_text(groups)
    assert cpu_quota(tmp_path, tmp_path / "groups") == cores


def test_a_quota_counts_beside_the_affinity(monkeypatch):
    monkeypatch.setattr(system, "_cores", lambda: 8)
    for quota, usable, limited in ((2, 2, 2), (16, 8, None), (None, 8, None)):
        monkeypatch.setattr(system, "cpu_quota", lambda quota=quota: quota)
        assert (usable_cpus(), limited_cpus()) == (usable, limited)


def test_a_user_in_no_list_gets_a_home_and_a_name_and_must_type_whole_paths(monkeypatch, tmp_path):
    monkeypatch.setattr(system.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(system, "_is_listed_user", lambda: False)
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    provide_home()
    assert os.path.isdir(os.path.expanduser("~"))
    assert os.environ["LOGNAME"] == f"user-{os.getuid()}"
    with pytest.raises(Galaxy10Error, match="there is no home directory ~; type the whole path"):
        expand_home("~/x")
