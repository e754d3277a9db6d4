"""The averaged weights: their numbers, where they are used, and the same bytes after a restart within an epoch."""

import json
import shutil
import signal
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from galaxy10.compat import averaged_model
from galaxy10.data import GalaxyData
from galaxy10.errors import Galaxy10Error, TrainingError
from galaxy10.models import Classifier
from galaxy10.training.callback_checks import check_callbacks
from galaxy10.training.callbacks import EMA, CutMix, MixUp, StepSeed
from galaxy10.training.checkpoints import AtomicCheckpointIO
from tests.conftest import QUICK, ROOT
from tests.hold import WORDS as HOLD
from tests.hold import hold_at
from tests.waiting import wait_for


class Network(nn.Sequential):
    """A network with running statistics, dropout, and a mask of infinite values."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(196, 3)
        )
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))


def module_of():
    torch.manual_seed(0)
    return Classifier(Network(), num_classes=3, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1))


def copy_of(state):
    return {name: tensor.clone() for name, tensor in state.items()}


class Watch(L.Callback):
    """Keep the weights after every step and in every validation; behind EMA."""

    def __init__(self, ema=None, save_at=None, path=None):
        self.ema, self.save_at, self.path = ema, save_at, path
        self.steps, self.averages, self.validated = [], [], []
        self.at_end = None

    def on_train_batch_end(self, trainer, module, *args):
        self.steps.append(copy_of(module.state_dict()))
        if self.ema:
            self.averages.append(copy_of(averaged_model(self.ema).module.state_dict()))
        if trainer.global_step == self.save_at:
            trainer.save_checkpoint(self.path)

    def on_validation_epoch_start(self, trainer, module):
        if not trainer.sanity_checking:
            self.validated.append(copy_of(module.state_dict()))

    def on_train_epoch_end(self, trainer, module):
        self.at_end = copy_of(module.state_dict())
        if self.save_at == "end" and trainer.current_epoch == 1:
            trainer.save_checkpoint(self.path)


def trainer_of(*callbacks, epochs=2):
    return L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks), plugins=[AtomicCheckpointIO()],
    )  # fmt: skip


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def data_of(galaxies):
    return GalaxyData(path=galaxies, image_size=16, batch_size=8, augmentation={"dihedral": "all"})


@pytest.fixture
def fitted(galaxies):
    """A training of two epochs with EMA, watched."""
    ema = EMA(decay=0.6, warmup=5)
    watch, module = Watch(ema), module_of()
    trainer, data = trainer_of(ema, watch), data_of(galaxies)
    trainer.fit(module, data)
    return SimpleNamespace(ema=ema, watch=watch, module=module, trainer=trainer, data=data)


@pytest.mark.filterwarnings("ignore")
def test_the_average_is_that_of_its_formula_and_is_what_validations_see(fitted):
    steps, averages = fitted.watch.steps, fitted.watch.averages
    expected = {name: tensor.double() for name, tensor in steps[0].items()}
    for n, (weights, average) in enumerate(zip(steps, averages, strict=True)):
        decay = min(0.6, (1 + n) / (5 + n))  # 2/6, 3/7, 4/8, 5/9, 0.6 …
        for name, tensor in weights.items():
            if n and tensor.is_floating_point() and "mask" not in name:
                expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
            if tensor.is_floating_point():
                assert torch.allclose(average[name].double(), expected[name], rtol=0, atol=1e-6), (n, name)
            else:
                assert average[name] == tensor == n + 1  # the count of batches
    assert len(steps) > 5
    per_epoch = len(steps) // 2
    assert equal(fitted.watch.validated[0], averages[per_epoch - 1])
    assert equal(fitted.watch.validated[1], averages[-1])
    assert equal(fitted.watch.at_end, steps[-1])  # swapped out again
    assert equal(fitted.module.state_dict(), averages[-1])  # after fit


@pytest.mark.filterwarnings("ignore")
def test_after_fit_the_weights_that_are_loaded_are_scored(fitted, tmp_path):
    loaded = {name: torch.ones_like(tensor) for name, tensor in fitted.module.state_dict().items()}
    fitted.module.load_state_dict(loaded)
    for score in (fitted.trainer.validate, fitted.trainer.test):
        fitted.watch.validated.clear()
        score(fitted.module, fitted.data, verbose=False)
        assert all(equal(seen, loaded) for seen in fitted.watch.validated)
        assert equal(fitted.module.state_dict(), loaded)
    assert len(fitted.watch.validated) == 0  # a test is no validation: the one before was seen
    fitted.trainer.save_checkpoint(tmp_path / "c.ckpt")
    saved = torch.load(tmp_path / "c.ckpt", weights_only=True)
    assert equal(saved["state_dict"], loaded)
    assert "current_model_state" not in saved


@pytest.mark.filterwarnings("ignore")
def test_a_training_resumed_within_an_epoch_ends_with_the_same_bits(galaxies, tmp_path):
    path, ends = tmp_path / "mid.ckpt", []
    for resume in (None, path):
        ema = EMA(decay=0.9)
        watch = Watch(ema, save_at=None if resume else 4, path=path)
        module = module_of()
        trainer = trainer_of(StepSeed(0), MixUp(3), CutMix(3), ema, watch)
        trainer.fit(module, data_of(galaxies), ckpt_path=resume, weights_only=True)
        ends.append((watch.at_end, watch.averages[-1], module.metrics, len(watch.steps)))
    assert ends[0][3] == ends[1][3] + 4
    assert equal(ends[0][0], ends[1][0])
    assert equal(ends[0][1], ends[1][1])
    assert ends[0][2] == ends[1][2]
    saved = torch.load(path, weights_only=True)
    assert saved["galaxy10"]["weights"] == "average over the steps (EMA, decay 0.9, warm-up 10)"
    assert saved["galaxy10"]["class_names"] == ["0", "1", "2"]
    assert not equal(saved["state_dict"], saved["current_model_state"])
    assert saved["averaging_state"]["n_averaged"] == 4


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_was_complete_when_it_resumes_leaves_the_average_in_the_module(galaxies, tmp_path):
    path, left = tmp_path / "end.ckpt", []
    for resume in (None, path):
        watch, module = Watch(ema := EMA(decay=0.9), save_at="end", path=path), module_of()
        trainer_of(StepSeed(0), ema, watch).fit(module, data_of(galaxies), ckpt_path=resume, weights_only=True)
        left.append(module.state_dict())
    assert not watch.steps  # nothing was trained again
    assert equal(left[0], left[1])


def test_a_module_that_cannot_be_copied_is_refused_in_one_line():
    module = module_of()
    module.file = open(__file__)  # noqa: SIM115
    with module.file, pytest.raises(TrainingError, match="averages a copy of Classifier, which cannot be copied"):
        EMA().setup(trainer_of(), module, "fit")


@pytest.mark.parametrize("wrong", [{"decay": 1.0}, {"decay": -0.1}, {"warmup": 0}])
def test_a_decay_or_warm_up_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="is not from 0 to below 1"):
        EMA(**wrong)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_precisions_of_other_weights_than_float32_are_refused(precision):
    callbacks = {"ema": {"_target_": "galaxy10.training.callbacks.EMA"}}
    trainer = {"strategy": "auto", "precision": precision}
    config = {"callbacks": callbacks, "model": {"unused_groups": []}, "trainer": trainer}
    with pytest.raises(Galaxy10Error, match="bf16-mixed"):
        check_callbacks(config, None)


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_2"])
def test_strategies_that_split_the_weights_are_refused(strategy):  # they need GPUs, so a command says that first here
    callbacks = {"ema": {"_target_": "galaxy10.training.callbacks.EMA"}, "off": None}
    config = {
        "callbacks": callbacks,
        "model": {"unused_groups": []},
        "trainer": {"strategy": strategy, "precision": "auto"},
    }
    with pytest.raises(Galaxy10Error, match=f"strategy={strategy} splits them over processes; type trainer.strategy"):
        check_callbacks(config, None)


@pytest.mark.long
@pytest.mark.slow
def test_a_run_stopped_within_an_epoch_ends_with_the_same_files_and_evaluate_loads_the_average(
    galaxies, tmp_path, train, start, galaxy10
):
    words = ("data=hdf5", f"data.path={galaxies}", *QUICK, "callbacks=[ema,mixup,cutmix]", *HOLD)
    whole = train(*words, "run.dir=whole")
    assert whole.code == 0, whole.err
    with start(ROOT / "train.py", *words, "run.dir=r", cwd=tmp_path, **hold_at("batch 1 1")) as process:
        wait_for((tmp_path / "held").exists, "the second batch", process)
        process.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert train(*words, "run.dir=r").code == 0
    runs = [tmp_path / "whole", tmp_path / "r"]
    assert runs[0].joinpath("metrics.csv").read_bytes() == runs[1].joinpath("metrics.csv").read_bytes()
    for name in ("best", "last"):
        one, two = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in runs)
        for part in ("state_dict", "current_model_state", "averaging_state"):
            assert equal(one[part], two[part]), (name, part)
        assert one["galaxy10"] == two["galaxy10"]
        assert one["galaxy10"]["weights"].startswith("average over the steps (EMA")
    assert json.loads((runs[0] / "provenance.json").read_text())["training"]["weights"].startswith("average")
    # The test subset again, from best.ckpt: what the run found right after fit.
    shutil.rmtree(runs[1])
    done = galaxy10("evaluate", "whole", galaxies, "-o", "e")
    assert done.code == 0, done.err
    assert done.result["test/accuracy"] == whole.result["test/accuracy"]
    assert done.result["test/loss"] == whole.result["test/loss"]
