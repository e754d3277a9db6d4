"""Two processes on this machine are one experiment: the same numbers as one process, and one end for both."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import ROOT
from tests.galaxies import write_galaxies
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

WORDS = (
    "data=hdf5", "data.path=g.h5", "data.batch_size=8", "data.eval_batch_size=7", "data.balance=dihedral",
    "model.image_size=32", "model.dropout=0", "augment=none", "logger=csv", "trainer.accelerator=cpu",
)  # fmt: skip
TWO = "trainer.devices=2"


def weights(run, part="state_dict"):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[part]


@pytest.mark.long
def test_a_grid_of_two_processes_each_gives_what_one_process_gives(train, tmp_path):
    write_galaxies(tmp_path / "g.h5", per_class=30)
    alone = train(*WORDS, "trainer.max_epochs=2", "run.dir=alone")
    assert alone.code == 0, alone.err
    grid = train("-m", *WORDS, TWO, "trainer.max_epochs=2", "seed=0,1")
    assert grid.code == 0, grid.err
    first, second = (tmp_path / trial["run_dir"] for trial in grid.result["trials"])
    assert_one_experiment(tmp_path / "alone", first)
    assert any(not torch.equal(tensor, weights(second)[key]) for key, tensor in weights(first).items())


@pytest.mark.long
def test_two_processes_average_their_weights_as_one_does(train, tmp_path):
    write_galaxies(tmp_path / "g.h5", per_class=30)
    for name, words in {"alone": (), "two": (TWO,)}.items():
        done = train(*WORDS, *words, "callbacks=ema", "trainer.max_epochs=2", f"run.dir={name}")
        assert done.code == 0, done.err
    assert_one_experiment(tmp_path / "alone", tmp_path / "two")  # the average
    one, two = (weights(tmp_path / name, "current_model_state") for name in ("alone", "two"))
    assert max((tensor - two[key]).abs().max() for key, tensor in one.items()) < 1e-5
    assert any(not torch.equal(tensor, two[key]) for key, tensor in weights(tmp_path / "two").items())


@pytest.mark.long
def test_told_to_stop_both_stop_and_what_goes_on_ends_as_if_nothing_had_happened(train, start, tmp_path):
    write_galaxies(tmp_path / "g.h5", per_class=30)
    command = (ROOT / "train.py", *WORDS, TWO, "trainer.max_epochs=3")
    with start(*command, "run.dir=stopped", cwd=tmp_path) as process:
        wait_for((tmp_path / "stopped" / "metrics.csv").exists, "the first epoch", process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    stopped, whole = (train(*command[1:], f"run.dir={name}") for name in ("stopped", "whole"))
    assert stopped.result["state"] == whole.result["state"] == "finished", stopped.err
    one, two = (weights(tmp_path / name) for name in ("stopped", "whole"))
    assert all(torch.equal(tensor, two[key]) for key, tensor in one.items())
    curves = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("stopped", "whole")]
    assert curves[0] == curves[1]


def assert_one_experiment(alone, together):
    one, two = weights(alone), weights(together)
    assert max((tensor - two[key]).abs().max() for key, tensor in one.items()) < 1e-5
    for subset, number in (("val", 9), ("test", 18)):
        tables = [pd.read_parquet(run / "predictions" / f"{subset}.parquet") for run in (alone, together)]
        assert tables[0]["row"].tolist() == tables[1]["row"].tolist()
        assert len(tables[0]) == number
        assert np.allclose(tables[0].filter(like="p_"), tables[1].filter(like="p_"), rtol=0, atol=1e-5)
    curves = [pd.read_csv(run / "metrics.csv") for run in (alone, together)]
    assert np.allclose(curves[0], curves[1], rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_a_process_that_is_killed_ends_the_run_as_failed_and_the_other_does_not_wait(start, tmp_path):
    write_galaxies(tmp_path / "g.h5", per_class=30)
    command = (ROOT / "train.py", *WORDS, TWO, "trainer.max_epochs=100000", "run.dir=r")
    with start(*command, cwd=tmp_path) as process:
        wait_for((tmp_path / "r" / "metrics.csv").exists, "the first epoch", process)
        os.kill(child_of(process.pid), signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == 1, errors
    status = json.loads((tmp_path / "r" / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["error"] == "process 1 of 2: killed by SIGKILL"
    assert errors.count("error: ") == 1
    assert not (tmp_path / "r" / "lock.json").exists()


def child_of(pid):
    """The process that it has started with LOCAL_RANK=1."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid and "\0LOCAL_RANK=1\0" in (place / "environ").read_text():
                return int(place.name)
        except (OSError, UnicodeDecodeError):
            continue
    raise AssertionError(f"{pid} has started no other process")
