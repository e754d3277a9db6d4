"""What a study says of itself: status, page, confirmation; and one study whose trials really train."""

import json

import pytest

from galaxy10.sweeps.confirm import mean_and_std
from tests.conftest import ROOT, ended
from tests.sweeps.conftest import TINY


@pytest.mark.long
def test_a_study_that_really_trains_is_confirmed_with_other_seeds_and_tested_once(start, train, sweep, tmp_path):
    def really(*words):
        return ended(start(ROOT / "sweep.py", *TINY, *words, cwd=tmp_path))

    words = ("sweep.n_trials=1", "trainer.max_epochs=2", "model.tta_views=1")
    done = really(*words)
    assert done.code == 0, done.err
    run = tmp_path / "s" / "trials" / "0000"
    status = json.loads((run / "status.json").read_text())
    assert done.result["best"]["val/macro_f1"] == status["metrics"]["val/macro_f1"]
    assert not (run / "predictions" / "test.parquet").exists()
    assert not (run / "report.html").exists()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt"]
    # The recipe of the best trial is the trial: train.py takes the run directory for its own, and finds it finished.
    again = train("--config-dir", "s", "experiment=best", "run.dir=s/trials/0000", "run.report=false", "run.test=false")
    assert again.code == 0, again.err
    assert again.result["val/macro_f1"] == status["metrics"]["val/macro_f1"]
    confirm = ("sweep.action=confirm", "sweep.confirm_top=2", "sweep.confirm_seeds=[3]")
    confirmed = really(*confirm)
    assert confirmed.code == 0, confirmed.err
    row = confirmed.result["trials"][0]
    assert (row["trial"], row["seeds"], row["std"]) == (0, [3], None)
    assert confirmed.result["winner"] == 0
    assert 0 <= confirmed.result["test"]["accuracy"]["mean"] <= 1
    evaluated = tmp_path / "s" / "confirm" / "test-0000-seed3"
    before = {path: path.stat().st_mtime_ns for path in evaluated.rglob("*")}
    repeated = really(*confirm)
    assert repeated.code == 0
    assert "begins" not in repeated.err
    assert repeated.result == confirmed.result
    assert {path: path.stat().st_mtime_ns for path in evaluated.rglob("*")} == before
    page = really("sweep.action=report")
    assert page.code == 0, page.err
    assert "Confirmed with other seeds" in (tmp_path / "s" / "report.html").read_text()


@pytest.mark.long
def test_status_and_page_need_only_the_studys_directory(sweep, here, tmp_path):
    words = ("sweep.n_trials=8", "sweep.space.model.dropout.high=0.85", "sweep.retries=0", "sweep.seed=4")
    done = sweep(*words, "sweep.initial_points=[{optimizer: sgd, optimizer.lr: 0.01, optimizer.momentum: 0.9, "
                 "model.dropout: 0.84, data.batch_size: 8}]")  # fmt: skip
    assert done.code == 0, done.err
    status = here("sweep.py", *TINY, "sweep.action=status")
    assert status.code == 0, status.err
    assert status.result == {"study": "s", **{key: done.result[key] for key in status.result if key in done.result},
                             "best_trial": done.result["best"]["trial"]}  # fmt: skip
    assert status.result["complete"] + status.result["pruned"] == 8
    assert "failed  trial 0: RuntimeError: it fell apart" in status.err
    assert f"best so far: {done.result['best']['command']}" in status.err
    page = here("sweep.py", *TINY, "sweep.action=report")
    assert page.code == 0, page.err
    assert page.result == {"report": "s/report.html"}
    text = (tmp_path / "s" / "report.html").read_text()
    for part in ("Optimization history", "Learning curves", "Hyperparameter importance", "Slice plot",
                 "Parallel coordinates", "python train.py --config-dir", "it fell apart",
                 "saved by pruning"):  # fmt: skip
        assert part in text, part
    names = {path.name for path in (tmp_path / "s" / "figures").iterdir()}
    assert names == {f"{n}.png" for n in ("history", "learning_curves", "importance", "slices", "parallel")}
    assert (tmp_path / "s" / "trials.csv").read_text().count("\n") == 1 + 9


def test_mean_and_deviation_over_seeds():
    assert mean_and_std([1.0, 2.0, 3.0]) == {"mean": 2.0, "std": 1.0}
    assert mean_and_std([1.0]) == {"mean": 1.0, "std": None}
    assert mean_and_std([]) == {"mean": None, "std": None}
