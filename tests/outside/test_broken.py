"""Mistakes in a user's code: one line that says whose it is, and where."""

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from galaxy10.config.building import build
from galaxy10.config.user_code import TRUST_VARIABLE, describe_failure
from galaxy10.data.epoch_seeding import seed_epochs
from galaxy10.errors import Galaxy10Error, TrainingError
from galaxy10.metrics.extra import compute_extra_metrics
from galaxy10.models.factory import _without_pretrained
from galaxy10.training.callbacks import FiniteLoss, RestorePlateau
from galaxy10.training.checkpoints import AtomicCheckpointIO
from galaxy10.training.components import build_components
from tests.galaxies import write_galaxies
from tests.outside.conftest import HERE


@pytest.fixture
def trusted(monkeypatch):
    monkeypatch.setenv(TRUST_VARIABLE, "outsider")


def test_a_network_that_fails_fails_the_run_and_is_named(train, tmp_path):
    write_galaxies(tmp_path / "g.h5")
    words = ["data=hdf5", "data.path=g.h5", "data.batch_size=8", "logger=csv", "run.dir=r", "model=mynet"]
    named = ("--config-dir", str(HERE / "conf"), "model.network._target_=outsider.nets.Broken")
    done = train(*named, *words, PYTHONPATH=str(HERE))
    assert done.code == 1
    said = [line for line in done.err.splitlines() if line.startswith("error: ")]
    place = r"error: IndexError: no such layer, in outsider.nets.Broken.forward (nets.py, line "
    assert len(said) == 1
    assert said[0].startswith(place)
    assert said[0].endswith("(the details are in r/traceback.txt)")
    assert "nobody reads" in (tmp_path / "r/traceback.txt").read_text()
    assert json.loads((tmp_path / "r/status.json").read_text())["state"] == "failed"


def test_the_innermost_place_of_theirs_is_said(trusted):
    from outsider.metrics import WorstRecall
    from outsider.nets import Broken, MyNet

    with pytest.raises(IndexError) as inside:
        Broken(3)(torch.zeros(2, 3, 32, 32))
    assert "in outsider.nets.Broken.forward (nets.py, line" in describe_failure(inside.value)
    with pytest.raises(RuntimeError) as below:
        MyNet(3)(torch.zeros(2, 1, 32, 32))  # torch's convolution refuses; their forward has called it
    assert "in outsider.nets.MyNet.forward (nets.py, line" in describe_failure(below.value)
    assert describe_failure(ValueError("ours")) == "ValueError: ours"
    with pytest.raises(Galaxy10Error, match=r"cannot be built: TypeError: .*, in outsider.nets.MyNet.__init__"):
        build({"_target_": "outsider.nets.MyNet", "num_classes": 3, "width": "wide"}, key="model.network")
    with pytest.raises(TrainingError, match=r"the metric mine .*in outsider.metrics.WorstRecall.update \(metrics.py"):
        compute_extra_metrics({"mine": WorstRecall(2)}, torch.zeros(4, 3), torch.arange(4))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (torch.zeros(8, requires_grad=True), r"the loss has the shape \(8,\); expected one number"),
        (torch.zeros(()), "the loss does not depend on the weights"),
        (torch.zeros((), requires_grad=True) * float("inf"), "the loss is nan at epoch 2, batch 3"),
    ],
)
def test_a_loss_that_cannot_be_trained_on(loss, said):
    trainer = SimpleNamespace(fit_loop=SimpleNamespace(batch_idx=2), current_epoch=1)
    with pytest.raises(TrainingError, match=said):
        FiniteLoss().on_before_backward(trainer, None, loss)


def test_what_is_no_metric_is_refused():
    empty = {section: {} for section in ("loss", "param_groups", "optimizer", "scheduler")}
    config = {**empty, "metrics": {"mine": {"_target_": "outsider.nets.MyNet", "num_classes": 3}}}
    with pytest.raises(Galaxy10Error, match=r"metrics.mine._target_ makes a MyNet, which is no torchmetrics's Metric"):
        build_components(config, {})


