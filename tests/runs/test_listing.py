"""`galaxy10 runs`: how every run of a folder stands, by its own files; a state that cannot be true is not repeated."""

import json

import pytest

from galaxy10.runs.lock import RunLock
from tests.reports.conftest import write_run


@pytest.fixture
def runs(tmp_path):
    """A function that writes a run of ten epochs, of which four are done, in some state."""

    def write(name, **status):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("trainer: {max_epochs: 10}\n")
        (run / "status.json").write_text(json.dumps({"epoch": 3, **status}))
        (run / "metrics.csv").write_text("epoch,val/loss\n3,0.1\n")
        (run / "profile.csv").write_text("epoch,seconds,validation_seconds\n3,590,10\n")
        return run

    return write


def lines_of(done):
    assert done.code == 0, done.err
    return {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}


def test_runs_are_listed_and_a_state_that_cannot_be_true_is_not_repeated(runs, here, tmp_path):
    write_run(tmp_path / "runs" / "whole", num_test=20, num_epochs=6, class_names=("a", "b"))
    write_run(tmp_path / "runs" / "evaluated", num_test=20, num_epochs=6, class_names=("a", "b"))
    about = json.loads((tmp_path / "runs" / "evaluated" / "provenance.json").read_text())
    (tmp_path / "runs" / "evaluated" / "provenance.json").write_text(json.dumps(about | {"trained_run": "runs/whole"}))
    runs("grid-1/killed", state="running", job="41")
    runs("stopped", state="interrupted", best={"metric": "val/macro_f1", "value": 0.71251})
    runs("broken", state="failed", error="CUDA out of [memory]")
    lock = RunLock(runs("grid-1/alive", state="running", job="42"))
    lock.acquire()
    done = here("galaxy10", "runs")
    lock.release()
    lines = lines_of(done)
    assert set(lines) >= {"whole", "evaluated", "grid-1/killed", "grid-1/alive", "stopped", "broken"}
    assert lines["whole"][1:3] == ["finished", "6"]
    assert lines["evaluated"][1:3] == ["finished", "–"]
    assert lines["grid-1/alive"][1:3] == ["running", "4/10"]
    assert " ".join(lines["grid-1/alive"]).endswith("1 h 00 min 42")  # six epochs at ten minutes each; its job
    assert lines["grid-1/killed"][1] == "killed"
    assert "its state is running, but no process holds its lock" in done.out
    assert lines["stopped"][1:5] == ["interrupted", "4/10", "val/macro_f1", "0.713"]
    assert lines["broken"][1] == "failed"
    assert "CUDA out of [memory]" in done.out
    assert done.out.rstrip().endswith("to resume a killed or interrupted run, repeat its command with run.dir=RUN")


def test_what_lies_inside_a_run_is_no_run_of_its_own(runs, here, tmp_path):
    runs("a", state="failed")
    runs("a/checkpoints/b", state="failed")
    (tmp_path / "runs" / "c").mkdir()
    (tmp_path / "runs" / "c" / "status.json").write_text("{}")  # without a configuration
    lines = lines_of(here("galaxy10", "runs"))
    assert [name for name in lines if name != "run"] == ["a"]


def test_a_folder_without_runs_and_none_at_all(here, tmp_path):
    (tmp_path / "runs").mkdir()
    assert here("galaxy10", "runs").out.strip() == "no runs in runs"
    refused = here("galaxy10", "runs", "nowhere")
    assert refused.code == 2
    assert refused.message.startswith("error: there is no folder nowhere")
