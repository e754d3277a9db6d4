"""What the job script runs, without a SLURM: stand-ins for scontrol and srun show the command."""

import os
import subprocess

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("command", ["predict", "embed"])
@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 0), (2, 2)])
def test_a_task_of_an_array_makes_one_shard_and_unreadable_images_fail_no_job(command, code, expected, tmp_path):
    script = ROOT / "slurm" / f"{command}.sbatch"
    for name, body in (("scontrol", f"echo '   Command={script} r in -o out'"), ("srun", f'echo "$@"; exit {code}')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    array = {
        "SLURM_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "5",
        "SLURM_ARRAY_TASK_MIN": "3",
        "SLURM_ARRAY_TASK_COUNT": "4",
    }
    environment = {**os.environ, **array, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["bash", script, "r", "in", "-o", "out"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == expected, done.stderr
    assert done.stdout.strip().endswith(f"-m galaxy10 {command} r in -o out --shard 2/4")
