"""When a run stops, what it keeps, and that what stopped it stays decided."""

import json
import threading
from types import SimpleNamespace

import pytest
import torch

from galaxy10.cli import train as command
from galaxy10.errors import Galaxy10Error
from galaxy10.runs import directory as run_directory
from galaxy10.runs.directory import RunDirectory
from galaxy10.runs.signals import Interrupted, SignalHandler
from galaxy10.training.callbacks import RestoreEarlyStopping, StopOnSignal
from galaxy10.training.checkpoints import checkpoint_callbacks


def test_a_run_that_was_moved_remembers_its_best_epoch(tmp_path):
    before, after = (checkpoint_callbacks(tmp_path / name, "val/macro_f1", "max")[0] for name in ("before", "after"))
    score, path = torch.tensor(0.9), str(tmp_path / "before" / "best.ckpt")
    before.best_model_score, before.best_model_path, before.kth_best_model_path = score, path, path
    before.best_k_models, before.kth_value = {path: score}, score
    assert after.state_key == before.state_key
    assert "_Movable" not in after.state_key
    after.load_state_dict(before.state_dict())
    assert after.best_model_score == score
    assert list(after.best_k_models) == [after.best_model_path] == [str(tmp_path / "after" / "best.ckpt")]
    trainer = SimpleNamespace(strategy=SimpleNamespace(reduce_boolean_decision=lambda decision: decision))
    assert not after.check_monitor_top_k(trainer, torch.tensor(0.1))
    assert after.check_monitor_top_k(trainer, torch.tensor(0.95))


@pytest.mark.parametrize("accumulate", [1, 2, 3, 4])
def test_several_gpus_stop_between_two_steps_whatever_they_accumulate(accumulate, tmp_path):
    signal_handler = SignalHandler()
    signal_handler.number = 15
    callback = StopOnSignal(signal_handler, tmp_path / "last.ckpt", threading.Event())
    position = SimpleNamespace(current=SimpleNamespace(ready=0))
    trainer = SimpleNamespace(
        world_size=2,
        accumulate_grad_batches=accumulate,
        is_last_batch=False,
        fast_dev_run=False,
        save_checkpoint=lambda path: path.touch(),
        strategy=SimpleNamespace(
            root_device=torch.device("cuda"), reduce_boolean_decision=lambda decision, all: decision
        ),
        fit_loop=SimpleNamespace(
            _should_accumulate=lambda: position.current.ready % accumulate != 0,
            epoch_loop=SimpleNamespace(batch_progress=position),
        ),
    )

    def train():
        for batch in range(100):
            position.current.ready = batch + 1
            callback.on_train_batch_end(trainer, None, None, None, batch)

    with pytest.raises(Interrupted):
        train()
    assert position.current.ready <= 8 * accumulate
    assert (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize(("waited", "patience", "stays"), [(2, 2, True), (1, 2, False), (1, 0, True), (0, 0, False)])
def test_what_early_stopping_has_ended_is_not_trained_further(waited, patience, stays):
    stopping = SimpleNamespace(wait_count=waited, patience=patience)
    trainer = SimpleNamespace(early_stopping_callbacks=[stopping], should_stop=False)
    RestoreEarlyStopping().on_train_start(trainer, None)
    assert trainer.should_stop == stays


def test_a_signal_before_anything_began_changes_nothing(tmp_path, monkeypatch, capsys):
    def signalled(directory, config):
        raise Interrupted(15)

    before = {"state": "interrupted", "seconds": 13.5}
    (tmp_path / "status.json").write_text(json.dumps(before))
    monkeypatch.setattr(command, "create_run_directory", signalled)
    monkeypatch.setattr(SignalHandler, "install", lambda self: None)
    assert command.run({}, RunDirectory(tmp_path)) == 143
    assert json.loads((tmp_path / "status.json").read_text()) == before
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "begins"),
    [
        (["lock.json"], True),
        (["lock.json", ".lock.abc", ".status.json.part"], True),
        (["lock.json", "config.yaml"], True),
        (["config.yaml"], False),
        (["lock.json", "notes.txt"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_start_that_was_killed_begins_again_where_nothing_else_is(files, begins, tmp_path):
    for name in files:
        (tmp_path / name).write_text("{}")
    config = {"model": {"name": "simple_cnn"}, "run": {"dir": str(tmp_path), "root": "runs", "overwrite": False}}
    if begins:
        assert run_directory.choose_run_directory(config, []).finished is None
    else:
        with pytest.raises(Galaxy10Error, match="holds files that belong to no run"):
            run_directory.choose_run_directory(config, [])


def test_a_second_process_leaves_the_directory_of_the_first_alone(tmp_path, monkeypatch, capsys):
    """Both have found nothing there, and one is quicker."""
    directory = RunDirectory(tmp_path / "r")

    def another_has_it(self):
        (self.path / "config.yaml").write_text("the first one's")
        raise Galaxy10Error("it is being written by another process")

    monkeypatch.setattr(command, "create_run_directory", lambda directory, config: directory.path.mkdir(exist_ok=True))
    monkeypatch.setattr(RunDirectory, "acquire", another_has_it)
    monkeypatch.setattr(SignalHandler, "install", lambda self: None)
    assert command.run({}, directory) == 2
    assert (tmp_path / "r" / "config.yaml").read_text() == "the first one's"
    assert "another process" in capsys.readouterr().err
