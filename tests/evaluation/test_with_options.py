"""`evaluate` with options: ensembles, coverage, temperature."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from galaxy10.data.store import store_of_run
from galaxy10.evaluation import as_trained
from tests.galaxies import write_galaxies


def test_a_run_is_evaluated_where_its_scratch_disk_and_gpu_are_missing(tmp_path, monkeypatch):
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


@pytest.mark.long
@pytest.mark.slow
def test_evaluate_takes_an_ensemble_and_says_how_honest_it_is(trained, galaxy10, here, tmp_path):
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
    sets = [list(found) for found in table["prediction_set"]]
    held = [names[label] in inside for label, inside in zip(table["label"], sets, strict=True)]
    assert result["test/coverage"] == pytest.approx(np.mean(held))
    assert result["test/mean_set_size"] == pytest.approx(np.mean([len(s) for s in sets]))
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
    refused = here("galaxy10", "evaluate", runs[0], fake, file, "-o", "no")
    assert refused.code == 2
    assert "different splits" in refused.message
    assert not (tmp_path / "no").exists()
    # Nothing is written into a run, whichever of them it is.
    kept = (runs[1] / "provenance.json").read_bytes()
    refused = here("galaxy10", "evaluate", *runs, file, "-o", runs[1])
    assert refused.code == 2
    assert "is a run itself" in refused.message
    assert (runs[1] / "provenance.json").read_bytes() == kept
    (tmp_path / "a-file").touch()
    assert "a-file is a file" in here("galaxy10", "evaluate", runs[0], file, "-o", "a-file").message
    uncalibrated = here("galaxy10", "evaluate", runs[0], file, "-o", "no", "--mc-dropout", "7", "--no-temperature")
    assert uncalibrated.code == 2
    assert uncalibrated.message.endswith("--mc-dropout 7")
    assert not (tmp_path / "no").exists()
