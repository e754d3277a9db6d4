"""Runs side by side: seeds averaged, splits kept apart, luck told from skill."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from galaxy10.errors import Galaxy10Error
from galaxy10.reports.compare import compare_runs
from galaxy10.reports.label_curves import label_curves
from galaxy10.reports.seed_groups import group_by_split
from galaxy10.runs.record import read_run
from tests.reports.conftest import run_without_torch, set_config, set_provenance

pytestmark = pytest.mark.usefixtures("undrawn")


def read_table(out: Path) -> list[dict[str, str]]:
    with (out / "comparison.csv").open() as file:
        return list(csv.DictReader(file))


def metric(run: Path, name: str) -> float:
    return json.loads((run / "status.json").read_text())["metrics"][name]


@pytest.fixture
def study(make_run) -> list[Path]:
    """Two models, three seeds each, on one split; the second model is clearly better."""
    return [
        make_run(f"{model}-{seed}", model=model, seed=seed, skill=skill, num_epochs=3)
        for model, skill in (("simple_cnn", 0.4), ("resnet50", 0.8))
        for seed in (2, 0, 1)
    ]


@pytest.mark.long
def test_seeds_become_one_row_with_mean_and_sample_deviation_without_torch(study, tmp_path):
    program = "from galaxy10.reports.compare import compare_runs; print(compare_runs(paths[1:], paths[0]))"
    page = Path(run_without_torch(program, tmp_path / "out", *study).strip())
    best, worst = read_table(tmp_path / "out")
    assert (best["experiment"], worst["experiment"]) == ("resnet50", "simple_cnn")
    assert (best["seeds"], best["rank_within_split"], worst["rank_within_split"]) == ("0 1 2", "1", "2")
    values = [metric(run, "test/accuracy") for run in study[3:]]
    assert float(best["accuracy"]) == pytest.approx(np.mean(values), abs=1e-12)
    assert float(best["accuracy_std"]) == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    f1 = [metric(run, "test/f1_merging") for run in study[3:]]
    assert float(best["f1_merging"]) == pytest.approx(np.mean(f1))
    text = page.read_text()
    assert f"{np.mean(values):.3f}" in text
    assert "resnet50 is better" in text
    assert "not ranked together" not in text
    assert float(best["published_accuracy"]) == 0.751
    lines = (tmp_path / "out" / "comparison.md").read_text().splitlines()
    (row,) = (line for line in lines if line.startswith("| resnet50 "))
    accuracy = f"**{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}**"
    assert [cell.strip() for cell in row.strip("|").split("|")][1:3] == ["3", accuracy]
    assert row.endswith(" 0.751 |")


def test_other_splits_are_not_ranked_together(study, make_run, tmp_path):
    other = make_run("elsewhere", model="resnet50", split_seed=1, skill=0.95)
    text = compare_runs([*study, other], tmp_path / "out").read_text()
    rows = read_table(tmp_path / "out")
    assert "not ranked together" in text
    assert "split hashes differ" in text
    assert sorted(row["rank_within_split"] for row in rows) == ["1", "1", "2"]


def test_ways_of_evaluating_one_run_are_experiments_of_their_own(make_run, tmp_path):
    def evaluation(name, trained_run, asked=None, **options):
        run = make_run(name, num_epochs=2, **options)
        about = json.loads((run / "provenance.json").read_text()) | {"trained_run": trained_run}
        (run / "provenance.json").write_text(json.dumps(about | ({"prediction": asked} if asked else {})))
        return run

    soft = {"modes": ["views=1"], "temperature": 1.3, "requested_coverage": 0.9}
    runs = [
        make_run("trained", num_epochs=2),
        evaluation("plain", "/runs/a", skill=0.5),
        evaluation("softened-a", "/runs/a", soft, skill=0.6),
        evaluation("softened-b", "/runs/b", soft | {"temperature": 1.1}, seed=1, skill=0.6),
        evaluation("ensemble", "/runs/a, /runs/b", soft | {"modes": ["views=1"] * 2}, skill=0.8),
    ]
    compare_runs(runs, tmp_path / "out")
    rows = read_table(tmp_path / "out")
    assert sorted(row["runs"] for row in rows) == [
        "ensemble",
        "plain",
        "softened-a softened-b",
        "trained",
    ]


def test_a_setting_beside_the_seed_makes_another_experiment(make_run, tmp_path):
    runs = [make_run(f"run-{lr}", num_epochs=2) for lr in (0.01, 0.1)]
    config = yaml.safe_load((runs[1] / "config.yaml").read_text())
    config["optimizer"]["lr"] = 0.1
    config["run"]["dir"] = "/elsewhere"
    (runs[1] / "config.yaml").write_text(yaml.safe_dump(config))
    compare_runs(runs, tmp_path / "out")
    names = {row["experiment"] for row in read_table(tmp_path / "out")}
    assert names == {"simple_cnn (optimizer.lr=0.01)", "simple_cnn (optimizer.lr=0.1)"}


def test_a_transfer_network_without_pretrained_weights_is_marked(make_run, tmp_path):
    runs = [make_run(name, model="resnet50", skill=skill) for name, skill in (("with", 0.9), ("without", 0.5))]
    for run, weights in zip(runs, ("ImageNet weights resnet50.a1_in1k", "random initialisation"), strict=True):
        about = json.loads((run / "provenance.json").read_text())
        about["model"] |= {"backbone": "resnet50", "weights": weights}
        (run / "provenance.json").write_text(json.dumps(about))
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["model"]["pretrained"] = weights.startswith("ImageNet")
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    text = compare_runs(runs, tmp_path / "out").read_text()
    assert text.count('<span class="small">no pretrained weights</span>') == 1
    assert [row["weights"] for row in read_table(tmp_path / "out")] == [
        "ImageNet weights resnet50.a1_in1k",
        "no pretrained weights",
    ]


def test_the_same_seed_twice_is_one_measurement(make_run, tmp_path):
    first, again = make_run("first"), make_run("again", skill=0.9)
    for run, ended in ((first, "2026-01-01"), (again, "2026-02-01")):
        status = json.loads((run / "status.json").read_text())
        (run / "status.json").write_text(json.dumps(status | {"ended": ended}))
    compare_runs([again, first, first], tmp_path / "out")
    (row,) = read_table(tmp_path / "out")
    assert row["runs"] == "again"
    assert row["accuracy_std"] == ""


def test_galaxies_that_every_model_gets_wrong(make_run, tmp_path):
    runs = [make_run(model, model=model, skill=0.9) for model in ("simple_cnn", "resnet50")]
    tables = [pd.read_parquet(run / "predictions/test.parquet").set_index("row") for run in runs]
    wrong = [set(t.index[t["label"] != t["predicted"]]) for t in tables]
    # Make sure that there is one, with its image.
    row = int(np.load(runs[0] / "samples/misclassified_test.npz")["rows"][0])
    other = pd.read_parquet(runs[1] / "predictions/test.parquet")
    other.loc[other["row"] == row, "predicted"] = (other.loc[other["row"] == row, "label"] + 1) % 10
    other.to_parquet(runs[1] / "predictions/test.parquet")
    expected = len((wrong[0] & wrong[1]) | {row})
    text = compare_runs(runs, tmp_path / "out").read_text()
    assert f"{expected} of 200 test galaxies" in text
    assert f"row {row}" in text


def test_what_is_no_finished_run_is_left_out_and_named(make_run, tmp_path):
    good, running = make_run("good"), make_run("still-running")
    (running / "status.json").write_text(json.dumps({"state": "running"}))
    (tmp_path / "stray").mkdir()
    text = compare_runs([good, running, tmp_path / "stray", tmp_path / "gone"], tmp_path / "out").read_text()
    assert "its state is running, not finished" in text
    assert "it is not a run directory" in text  # stray
    assert "it is not a folder" in text  # gone
    with pytest.raises(Galaxy10Error, match="none of the 1 folders") as caught:
        compare_runs([running], tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_bare_runs_without_tables_or_numbers(make_run, tmp_path):
    runs = [make_run(f"run-{seed}", seed=seed) for seed in (0, 1)]
    for run in runs:
        for piece in ("config.yaml", "metrics.csv", "predictions/test.parquet", "predictions/val.parquet"):
            (run / piece).unlink()
    status = json.loads((runs[1] / "status.json").read_text())
    (runs[1] / "status.json").write_text(json.dumps(status | {"metrics": {"test/accuracy": None}}))
    text = compare_runs(runs, tmp_path / "out").read_text()
    assert ">None<" not in text
    assert ">nan<" not in text


def test_names_from_a_users_file_are_text(make_run, tmp_path):
    runs = [make_run(name, model=name, class_names=["<b>x</b>", "$y_"]) for name in ("<i>a", "b")]
    text = compare_runs(runs, tmp_path / "out").read_text()
    assert "<b>x" not in text
    assert "<i>a" not in text


def runs_by_labels(make_run, models=("simple_cnn",), seeds=(0, 1, 2)) -> list[Path]:
    """Runs of a split of 800 training galaxies with 5 %, 25 % and all of the labels."""
    runs = []
    for model, best in zip(models, (0.8, 0.9), strict=False):
        for fraction, skill in ((0.05, best - 0.4), (0.25, best - 0.2), (1.0, best)):
            for seed in seeds:
                name = f"{model}-{fraction}-{seed}"
                runs.append(make_run(name, model=model, seed=seed, skill=skill, num_epochs=2))
                set_config(runs[-1], "data", train_fraction=fraction)
                counts = {"train": int(800 * fraction), "val": 100, "test": 200, "dropped": 5}
                set_provenance(runs[-1], "split", counts=counts, train_fraction=fraction)
    return runs


@pytest.mark.long
def test_fractions_of_the_labels_are_one_curve_with_intervals_over_seeds(make_run, tmp_path):
    runs = runs_by_labels(make_run)
    curves = label_curves(group_by_split([read_run(run) for run in runs])["5f1d0000"], "test")
    (curve,) = curves.values()
    assert list(curves) == ["simple_cnn"]
    assert curve["labels"].tolist() == [40, 200, 800]
    values = [metric(run, "test/accuracy") for run in runs[:3]]
    half = 4.3027 * np.std(values, ddof=1) / np.sqrt(3)  # Student's t of two degrees of freedom
    low, mean, high = curve.loc[0, ["accuracy_low", "accuracy", "accuracy_high"]]
    assert (low, mean, high) == pytest.approx((np.mean(values) - half, np.mean(values), np.mean(values) + half), 1e-4)
    text = compare_runs(runs, tmp_path / "out").read_text()
    assert "40 to 800 training and 200 test galaxies" in text
    assert (tmp_path / "out" / "figures" / "by_labels_1.png").exists()
    assert {row["train_images"] for row in read_table(tmp_path / "out")} == {"40.0", "200.0", "800.0"}


def test_fewer_labels_in_more_epochs_are_the_same_curve_but_one_fraction_is_not(make_run):
    runs = []
    for fraction, epochs in ((0.05, 40), (1.0, 10), (1.0, 40)):
        runs.append(make_run(f"{fraction}-{epochs}", skill=0.8, num_epochs=2))
        set_config(runs[-1], "data", train_fraction=fraction)
        set_config(runs[-1], "trainer", max_epochs=epochs)
        set_provenance(runs[-1], "split", counts={"train": int(800 * fraction), "val": 100, "test": 200, "dropped": 5})
    (experiments,) = group_by_split([read_run(run) for run in runs[:2]]).values()
    (curve,) = label_curves(experiments, "test").values()
    assert curve["labels"].tolist() == [40, 800]
    (experiments,) = group_by_split([read_run(run) for run in runs]).values()
    (curve,) = label_curves(experiments, "test").values()  # two rows of 800 labels are not one curve
    assert curve["labels"].tolist() == [40, 800]


def test_one_fraction_draws_no_curve_of_labels(study):
    (experiments,) = group_by_split([read_run(run) for run in study]).values()
    assert label_curves(experiments, "test") == {}
