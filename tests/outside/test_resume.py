"""A user's own pieces after SIGKILL: as if nothing had happened."""

import signal

import pytest
import torch

from tests.conftest import write_galaxies
from tests.outside.conftest import HERE

CONF = ("--config-dir", str(HERE / "conf"), "data.batch_size=8", "trainer.max_epochs=4", "logger=csv")
OWN = ("model=drawing", "metrics=worst_recall", "monitor=val/worst_recall", "run.report=false")
PLATEAU = ("scheduler=none", "scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "+scheduler.patience=0")
CASES = {
    # Three steps an epoch. After the first of an epoch, the last checkpoint is that of the end of the epoch before.
    "our data": (8, "data=hdf5", "data.path=g.h5", "loss=sharp", "optimizer.lr=0.01"),
    "a plateau's metric": (7, "data=hdf5", "data.path=g.h5", *PLATEAU, "+scheduler.threshold=0.9"),
    # Six steps.
    "their data, between epochs": (7, "data=theirs", "augment=none"),
    "their data, within an epoch": (9, "data=theirs", "augment=none"),
}


def contents(run, name):
    checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return {key: checkpoint[key] for key in ("epoch", "state_dict", "optimizer_states", "lr_schedulers")}


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_goes_on_to_the_same_bytes(case, train, tmp_path):
    step, *words = CASES[case]
    write_galaxies(tmp_path / "g.h5")
    command = [*CONF, *OWN, *words, "callbacks=[weight_norm,counter,kill_once]", f"callbacks.kill_once.step={step}"]
    whole = train(*command, "callbacks.kill_once.step=-1", "run.dir=whole", PYTHONPATH=str(HERE))
    assert whole.code == 0, whole.err
    assert train(*command, "run.dir=r", PYTHONPATH=str(HERE)).code == -signal.SIGKILL
    done = train(*command, "run.dir=r", PYTHONPATH=str(HERE))
    assert done.code == 0, done.err
    for name in ("best", "last"):
        assert same(contents(tmp_path / "whole", name), contents(tmp_path / "r", name)), name
    one, two = ((tmp_path / run / "metrics.csv").read_bytes() for run in ("whole", "r"))
    assert one == two


@pytest.mark.long
def test_a_module_that_overrides_hooks_without_super_keeps_what_a_run_needs(train, galaxy10, tmp_path):
    write_galaxies(tmp_path / "g.h5")
    words = [*CONF, "data=hdf5", "data.path=g.h5", "model=silent", "callbacks=counter", "run.report=false"]
    runs = [train(*words, f"run.dir={name}", PYTHONPATH=str(HERE)) for name in ("a", "b")]
    assert [done.code for done in runs] == [0, 0], runs[0].err
    assert same(contents(tmp_path / "a", "last"), contents(tmp_path / "b", "last"))  # every step is seeded
    done = galaxy10("evaluate", "a", "g.h5", "-o", "e", "--trust", "outsider", PYTHONPATH=str(HERE))
    assert done.code == 0, done.err  # its checkpoint says how its network is built
    done = train(*words, "loss=undefined", "run.dir=c", PYTHONPATH=str(HERE))
    assert done.code == 1
    assert "error: the loss is nan at epoch 1, batch 1" in done.err
