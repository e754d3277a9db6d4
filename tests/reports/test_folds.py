"""The folds of one k-fold split: one experiment, in which every galaxy is tested once."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from galaxy10.metrics.bootstrap import bootstrap_intervals
from galaxy10.metrics.classification import classification_metrics
from galaxy10.metrics.table_metrics import table_metrics
from galaxy10.reports.compare import compare_runs
from galaxy10.reports.folds import pool_folds
from galaxy10.reports.run import build_report
from galaxy10.runs.record import read_run
from tests.reports.conftest import set_config, set_provenance
from tests.reports.test_compare import metric, read_table

pytestmark = pytest.mark.usefixtures("undrawn")
NUM_FOLDS = 3


@pytest.fixture
def make_folds(make_run):
    """A function that writes a run for each of three folds of 120 test galaxies, and returns their directories."""

    def make(model: str = "simple_cnn", skill: float = 0.6, seed: int = 0, folds=range(NUM_FOLDS)) -> list[Path]:
        runs = []
        for fold in folds:
            options = {"model": model, "seed": seed, "skill": skill, "split_seed": fold, "num_test": 120}
            run = make_run(f"{model}-{seed}-fold{fold}", num_epochs=2, **options)
            for file in ("split.parquet", "predictions/test.parquet"):  # other galaxies than those of the other folds
                table = pd.read_parquet(run / file)
                table.assign(row=table["row"] + 10_000 * fold).to_parquet(run / file, index=False)
            set_config(run, "data", split_seed=0, num_folds=NUM_FOLDS, fold=fold)
            set_provenance(
                run, "split", num_folds=NUM_FOLDS, fold=fold, folds_hash="f01d5", protocol=f"fold {fold} of 3"
            )
            runs.append(run)
        return runs

    return make


def predictions_of(runs) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(run / "predictions/test.parquet") for run in runs])


def test_folds_are_one_experiment_and_their_predictions_are_pooled(make_folds, tmp_path):
    better, worse = make_folds("resnet50", 0.9), make_folds("simple_cnn", 0.5)
    text = compare_runs([*worse, *better], tmp_path / "out").read_text()
    best, other = read_table(tmp_path / "out")
    assert (best["experiment"], other["experiment"], best["split"]) == ("resnet50", "simple_cnn", "f01d5")
    table = predictions_of(better)
    right = (table["label"] == table["predicted"]).mean()
    assert float(best["accuracy"]) == pytest.approx(right)
    assert float(best["accuracy_galaxies_low"]) < right < float(best["accuracy_galaxies_high"])
    values = [metric(run, "test/accuracy") for run in better]
    half = 4.3027 * np.std(values, ddof=1) / np.sqrt(3)  # Student's t of two degrees of freedom
    assert float(best["accuracy_folds_low"]) == pytest.approx(np.mean(values) - half, abs=1e-4)
    assert float(best["seconds"]) == pytest.approx(3 * 192.4)
    assert "of 360 test galaxies" in text  # misclassified by every run
    assert "resnet50 is better" in text
    assert "not ranked together" not in text


def test_out_of_fold_predictions_are_a_table_and_runs_that_other_commands_read(make_folds, tmp_path):
    runs = [*make_folds(seed=0), *make_folds(seed=1)]
    compare_runs(runs, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "out_of_fold.parquet")
    assert table.groupby(["experiment", "seed"])["row"].agg(["size", "nunique"]).to_numpy().tolist() == [[360, 360]] * 2
    assert set(table["fold"]) == {0, 1, 2}
    first = table[table["seed"] == 0].set_index("row")["predicted"]
    assert first.sort_index().equals(predictions_of(runs[:3]).set_index("row")["predicted"].sort_index())
    folders = sorted((tmp_path / "out" / "out_of_fold").iterdir())
    page = build_report(folders[0], tmp_path / "page").read_text()
    assert "every galaxy is tested once: the test predictions of 3 folds are pooled" in page
    compare_runs(folders, tmp_path / "again")
    (again,), (before,) = read_table(tmp_path / "again"), read_table(tmp_path / "out")
    assert again["accuracy"] == before["accuracy"]


def test_a_missing_fold_is_named_and_nothing_is_pooled(make_folds, tmp_path):
    runs = make_folds(folds=(0, 2))
    records, (note,) = pool_folds([read_run(run) for run in runs])
    assert [record.folds for record in records] == [(), ()]
    assert note.endswith("not pooled, because data.fold=1 of data.num_folds=3 is not there")
    assert note in compare_runs(runs, tmp_path / "out").read_text()
    assert not (tmp_path / "out" / "out_of_fold.parquet").exists()


def test_of_a_fold_trained_twice_the_latest_run_counts(make_folds, make_run):
    runs = make_folds()
    again = make_folds("simple_cnn2", folds=(1,))[0]
    set_config(again, "model", name="simple_cnn")
    status = json.loads((again / "status.json").read_text())
    (again / "status.json").write_text(json.dumps(status | {"ended": "2027-01-01T00:00:00"}))
    (pooled,), notes = pool_folds([read_run(run) for run in (*runs, again)])
    assert [fold.path for fold in pooled.folds] == [runs[0], again, runs[2]]
    assert notes == []


def test_other_splits_into_folds_and_other_settings_are_other_experiments(make_folds):
    runs = [*make_folds("one"), *make_folds("two"), *make_folds("three")]
    for run in runs[3:6]:
        set_provenance(run, "split", folds_hash="0the2")
        set_config(run, "model", name="one")
    for run in runs[6:]:
        set_config(run, "model", name="one")
        set_config(run, "optimizer", lr=0.5)
    records, _ = pool_folds([read_run(run) for run in runs])
    assert [len(record.folds) for record in records] == [3, 3, 3]


def test_metrics_of_a_table_are_those_of_training():
    rng = np.random.default_rng(0)
    names = ("a", "b", "c", "absent")
    labels, logits = rng.integers(0, 3, 400), rng.normal(size=(400, 4))
    logits[:, 3] = -9
    logits[np.arange(400), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = classification_metrics(torch.tensor(probabilities), torch.tensor(labels), names)
    found = table_metrics(labels, probabilities.argmax(axis=1), probabilities, names)
    assert found["f1_absent"] is None is expected["f1_absent"]
    for name in expected:
        if name != "f1_absent":
            assert found[name] == pytest.approx(expected[name], abs=1e-6), name


def test_the_bootstrap_is_that_over_galaxies():
    rng = np.random.default_rng(1)
    labels = rng.choice(3, 300, p=[0.6, 0.3, 0.1])
    predicted = np.array([np.where(rng.random(300) < 0.8, labels, rng.integers(0, 3, 300)) for _ in range(2)])
    found = bootstrap_intervals(labels, predicted, 3)
    one_by_one: dict[str, list[float]] = {"accuracy": [], "macro_f1": []}
    for _ in range(600):
        rows = rng.integers(0, 300, 300)
        drawn = [table_metrics(labels[rows], guess[rows], None, "abc") for guess in predicted]
        for name, values in one_by_one.items():
            values.append(np.mean([metrics[name] for metrics in drawn]))
    for name, values in one_by_one.items():
        assert found[name] == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.012), name
