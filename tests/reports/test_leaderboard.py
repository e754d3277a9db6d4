"""The leaderboard: experiments of one split, ranked; what does not compare is refused."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.reports.leaderboard import rank_runs, write_leaderboard
from tests.reports.conftest import set_config, set_provenance
from tests.reports.test_compare import metric

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def runs(make_run):
    """Three models, two seeds each, on one split of 200 test galaxies; validation and test galaxies differ."""
    return [
        make_run(f"{model}-{seed}", model=model, seed=seed, skill=skill, num_epochs=2)
        for model, skill in (("simple_cnn", 0.4), ("resnet50", 0.9), ("efficientnet", 0.7))
        for seed in (0, 1)
    ]


def change_status(run, section, **facts):
    status = json.loads((run / "status.json").read_text())
    status[section] |= facts
    (run / "status.json").write_text(json.dumps(status))


def test_experiments_are_ranked_with_intervals_tests_of_neighbours_and_cost(runs, tmp_path):
    board = rank_runs(runs)
    assert [entry.experiment.name for entry in board.entries] == ["resnet50", "efficientnet", "simple_cnn"]
    page = write_leaderboard(board, tmp_path / "out")
    with (tmp_path / "out" / "leaderboard.csv").open() as file:
        best, _, last = csv.DictReader(file)
    values = [metric(run, "test/accuracy") for run in runs[2:4]]
    assert float(best["accuracy"]) == pytest.approx(np.mean(values))
    assert float(best["accuracy_low"]) < np.mean(values) < float(best["accuracy_high"])
    assert best["split"] == "5f1d0000"
    assert (best["parameters"], best["images_per_s"], best["seconds"]) == ("9000000.0", "512.5", "192.4")
    assert float(best["p_against_next"]) < 0.05
    assert last["p_against_next"] == ""
    lines = (tmp_path / "out" / "leaderboard.md").read_text().splitlines()
    (row,) = (line for line in lines if line.startswith("| 1 | resnet50 | 2 |"))
    assert row.endswith("| 800 | 9,000,000 | 512 | 3 min 12 s |")
    text = page.read_text()
    assert "resnet50 is better" in text
    assert "ranked by accuracy" in text


def test_the_command_prints_the_table_and_ranks_by_macro_f1(runs, here, tmp_path):
    for run in runs[:2]:
        change_status(run, "metrics", **{"test/macro_f1": 0.99})
    done = here("galaxy10", "leaderboard", *runs, "--by", "macro_f1", "-o", "out")
    assert done.code == 0
    lines = done.out.strip().splitlines()
    assert lines[2].split()[:4] == [
        "1",
        "simple_cnn",
        "2",
        f"{rank_runs(runs).entries[2].spreads['accuracy'].mean:.3f}",
    ]
    assert lines[-1] == "out/index.html"
    assert here("galaxy10", "leaderboard", *runs, "--by", "loss").message == (
        "error: --by loss is not possible; type --by accuracy or --by macro_f1"
    )


def test_mixed_splits_are_refused(runs, make_run):
    other = make_run("elsewhere", split_seed=1)
    with pytest.raises(Galaxy10Error, match=r"are of 2 splits, .*\(5f1d0000: .* and 3 more; 5f1d0001: elsewhere\)"):
        rank_runs([*runs, other])


def monitors_test(run):
    set_config(run, "trainer", monitor="test/accuracy")


def stops_by_test(run):
    set_config(run, "run", early_stopping={"monitor": "test_loss"})


def best_by_test(run):
    change_status(run, "best", metric="test/accuracy")


def validates_on_test(run):
    table = pd.read_parquet(run / "predictions/test.parquet")
    table[:30].to_parquet(run / "predictions/val.parquet", index=False)


def evaluated_on_training(run):
    notes = ["the network was trained or chosen on some of these galaxies: these metrics are too optimistic"]
    set_provenance(run, "split", notes=notes)
    about = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps(about | {"trained_run": "/a"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (monitors_test, r"was chosen by its test galaxies \(trainer.monitor=test/accuracy\)"),
        (stops_by_test, r"was chosen by its test galaxies \(run.early_stopping.monitor=test_loss\)"),
        (best_by_test, r"was chosen by its test galaxies \(its best epoch is that of test/accuracy\)"),
        (validates_on_test, "was chosen by 30 of its test galaxies, which are validation galaxies, too"),
        (evaluated_on_training, "is no test: the network was trained or chosen on some of these galaxies"),
    ],
)
def test_a_run_whose_test_galaxies_helped_to_choose_it_is_refused(runs, change, message):
    change(runs[3])
    with pytest.raises(Galaxy10Error, match=message) as said:
        rank_runs(runs)
    assert str(said.value).startswith(str(runs[3]))


def test_runs_tested_on_other_galaxies_of_the_same_split_are_refused(runs):
    path = runs[3] / "predictions/test.parquet"
    pd.read_parquet(path)[:150].to_parquet(path, index=False)
    with pytest.raises(Galaxy10Error, match=r"was tested on other galaxies \("):
        rank_runs(runs)


def test_untested_runs_are_left_out(runs, tmp_path):
    (runs[0] / "predictions/test.parquet").unlink()
    board = rank_runs([*runs, tmp_path / "gone"])
    assert [name for name, _ in board.left_out] == ["gone", "simple_cnn-0"]
    assert "it has no test predictions" in write_leaderboard(board, tmp_path / "out").read_text()
    with pytest.raises(Galaxy10Error, match="none of the 1 folders given is a tested run"):
        rank_runs(runs[:1])
