"""Whatever stops a run, the same command goes on, and ends with the very same weights and metrics."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
import torch

from tests.conftest import QUICK, QUIET, ROOT, once_a_session
from tests.galaxies import write_galaxies
from tests.hold import WORDS as HOLD
from tests.hold import hold_at
from tests.waiting import wait_for

EPOCHS = 4


class Survey:
    """A file of four classes and its uninterrupted run `whole`, in a folder of a test's own."""

    def __init__(self, start, folder, whole):
        self.begin, self.folder, self.whole = start, folder, whole
        (folder / "g.h5").symlink_to(whole.parent / "g.h5")

    def start(self, name, moment=None):
        """The command that trains in a directory; held at a moment, if one is given."""
        for file in ("held", "go"):
            (self.folder / file).unlink(missing_ok=True)
        environment = hold_at(moment) if moment else {}
        return self.begin(ROOT / "train.py", *words(name), cwd=self.folder, **environment)

    def hold(self, name, moment):
        """The same, when that moment has come."""
        process = self.start(name, moment)
        wait_for((self.folder / "held").exists, f"{moment} of {name}", process)
        return process

    def finish(self, name):
        with self.start(name) as process:
            _, errors = process.communicate()
        assert process.returncode == 0, errors


def words(name):
    words = ["data=hdf5", "data.path=g.h5", f"run.dir={name}", *QUICK, f"trainer.max_epochs={EPOCHS}"]
    return [*words, "augment=baseline_cnn", "model.tta_views=1", *HOLD]


@pytest.fixture(scope="module")
def whole(warm):
    """The run that nothing interrupts."""
    with once_a_session("survey") as folder:
        if not (folder / "whole").exists():
            write_galaxies(folder / "g.h5", per_class=60, num_classes=4)
            with warm.start([str(ROOT / "train.py"), *words("whole")], folder, {**os.environ, **QUIET}) as process:
                _, errors = process.communicate()
            assert process.returncode == 0, errors
    return folder / "whole"


@pytest.fixture
def survey(start, whole, tmp_path):
    return Survey(start, tmp_path, whole)


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_same_as_uninterrupted(survey, name):
    whole, other = survey.whole, survey.folder / name
    first, second = weights(whole), weights(other)
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key
    assert (whole / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    status = [json.loads((run / "status.json").read_text()) for run in (whole, other)]
    assert status[0]["state"] == status[1]["state"] == "finished"
    for key, value in status[0]["metrics"].items():
        if not key.startswith("train/") or key in ("train/loss", "train/accuracy"):
            assert status[1]["metrics"][key] == value, key


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_in_mid_epoch_saves_first_and_nothing_is_lost(survey, number):
    with survey.hold("r", "batch 1 5") as process:
        process.send_signal(number)
        (survey.folder / "go").touch()
        _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert "to resume, run the same command" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert json.loads((survey.folder / "r" / "status.json").read_text())["state"] == "interrupted"
    survey.finish("r")
    assert_same_as_uninterrupted(survey, "r")


MOMENTS = ("batch 0 0", "batch 0 7", "validation 0", "saving 1", "batch 2 3", "validation 3", "scoring")


@pytest.mark.slow
@pytest.mark.parametrize(
    "moments", [("batch 0 7", "saving 1", "scoring"), pytest.param(MOMENTS, marks=pytest.mark.long)], ids=len
)
def test_sigkill_at_any_moment_loses_nothing(survey, moments):
    for moment in moments:
        with survey.hold("r", moment) as process:
            process.kill()
    survey.finish("r")
    assert_same_as_uninterrupted(survey, "r")


@pytest.mark.long
@pytest.mark.slow
def test_sigkill_at_moments_that_nobody_chose_loses_nothing(survey):
    begin = time.monotonic()
    survey.finish("first")  # as long as one takes here and now
    seconds, kills, moments = time.monotonic() - begin, 0, random.Random()
    while kills < 15:
        with survey.start("killed") as process:
            try:
                process.wait(timeout=moments.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
                continue
        if kills:
            break  # it was quicker
        shutil.rmtree(survey.folder / "killed")  # never killed: again, earlier
        seconds /= 2
    survey.finish("killed")
    assert_same_as_uninterrupted(survey, "killed")


@pytest.mark.slow
def test_a_directory_in_which_a_process_trains_is_refused(survey):
    with survey.hold("r", "batch 0 2") as first:
        with survey.start("r") as second:
            _, message = second.communicate()
        first.kill()
    assert second.returncode == 2
    assert f"is being written by process {first.pid} on " in message
    assert len(message.strip().splitlines()) == 1


def interrupted(run):
    """Let a finished run look as if it had been interrupted after its last epoch."""
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "state": "interrupted"}))


@pytest.mark.long
def test_a_run_does_not_go_on_with_other_galaxies(galaxies, tmp_path, train):
    arguments = ["data=hdf5", f"data.path={galaxies}", "run.dir=r", *QUICK, "trainer.max_epochs=1"]
    assert train(*arguments).code == 0
    interrupted(tmp_path / "r")
    write_galaxies(galaxies, seed=1)
    done = train(*arguments)
    assert done.code == 1
    assert "was trained on another split" in done.err


@pytest.mark.long
def test_a_damaged_checkpoint_is_moved_aside_with_run_overwrite(galaxies, tmp_path, train, here):
    arguments = ["data=hdf5", f"data.path={galaxies}", "run.dir=r", *QUICK, "trainer.max_epochs=1"]
    first = train(*arguments)
    interrupted(tmp_path / "r")
    os.truncate(tmp_path / "r" / "checkpoints" / "last.ckpt", 1000)
    assert "add run.overwrite=true to move r aside" in here("train.py", *arguments).message
    again = train(*arguments, "run.overwrite=true")
    assert again.code == 0, again.err
    assert again.result["val/loss"] == first.result["val/loss"]
    assert len(list(tmp_path.glob("r.before-*"))) == 1


def test_a_loss_that_is_not_a_number_stops_the_run_and_says_where(galaxies, train):
    done = train(
        "data=hdf5", f"data.path={galaxies}", "run.dir=r", *QUICK, "optimizer=sgd", "optimizer.lr=1e30",
        "trainer.gradient_clip_val=null", "scheduler=none",
    )  # fmt: skip
    assert done.code == 1
    assert "error: the loss is " in done.err
    assert "epoch 1, batch" in done.err
    assert "try a lower optimizer.lr" in done.err
    assert "Traceback" not in done.err
