"""Studies and grids are submitted from a login node, which has neither GPUs nor the nodes' other things.

What SLURM makes of it is tested on a real one (tests/slurm); here an sbatch that takes everything shows its options.
"""

import os

import pytest

from galaxy10.sweeps.slurm import gpus_of
from galaxy10.sweeps.slurm_grid import _resources


@pytest.fixture
def sbatch(tmp_path):
    """A folder for PATH with an sbatch, and the file that has what it was given."""
    (tmp_path / "bin").mkdir()
    program, given = tmp_path / "bin" / "sbatch", tmp_path / "given.txt"
    program.write_text(f'#!/bin/sh\necho "$@" > {given}\necho 17\n')
    program.chmod(0o755)
    return f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", given


@pytest.mark.long
@pytest.mark.parametrize("word", ["trainer.accelerator=gpu", "data.cache_on_device=true"])
def test_a_study_for_gpus_is_submitted_from_where_there_are_none(word, sweep, sbatch, tmp_path):
    path, given = sbatch
    words = (word, "trainer.devices=2", "sweep.launcher=slurm", "sweep.workers=3")
    done = sweep(*words, PATH=path, CUDA_VISIBLE_DEVICES="")
    assert done.code == 0, done.err
    assert (done.result["state"], done.result["job"]) == ("submitted", "17")
    asked = given.read_text().split()
    assert "--array=0-2" in asked
    assert [word for word in asked if word.startswith("--gpus")] == ["--gpus-per-node=2"]


@pytest.mark.parametrize(("accelerator", "devices", "gpus"), [
    ("gpu", 2, 2), ("auto", 2, 2), ("auto", [0, 1], 2), ("auto", "auto", None),
    ("auto", -1, None), ("gpu", "auto", None), ("cpu", 2, None),
])  # fmt: skip
def test_grids_and_studies_ask_for_gpus_by_one_rule(accelerator, devices, gpus):
    trainer = {"accelerator": accelerator, "devices": devices, "num_nodes": 1}
    assert gpus_of(trainer) == _resources(trainer, {"cpus_per_task": None})["gpus"] == gpus
