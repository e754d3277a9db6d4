"""The page about a run: made from its directory alone, quickly, and whatever is missing."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.reports.run import build_report
from galaxy10.runs.record import read_run
from tests.reports.conftest import run_without_torch

pytestmark = pytest.mark.usefixtures("undrawn")

ALL_FIGURES = {
    "batch", "class_distribution", "confusion_test_by_row", "confusion_test_counts", "confusion_val_by_row",
    "confusion_val_counts", "curves_loss", "curves_metrics", "f1_by_class", "misclassified_test",
    "misclassified_val", "reliability",
}  # fmt: skip
PIECES = [
    "config.yaml", "provenance.json", "status.json", "split.parquet", "metrics.csv", "profile.csv",
    "class_distribution.csv", "predictions/test.parquet", "predictions/val.parquet", "samples/batch.npz",
    "samples/misclassified_test.npz", "samples/misclassified_val.npz",
]  # fmt: skip
TWO = ("smooth", "spiral")


def change_status(run: Path, **changes) -> None:
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | changes))


def test_a_whole_run_gives_every_figure_and_its_numbers_without_torch(make_run):
    run = make_run()
    page = run_without_torch("from galaxy10.reports.run import build_report; print(build_report(paths[0]))", run)
    assert page.strip() == str(run / "report.html")
    text = (run / "report.html").read_text()
    assert {path.stem for path in (run / "figures").iterdir()} == ALL_FIGURES
    metrics = json.loads((run / "status.json").read_text())["metrics"]
    for name in ("test/accuracy", "test/macro_f1", "val/balanced_accuracy"):
        assert f"{metrics[name]:.4f}" in text
    assert "5f1d0000" in text
    assert "duplicate with a conflicting label" in text
    assert "none of them lies in two subsets" in text
    assert "Left out" not in text
    # Self-contained: nothing is fetched, neither from the net nor from beside the page.
    assert 'src="' in text
    assert all(part.startswith("data:image/") for part in text.split('src="')[1:])
    assert "http:" not in text
    assert "https:" not in text
    assert not [path for path in run.rglob("*") if ".part" in path.name]


@pytest.mark.parametrize(("state", "said"), [("pruned", "A study pruned this run"), ("interrupted", "was interrupted")])
def test_the_page_of_an_unfinished_run_says_why_it_ended(make_run, state, said):
    run = make_run(num_test=30, num_epochs=1, class_names=TWO)
    change_status(run, state=state)
    assert said in build_report(run).read_text()


@pytest.mark.parametrize("piece", PIECES)
def test_any_piece_may_be_missing(make_run, piece):
    run = make_run(num_test=30, num_epochs=1, class_names=TWO)
    (run / piece).unlink()
    text = build_report(run).read_text()
    assert "</html>" in text
    if piece != "profile.csv":
        assert "Left out" in text
        assert f"<code>{piece}</code>" in text


@pytest.mark.parametrize("content", [b"\x00not it", b"", b"[1, 2]", b"a,b\n1,2\n"])
def test_a_damaged_piece_is_named_with_the_reason(make_run, content):
    run = make_run(num_test=30)
    for piece in PIECES[1:]:
        (run / piece).write_bytes(content)
    missing = read_run(run).missing
    assert set(missing) >= set(PIECES[1:]) - {"metrics.csv", "profile.csv", "class_distribution.csv"}
    assert all("cannot be read" in why for why in missing.values())
    build_report(run)


def test_a_run_that_has_just_begun(make_run):
    run = make_run(class_names=TWO)
    for piece in PIECES[3:]:
        (run / piece).unlink()
    change_status(run, state="running", metrics={})
    assert "still running" in build_report(run).read_text()


@pytest.mark.long
def test_a_failed_run_says_why(make_run):
    run = make_run(class_names=TWO)
    change_status(run, state="failed", error="CUDA out of memory <at> step 3", metrics=None, best=None)
    text = build_report(run).read_text()
    assert "This run failed" in text
    assert "CUDA out of memory &lt;at&gt; step 3" in text


def test_an_evaluation_on_another_file_needs_no_curves(make_run, tmp_path):
    run = make_run(class_names=TWO)
    for piece in ("metrics.csv", "profile.csv", "split.parquet", "predictions/val.parquet", "samples/batch.npz"):
        (run / piece).unlink()
    text = build_report(run, tmp_path / "elsewhere").read_text()
    assert "Confusion matrices" in text
    assert not (tmp_path / "elsewhere/figures/curves_loss.png").exists()
    assert not (run / "report.html").exists()


def test_an_evaluation_misses_nothing_that_only_training_writes(make_run):
    run = make_run(class_names=TWO)
    for piece in ("metrics.csv", "profile.csv", "predictions/val.parquet", "samples/batch.npz"):
        (run / piece).unlink()
    provenance = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps(provenance | {"trained_run": "/runs/<resnet50>"}))
    text = build_report(run).read_text()
    assert "A trained run evaluated on a labelled file" in text
    assert "/runs/&lt;resnet50&gt;" in text
    assert "Left out" not in text


@pytest.mark.long
def test_components_noise_and_augmentation_are_shown_where_there_are_any(make_run):
    run = make_run(class_names=TWO)
    images = np.random.default_rng(0).integers(0, 255, (6, 20, 20, 3), dtype=np.uint8)
    rows, labels, number = np.arange(6), np.arange(6) % 2, np.arange(6)
    np.savez(run / "samples/augmentation.npz", images=images, rows=rows, labels=labels, variant=number % 3)
    np.savez(run / "samples/noise.npz", images=images, rows=rows, labels=labels, beta=number / 50)
    np.savez(run / "samples/components.npz", images=images, explained_variance_ratio=0.5 ** (number + 1))
    ratio = 0.9 ** np.arange(100) / 10
    pd.DataFrame({"component": np.arange(1, 101), "explained_variance_ratio": ratio}).to_csv(run / "scree.csv")
    text = build_report(run).read_text()
    written = {path.stem for path in (run / "figures").iterdir()}
    assert written == ALL_FIGURES | {"augmentation", "noise", "components", "scree"}
    assert all(words in text for words in ("as in the file", "β = 0.02", "50.0%", "Scree plot"))
    (run / "samples/noise.npz").write_bytes(b"no")
    assert "the noise demonstration" in build_report(run).read_text()


def test_a_class_name_is_text_never_markup(make_run):
    names = ["<b>x</b>", "<script>alert(1)</script>", 'a"b & $c_']
    text = build_report(make_run(class_names=names)).read_text()
    assert "<b>x</b>" not in text
    assert "<script>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("num_classes", [2, *(pytest.param(n, marks=pytest.mark.long) for n in (3, 37))])
def test_any_number_of_classes(make_run, num_classes):
    names = [f"A rather long name for the class of galaxies number {i}" for i in range(num_classes)]
    text = build_report(make_run(class_names=names, num_epochs=1, num_test=150)).read_text()
    assert all(name in text for name in names)


@pytest.mark.long
def test_metrics_that_are_no_numbers_are_a_dash(make_run):
    run = make_run(class_names=TWO)
    metrics = json.loads((run / "status.json").read_text())["metrics"]
    change_status(run, metrics=metrics | {"test/loss": None, "val/loss": float("nan"), "test/accuracy": None})
    text = build_report(run).read_text()
    assert '<th scope="row">loss</th><td class="n">–</td><td class="n">–</td>' not in text  # all dashes: left out
    assert "<b>–</b>" in text
    assert ">nan<" not in text
    assert ">None<" not in text


@pytest.mark.long
def test_a_number_its_own_table_contradicts_is_shown(make_run):
    run = make_run(class_names=TWO)
    metrics = json.loads((run / "status.json").read_text())["metrics"]
    change_status(run, metrics=metrics | {"test/accuracy": 0.99})
    text = build_report(run).read_text()
    assert "disagree" in text
    assert "test/accuracy = 0.9900" in text


@pytest.mark.long
def test_a_group_on_both_sides_is_shown(make_run):
    run = make_run(class_names=TWO)
    split = pd.read_parquet(run / "split.parquet")
    split["group"] = np.where(split["row"] < 50, 0, split["row"])
    split.to_parquet(run / "split.parquet")
    assert "lie in more than one subset" in build_report(run).read_text()


def test_no_run_directory_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(Galaxy10Error, match="run directory") as caught:
            build_report(path)
        assert "\n" not in str(caught.value)