def test_checkpoints_take_numpys_numbers_and_refuse_objects(tmp_path):
    weights = nn.BatchNorm2d(2).state_dict()
    state = {"count": np.float64(0.1), "seen": [np.int64(3), (None, "a")], "at": torch.zeros(2)}
    AtomicCheckpointIO().save_checkpoint({"state_dict": weights, "callbacks": {"Mine": state}}, tmp_path / "c")
    loaded = torch.load(tmp_path / "c", weights_only=True)
    assert loaded["callbacks"]["Mine"] == {**state, "at": loaded["callbacks"]["Mine"]["at"]}
    assert loaded["state_dict"]._metadata == weights._metadata
    for thing in (np.zeros(2), HERE, nn.Linear(1, 1), {1: object()}):
        with pytest.raises(TrainingError, match=r"the checkpoint's callbacks.Mine.* is of type"):
            AtomicCheckpointIO().save_checkpoint({"callbacks": {"Mine": thing}}, tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.long
def test_a_builder_of_another_library_gets_the_number_of_classes():
    for node in (
        {"_target_": "timm.create_model", "model_name": "test_resnet"},
        {"_target_": "torchvision.models.shufflenet_v2_x0_5"},
    ):
        assert build(node, {"num_classes": 3})(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    recipe = {"a": [{"_target_": "timm.create_model", "pretrained": True, "checkpoint_path": "x"}], "pretrained": True}
    assert _without_pretrained(recipe) == {"a": [{"_target_": "timm.create_model"}], "pretrained": True}


def scheduled(values, restart_after=None):
    """Rates of a scheduler that waits for a metric, as Lightning shows it one after the checkpoint of each epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = ReduceLROnPlateau(optimizer, patience=0)
    config = SimpleNamespace(scheduler=scheduler, reduce_on_plateau=True, monitor="val/loss", frequency=1)
    trainer = SimpleNamespace(lr_scheduler_configs=[config], callback_metrics={}, current_epoch=0)
    module = SimpleNamespace(lr_scheduler_step=lambda scheduler, value: scheduler.step(value))
    callback, rates = RestorePlateau(), []
    for epoch, value in enumerate(values):
        callback.on_train_epoch_start(trainer, module)
        trainer.callback_metrics["val/loss"] = torch.tensor(value)
        callback.on_train_epoch_end(trainer, module)
        checkpoint = {"state": scheduler.state_dict(), "lr": optimizer.param_groups[0]["lr"]}
        callback.on_save_checkpoint(trainer, module, checkpoint)
        if epoch == restart_after:  # killed between saving and printing
            optimizer.param_groups[0]["lr"] = checkpoint["lr"]
            scheduler.load_state_dict(checkpoint["state"])
            callback = RestorePlateau()
            callback.on_load_checkpoint(trainer, module, checkpoint)
            callback.on_train_start(trainer, module)
        else:
            module.lr_scheduler_step(scheduler, float(value))
        rates.append(optimizer.param_groups[0]["lr"])
    within = {}
    callback.on_train_epoch_start(trainer, module)
    callback.on_save_checkpoint(trainer, module, within)
    assert within == {"plateau": [None]}  # it has been shown all
    return rates


def test_a_plateau_is_shown_the_metric_of_the_epoch_that_was_saved_last():
    values = [1.0, 2.0, 0.5, 0.6, 0.7]
    assert scheduled(values)[-1] < 0.01
    for epoch in range(len(values)):
        assert scheduled(values, restart_after=epoch) == scheduled(values)


def test_their_loader_shuffles_alike_wherever_the_random_stream_stands():
    def batches(epoch=0, rank=0, done=0, seed=0):
        progress = SimpleNamespace(current=SimpleNamespace(ready=done))
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, fit_loop=loop)
        loader = functools.partial(torch.utils.data.DataLoader, range(20), 4, shuffle=True)
        data = SimpleNamespace(train_dataloader=loader, trainer=trainer)
        seed_epochs(data, seed)
        torch.rand(torch.randint(9, ()) + 1)
        found = data.train_dataloader()
        assert (len(found), len(found.dataset)) == (5, 20)
        iterator = iter(found)
        torch.rand(3)  # between making the iterator and its first batch, as callbacks do
        return torch.cat(list(iterator)).tolist()

    first = batches()
    assert sorted(first) == list(range(20))
    assert batches() == first
    assert batches(done=3) == first[12:]
    assert len({tuple(batches(**other)) for other in ({}, {"epoch": 1}, {"rank": 1}, {"seed": 1})}) == 4


def test_an_optimizer_of_torch_that_does_not_suit_is_named():
    """A sparse optimizer, for example; an error of the training step, which optimizers call, is not theirs."""
    weight = nn.Parameter(torch.zeros(2))

    def failure(optimizer, step):
        try:
            optimizer.step(step)
        except RuntimeError as error:
            return describe_failure(error)

    def fails():
        raise RuntimeError("in a step")

    weight.grad = torch.ones(2)
    said = failure(torch.optim.SparseAdam([weight]), None)
    assert "SparseAdam does not support dense gradients" in said
    assert "in torch.optim.sparse_adam.SparseAdam.step (sparse_adam.py, line " in said
    assert failure(torch.optim.AdamW([weight]), fails) == "RuntimeError: in a step"
