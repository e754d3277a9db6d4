"""The page that puts every way of predicting side by side."""

import json

import pandas as pd
import pytest
import yaml

from galaxy10.reports import uncertainty
from tests.conftest import NAMES, copy_of
from tests.galaxies import write_galaxies


@pytest.mark.long
@pytest.mark.usefixtures("undrawn")
def test_dropout_is_measured_where_there_is_any(run, tmp_path, monkeypatch):
    monkeypatch.setattr(uncertainty, "DROPOUT_SAMPLES", 2)
    monkeypatch.setattr(uncertainty, "LAPLACE_SAMPLES", 3)
    for name in ("with", "without"):
        copy_of(run, tmp_path / name)
    config = yaml.safe_load((tmp_path / "without" / "config.yaml").read_text())
    assert config["model"]["dropout"] == 0.25
    config["model"]["dropout"] = 0.0
    (tmp_path / "without" / "config.yaml").write_text(yaml.safe_dump(config))
    ways = {}
    for name in ("with", "without"):
        out, laplace = tmp_path / f"{name}-page", {"with": None, "without": 0}[name]
        options = {"mc_dropout": None, "laplace": laplace, "coverage": 0.9, "device": "cpu"}
        uncertainty.compare_modes([tmp_path / name], run.parent / "g.h5", out, **options)
        ways[name] = pd.read_csv(out / "uncertainty.csv")["mode"].tolist()
    assert ways["without"] == ["single pass", "8 views"]
    sampled = ["2 dropout samples", "8 views, 2 dropout samples", "3 Laplace samples", "8 views, 3 Laplace samples"]
    assert ways["with"] == [*ways["without"], *sampled]


@pytest.mark.long
@pytest.mark.slow
def test_every_way_side_by_side(trained, galaxy10, tmp_path):
    runs = [copy_of(trained(seed), tmp_path / f"r{seed}") for seed in (0, 1)]
    samples = ("--mc-dropout", "3", "--laplace", "4", "--per-class")
    done = galaxy10("uncertainty", *runs, trained(0).parent / "g.h5", "-o", "page", *samples)
    assert done.code == 0, done.err
    assert done.out.strip() == "page/index.html"
    table = pd.read_csv(tmp_path / "page/uncertainty.csv").set_index("mode")
    assert table.index.tolist() == [
        "single pass",
        "8 views",
        "3 dropout samples",
        "8 views, 3 dropout samples",
        "4 Laplace samples",
        "8 views, 4 Laplace samples",
        "ensemble of 2",
        "ensemble of 2, 8 views",
    ]
    assert table["accuracy"].between(0, 1).all()
    assert (table["images_per_s"] > 0).all()
    assert table[["calibration_error_perfect", "calibration_error_perfect_95"]].gt(0).all(axis=None)
    by_class = pd.read_csv(tmp_path / "page/by_class.csv")
    assert len(by_class) == len(table) * len(NAMES)
    assert (by_class["mean_set_size"] >= 1).all()
    assert by_class["coverage"].between(0, 1).all()
    page = (tmp_path / "page/index.html").read_text()
    for way in table.index:
        assert way in page
    assert (tmp_path / "page/figures/reliability.png").exists()
    # What it calibrated on the way is the runs' to keep: other commands may now ask in these ways, too.
    known = json.loads((runs[0] / "calibration.json").read_text())["modes"]
    assert {"views=1", "views=8", "views=1 dropout=3", "views=8 dropout=3", "views=8 laplace=4"} <= set(known)
    write_galaxies(tmp_path / "new.h5", per_class=3, names=NAMES, seed=5)
    once = galaxy10("predict", *runs, "new.h5", "--tta-views", "1", "-o", "cat.csv")
    assert once.code == 0, once.err
    assert len(pd.read_csv(tmp_path / "cat.csv")) == 9
