"""Training on votes, through the commands: what is trained on, measured and kept, and what is refused."""

import json

import h5py
import pandas as pd
import pytest

from galaxy10.metrics.specs import metric_specs_of_run
from galaxy10.metrics.votes import vote_metrics
from galaxy10.runs.record import read_run
from tests.conftest import QUICK
from tests.galaxies import add_votes, write_galaxies

NAMES = ["a", "b", "c"]
FILE = ("data=hdf5", "data.path=g.h5")


@pytest.fixture
def trained_on_counts(tmp_path, train):
    """A run on counts of votes, and what its command left behind."""
    add_votes(write_galaxies(tmp_path / "g.h5", per_class=20, names=NAMES), voters=30)
    done = train(*FILE, *QUICK, "loss=dirichlet_multinomial", "monitor=val/vote_kl", "run.dir=r")
    assert done.code == 0, done.err
    return done


def test_a_network_learns_counts_and_is_measured_on_fractions(tmp_path, trained_on_counts):
    done = trained_on_counts
    assert "val/vote_kl" in done.err.split("epoch 1/2")[1]
    table = pd.read_parquet(tmp_path / "r/predictions/test.parquet")
    with h5py.File(tmp_path / "g.h5") as file:
        votes = file["votes"][:][table["row"]]
    assert table[[f"vote_{name}" for name in NAMES]].to_numpy() == pytest.approx(votes / votes.sum(1, keepdims=True))
    assert table["label"].tolist() == votes.argmax(axis=1).tolist()
    expected = vote_metrics(table, NAMES)
    assert {key: done.result[f"test/{key}"] for key in expected} == pytest.approx(expected)
    curves = pd.read_csv(tmp_path / "r/metrics.csv")
    best = json.loads((tmp_path / "r/status.json").read_text())["best"]
    assert best["value"] == pytest.approx(curves["val/vote_kl"].min())
    assert "KL divergence to votes" in [spec.label for spec in metric_specs_of_run(read_run(tmp_path / "r"))]
    counts = json.loads((tmp_path / "r/provenance.json").read_text())["training"]["class_counts"]
    assert sum(counts["natural"]) == pytest.approx(42)
    assert counts["natural"] != [14, 14, 14]  # fractions, of galaxies that not all agree on


@pytest.mark.long
def test_reports_and_evaluations_of_other_files_have_the_metrics_of_votes(tmp_path, trained_on_counts, galaxy10):
    assert galaxy10("report", "r").code == 0
    assert "KL divergence to votes" in (tmp_path / "r/report.html").read_text()
    # Another file, whose classes are in another order.
    other = add_votes(write_galaxies(tmp_path / "other.h5", seed=5, names=NAMES[::-1]))
    with h5py.File(other) as file:
        shares = file["votes"][:]
    for options in ([], ["--per-class"]):  # as in training, and as in a catalogue
        done = galaxy10("evaluate", "r", "other.h5", "-o", f"e{len(options)}", *options)
        assert done.code == 0, done.err
        table = pd.read_parquet(tmp_path / f"e{len(options)}/predictions/test.parquet")
        assert table[["vote_c", "vote_b", "vote_a"]].to_numpy() == pytest.approx(shares[table["row"]], abs=1e-6)
        assert done.result["test/vote_brier"] == pytest.approx(vote_metrics(table, NAMES)["vote_brier"])


@pytest.mark.parametrize(
    ("voted", "words", "message"),
    [
        (
            True,
            ["model=d4_cnn", "loss=dirichlet_multinomial"],
            "needs counts of votes, and the data have only fractions; type loss.num_v",
        ),
        (
            False,
            ["model=d4_cnn", "loss=dirichlet_multinomial"],
            "loss=dirichlet_multinomial needs votes for each class, and the data ha",
        ),
        (False, ["data.soft_labels=true"], "data.soft_labels=true trains on votes, and g.h5 has none"),
        (False, ["monitor=val/vote_kl"], "the metric val/vote_kl needs votes for each class, and the data have none"),
        (True, ["model=d4_cnn", "data.soft_labels=false", "loss=dirichlet_multinomial"], "type data.soft_labels=auto"),
        (
            True,
            ["model=simple_cnn", "loss=dirichlet_multinomial", "loss.num_votes=40"],
            "model=simple_cnn ends in a sof",
        ),
        (True, ["model=pca_logreg", "data.soft_labels=true"], "does not use data.soft_labels=true"),
        (True, ["data.vote_columns=[x,y]"], "data.vote_columns names columns of a table of paths"),
    ],
)
def test_what_needs_votes_is_refused_without_them(tmp_path, here, voted, words, message):
    path = write_galaxies(tmp_path / "g.h5")
    if voted:
        add_votes(path)
    done = here("train.py", *FILE, *words)
    assert done.code == 2
    assert message in done.message
