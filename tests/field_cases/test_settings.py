"""Settings that cannot work"""

from contextlib import nullcontext

import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.runs import devices
from galaxy10.runs.devices import check_devices
from galaxy10.runs.slurm import threads_per_process
from galaxy10.simulation.survey import class_counts
from galaxy10.training.trainer import check_batches_of_epoch


@pytest.mark.parametrize(
    ("system", "settings", "words"),
    [
        ("Linux", {"accelerator": "mps"}, "needs a Mac with Apple silicon; type trainer.accelerator=auto"),
        ("Linux", {"accelerator": "tpu"}, "needs torch_xla"),
        ("Linux", {"strategy": "fsdp"}, "needs NVIDIA GPUs; type trainer.strategy=auto"),
        ("Linux", {"accelerator": "cpu", "strategy": "deepspeed_stage_2"}, "needs NVIDIA GPUs"),
        ("Darwin", {"strategy": "ddp"}, "does not work on an Apple GPU"),
    ],
    ids=["mps on Linux", "tpu", "fsdp without GPU", "deepspeed on the CPU", "ddp on a Mac"],
)
def test_what_this_machine_cannot_do_is_refused(system, settings, words, monkeypatch, says):
    """An accelerator or a strategy that this machine does not have."""
    monkeypatch.setattr(devices, "visible_gpus", lambda: 0)
    monkeypatch.setattr(devices.platform, "system", lambda: system)
    monkeypatch.setattr(devices.platform, "machine", lambda: "arm64")
    with pytest.raises(Galaxy10Error, match=words) as refused:
        check_devices({"accelerator": "auto", "devices": "auto", "strategy": "auto", **settings})
    says(str(refused.value))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"val_check_interval": 100}, "an epoch has 5 batches; type trainer.val_check_interval=5"),
        ({"val_check_interval": 4, "limit_train_batches": 3}, "type trainer.val_check_interval=3"),
        ({"limit_train_batches": 0.1}, "limit_train_batches=0.1 of 5 batches is less than one"),
        ({"val_check_interval": 100, "check_val_every_n_epoch": None}, None),
        ({"val_check_interval": 5}, None),
        ({"val_check_interval": 0.2}, None),
        ({}, None),
    ],
    ids=lambda value: ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_numbers_of_batches_are_compared_with_those_of_an_epoch(settings, words, says):
    """A number of batches that an epoch does not have; here an epoch has 5."""
    trainer = {
        **dict.fromkeys(("limit_train_batches", "val_check_interval")),
        **{"check_val_every_n_epoch": 1, "fast_dev_run": False, "overfit_batches": 0.0},
        **settings,
    }
    with pytest.raises(Galaxy10Error, match=words) if words else nullcontext() as refused:
        check_batches_of_epoch(trainer, 5)
    says(str(refused.value) if words else "allowed")


@pytest.mark.parametrize("number", [30, 60, 100, 160])
def test_every_class_of_a_small_survey_can_be_split(number, says):
    """A survey of a hundred simulated galaxies is to be split."""
    counts = class_counts(number)
    assert counts.sum() == number
    assert counts.min() >= min(5, number // 10)
    says(f"the smallest class has {counts.min()} galaxies")


@pytest.mark.parametrize(("several", "fewest"), [("2,2", 2), ("4(x3)", 4), ("8,2(x16)", 2), ("many", None)])
def test_the_fewest_cores_of_all_nodes_count(several, fewest, monkeypatch, says):
    """SLURM_CPUS_PER_TASK holds a list."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", several)
    assert threads_per_process() == fewest
    says(f"{fewest} threads" if fewest else "left to torch")
