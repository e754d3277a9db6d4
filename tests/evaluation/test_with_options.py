"""`evaluate` with options, and the page that puts every way of asking side by side."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from galaxy10.data.store import store_of_run
from galaxy10.evaluation import as_trained
from galaxy10.reports import uncertainty
from tests.galaxies import write_galaxies


def test_a_run_is_judged_where_its_scratch_disk_and_gpu_are_missing(tmp_path, monkeypatch):
    file, scratch = write_galaxies(tmp_path / "g.h5"), tmp_path / "scratch"
    settings = {"store_dir": str(scratch), "dir": str(tmp_path / "data")}
    assert store_of_run(file, settings) == tmp_path
    scratch.mkdir()
    assert store_of_run(file, settings) == scratch
    monkeypatch.setattr(as_trained.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(as_trained.torch.backends.mps, "is_available", lambda: False)
    assert [as_trained._accelerator(name) for name in ("gpu", "cuda", "mps", "cpu", "auto")] == ["auto"] * 3 + [
        "cpu",
        "auto",
    ]


@pytest.mark.parametrize(("dropout", "samples"), [(0.25, 20), (0.0, 0)])
def test_dropout_is_measured_where_there_is_any(dropout, samples, run, tmp_path, monkeypatch):
    class Asked(Exception):
        pass

    def ways(runs, mc_dropout, device):
        raise Asked(mc_dropout)

    monkeypatch.setattr(uncertainty, "_ways", ways)
    monkeypatch.setattr(uncertainty, "run_config", lambda run: {"model": {"dropout": dropout}})
    with pytest.raises(Asked, match=f"^{samples}$"):
        uncertainty.compare_ways(
            [run], run.parent / "g.h5", tmp_path / "out", mc_dropout=None, coverage=0.9, device="cpu"
        )


@pytest.mark.slow
def test_evaluate_takes_an_ensemble_and_says_how_honest_it_is(trained, galaxy10, tmp_path):
    runs = [trained(0), trained(1)]
    file = runs[0].parent / "g.h5"
    done = galaxy10("evaluate", *runs, file, "-o", "both", "--coverage", ".8")
    assert done.code == 0, done.err
    result = done.result
    table = pd.read_parquet(tmp_path / "both/predictions/test.parquet")
    split = pd.read_parquet(runs[0] / "split.parquet")
    assert table["row"].tolist() == split.loc[split["subset"] == "test", "row"].tolist()
    probabilities = table[["p_spiral", "p_in_between", "p_edge_on"]].to_numpy(np.float64)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)  # float32
    assert result["test/accuracy"] == (probabilities.argmax(axis=1) == table["label"]).mean()
    assert result["test/loss"] == pytest.approx(log_loss(table["label"], probabilities, labels=[0, 1, 2]), abs=1e-5)
    tables = [pd.read_parquet(run / "predictions/test.parquet").filter(like="p_").to_numpy() for run in runs]
    raw = log_loss(table["label"], np.mean(tables, axis=0), labels=[0, 1, 2])
    assert result["test/loss_uncalibrated"] == pytest.approx(raw, abs=1e-5)
    names = ["Spiral", "In-between", "Edge-on"]
    sets = [text.split("|") for text in table["prediction_set"]]
    held = [names[label] in inside for label, inside in zip(table["label"], sets, strict=True)]
    assert result["test/coverage"] == pytest.approx(np.mean(held))
    assert result["test/mean_set_size"] == pytest.approx(np.mean([len([n for n in s if n]) for s in sets]))
    assert (table["mutual_information"] >= 0).all()
    assert (tmp_path / "both/report.html").exists()
    # Another split: one's test galaxies may have trained the other.
    provenance = json.loads((runs[1] / "provenance.json").read_text())
    fake = tmp_path / "fake"
    fake.mkdir()
    for name in ("config.yaml", "checkpoints", "predictions", "calibration.json", "split.parquet"):
        (fake / name).symlink_to(runs[1] / name)
    provenance["split"]["hash"] = "0123456789abcdef"
    (fake / "provenance.json").write_text(json.dumps(provenance))
    refused = galaxy10("evaluate", runs[0], fake, file, "-o", "no")
    assert refused.code == 2
    assert "different splits" in refused.message
    assert not (tmp_path / "no").exists()
    # Nothing is written into a run, whichever of them it is.
    kept = (runs[1] / "provenance.json").read_bytes()
    refused = galaxy10("evaluate", *runs, file, "-o", runs[1])
    assert refused.code == 2
    assert "is a run itself" in refused.message
    assert (runs[1] / "provenance.json").read_bytes() == kept
    (tmp_path / "a-file").touch()
    assert "a-file is a file" in galaxy10("evaluate", runs[0], file, "-o", "a-file").message
    uncalibrated = galaxy10("evaluate", runs[0], file, "-o", "no", "--mc-dropout", "7", "--no-temperature")
    assert uncalibrated.code == 2
    assert uncalibrated.message.endswith("--mc-dropout 7")
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_every_way_side_by_side(trained, galaxy10, tmp_path):
    runs = [trained(0), trained(1)]
    done = galaxy10("uncertainty", *runs, runs[0].parent / "g.h5", "-o", "page", "--mc-dropout", "3")
    assert done.code == 0, done.err
    assert done.out.strip() == "page/index.html"
    table = pd.read_csv(tmp_path / "page/uncertainty.csv").set_index("way")
    assert table.index.tolist() == [
        "single pass",
        "8 views",
        "3 dropout samples",
        "8 views, 3 dropout samples",
        "ensemble of 2",
        "ensemble of 2, 8 views",
    ]
    assert table["accuracy"].between(0, 1).all()
    assert (table["images_per_s"] > 0).all()
    page = (tmp_path / "page/index.html").read_text()
    for way in table.index:
        assert way in page
    assert (tmp_path / "page/figures/reliability.png").exists()
    # What it calibrated on the way is the runs' to keep: other commands may now ask in these ways, too.
    known = json.loads((runs[0] / "calibration.json").read_text())["ways"]
    assert {"views=1", "views=8", "views=1 dropout=3", "views=8 dropout=3"} <= set(known)
    write_galaxies(tmp_path / "new.h5", per_class=3, names=["Spiral", "In-between", "Edge-on"], seed=5)
    once = galaxy10("predict", *runs, "new.h5", "--tta-views", "1", "-o", "cat.csv")
    assert once.code == 0, once.err
    assert len(pd.read_csv(tmp_path / "cat.csv")) == 9
