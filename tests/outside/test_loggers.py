"""A user's logger beside ours, and a user's callback that uses all of them."""

import json
from pathlib import Path

import pytest

from tests.galaxies import write_galaxies
from tests.training.wandb_files import logged_runs

HERE = Path(__file__).resolve().parent


@pytest.fixture
def own(train, tmp_path):
    """A function that trains with loggers of the user's beside ours."""
    write_galaxies(tmp_path / "g.h5", names=["Spiral", "Round", "Edge-on"])
    data = ("data=hdf5", "data.path=g.h5", "data.batch_size=8", "model.image_size=32", "run.dir=r", "run.report=false")

    def run(*words):
        return train("--config-dir", str(HERE / "conf"), *data, "trainer.max_epochs=2", *words, PYTHONPATH=str(HERE))

    return run


@pytest.mark.long
def test_three_loggers_and_a_callback_that_uses_them(own, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("logger=[wandb,tensorboard,lines]", "callbacks=logs_everywhere", "trainer.log_every_n_steps=1")
    done = own(*words)
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "r" / "lines.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "mine/mean" in line]
    assert steps == list(range(len(steps)))
    assert len(steps) > 2
    assert [line["epoch"] for line in lines if "train/loss" in line] == [0, 1]

    (logged,) = logged_runs(tmp_path / "r")
    assert [row["trainer/global_step"] for row in logged.history if "mine/mean" in row and "epoch" not in row] == steps
    assert len([row for row in logged.history if "mine/direct" in row]) == len(steps)
    assert [row["epoch"] for row in logged.epochs] == [0, 1]

    events = EventAccumulator(str(tmp_path / "r" / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("mine/direct")] == [step + 1 for step in steps]
    assert len(events.Scalars("train/loss")) == 2


def test_a_logger_of_theirs_that_cannot_be_built_ends_the_command_in_one_line(own, tmp_path):
    done = own("logger=[tensorboard,fails]")
    assert done.code == 2
    assert "cannot be built: ConnectionError: no server at 127.0.0.1" in done.message
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("none", ["logger=null", "logger=[]", "~logger", "logger=csv"])
def test_no_logger_is_a_choice(none, own):
    refused = own(none, "+trainer.max_epoch=1")  # composed, and then refused for another reason
    assert "did you mean max_epochs?" in refused.message
