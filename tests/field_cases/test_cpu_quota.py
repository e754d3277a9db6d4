"""Limits of a container"""

import pytest

from galaxy10 import system
from galaxy10.system import cpu_quota, limited_cpus, usable_cpus


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
    ids=["nested groups", "version 2", "outside", "version 1", "version 1 without quota", "no groups"],
)
def test_the_quota_of_a_control_group_is_read(groups, files, cores, tmp_path, says):
    """A container's CPU quota is set by control groups of version 1 or 2."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "groups").write_text(groups)
    assert cpu_quota(tmp_path, tmp_path / "groups") == cores
    says(f"{cores} of its cores" if cores else "no quota")


def test_a_quota_counts_beside_the_affinity(monkeypatch, says):
    """The quota allows more, or fewer, cores than the machine has."""
    monkeypatch.setattr(system, "_cores", lambda: 8)
    for quota, usable, limited in ((2, 2, 2), (16, 8, None), (None, 8, None)):
        monkeypatch.setattr(system, "cpu_quota", lambda quota=quota: quota)
        assert (usable_cpus(), limited_cpus()) == (usable, limited)
    says("the smaller number counts")
