"""Whole experiments, as a user starts them, on small files."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from tests.galaxies import write_galaxies

QUICK = ("trainer.max_epochs=2", "data.batch_size=8", "model.image_size=32")


@pytest.fixture
def finished(train, tmp_path):
    """One small run: (what the command left behind, its run directory)."""
    path = write_galaxies(tmp_path / "g.h5", names=["Spiral", "In-between", "Edge-on"], coordinates=True, per_class=20)
    done = train("data=hdf5", f"data.path={path}", "run.dir=r", *QUICK)
    assert done.code == 0, done.err
    return done, tmp_path / "r"


def test_a_run_leaves_a_complete_directory(finished):
    done, run = finished
    for name in (
        "config.yaml",
        "provenance.json",
        "status.json",
        "split.parquet",
        "metrics.csv",
        "profile.csv",
        "class_distribution.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "predictions/val.parquet",
        "predictions/test.parquet",
        "samples/batch.npz",
        "report.html",
        "figures/confusion_test_counts.png",
    ):
        assert (run / name).is_file(), name
    assert not list(run.rglob("*.part"))
    split = pd.read_parquet(run / "split.parquet")
    assert {"row", "subset", "fold", "group", "reason"} <= set(split.columns)
    assert split["subset"].value_counts().to_dict() == {"train": 42, "test": 12, "val": 6}
    table = pd.read_parquet(run / "predictions" / "test.parquet")
    columns = ["row", "label", "predicted", "predicted_name", "p_spiral", "p_in_between", "p_edge_on"]
    assert table.columns.tolist() == columns
    assert table["row"].tolist() == split.loc[split["subset"] == "test", "row"].tolist()
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == [0, 1]
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "finished"
    assert done.result["run_dir"] == "r"
    assert done.result["state"] == "finished"
    assert done.result["split_hash"] == json.loads((run / "provenance.json").read_text())["split"]["hash"]
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 2


def test_the_printed_numbers_are_those_of_the_table(finished):
    done, run = finished
    table = pd.read_parquet(run / "predictions" / "test.parquet")
    truth, predicted = table["label"], table["predicted"]
    probabilities = table[[c for c in table if c.startswith("p_")]].to_numpy(np.float64)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == predicted).all()
    result = done.result
    assert result["test/accuracy"] == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)
    assert result["test/balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted), abs=1e-12)
    assert result["test/macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"), abs=1e-12)
    assert result["test/loss"] == pytest.approx(log_loss(truth, probabilities, labels=[0, 1, 2]), abs=1e-6)
    assert result["train/images_per_s"] > 0
    assert 0 < result["train/data_share"] < 1


def test_checkpoints_are_plain(finished):
    _, run = finished
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["galaxy10"]["class_names"] == ["Spiral", "In-between", "Edge-on"]


def test_evaluate_gives_the_runs_own_numbers_on_its_test_subset(finished, galaxy10, tmp_path):
    done, run = finished
    judged = galaxy10("evaluate", run, tmp_path / "g.h5", "-o", tmp_path / "judged")
    assert judged.code == 0, judged.err
    assert judged.result["split_hash"] == done.result["split_hash"]
    for key, value in done.result.items():
        if key.startswith("test/"):
            assert judged.result[key] == value, key
    assert (tmp_path / "judged" / "report.html").is_file()
    assert (tmp_path / "judged" / "predictions" / "test.parquet").is_file()


def test_evaluate_matches_classes_by_name(finished, galaxy10, tmp_path):
    _, run = finished
    same = write_galaxies(tmp_path / "same.h5", names=["Spiral", "In-between", "Edge-on"], seed=5)
    swapped = write_galaxies(tmp_path / "swapped.h5", names=["Edge-on", "Spiral", "In-between"], seed=5)
    import h5py

    with h5py.File(same) as theirs, h5py.File(swapped, "r+") as file:
        file["images"][:] = theirs["images"][:]
        file["ans"][:] = (theirs["ans"][:] + 1) % 3
    results = [galaxy10("evaluate", run, p, "-o", tmp_path / p.stem).result for p in (same, swapped)]
    assert results[0]["test/accuracy"] == results[1]["test/accuracy"]
    assert results[0]["test/f1_spiral"] == results[1]["test/f1_spiral"]


def test_evaluate_refuses_other_classes_and_lists_both(finished, galaxy10, tmp_path):
    _, run = finished
    other = write_galaxies(tmp_path / "other.h5", names=["Spiral", "Elliptical", "Edge-on"])
    refused = galaxy10("evaluate", run, other, "-o", tmp_path / "o")
    assert refused.code == 2
    assert "the file has Spiral, Elliptical, Edge-on; the run has Spiral, In-between, Edge-on" in refused.message
    assert not (tmp_path / "o").exists()


def test_seed_moves_weights_and_never_the_split(finished, train, tmp_path):
    done, run = finished
    again = train("data=hdf5", f"data.path={tmp_path / 'g.h5'}", "run.dir=again", *QUICK)
    other = train("data=hdf5", f"data.path={tmp_path / 'g.h5'}", "run.dir=other", "seed=1", *QUICK)

    def weights(run):
        return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    first, second, third = (weights(tmp_path / name) for name in ("r", "again", "other"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], third[key]) for key in first)
    assert done.result["split_hash"] == again.result["split_hash"] == other.result["split_hash"]
    assert (run / "metrics.csv").read_bytes() == (tmp_path / "again" / "metrics.csv").read_bytes()


def test_without_test_the_test_subset_stays_unread(galaxies, train, tmp_path):
    done = train("data=hdf5", f"data.path={galaxies}", "run.dir=r", "run.test=false", *QUICK)
    assert done.code == 0, done.err
    assert not any(key.startswith("test/") for key in done.result)
    assert not (tmp_path / "r" / "predictions" / "test.parquet").exists()
    metrics = (tmp_path / "r" / "metrics.csv").read_bytes()
    asked = train("data=hdf5", f"data.path={galaxies}", "run.dir=r", "run.test=true", *QUICK)
    assert asked.code == 0, asked.err
    assert "test/accuracy" in asked.result
    assert asked.result["val/loss"] == done.result["val/loss"]
    assert (tmp_path / "r" / "metrics.csv").read_bytes() == metrics


def test_a_finished_run_answers_again_and_another_configuration_is_refused(finished, train, tmp_path):
    done, _ = finished
    arguments = ["data=hdf5", f"data.path={tmp_path / 'g.h5'}", "run.dir=r", *QUICK]
    assert train(*arguments).out == done.out
    refused = train(*arguments, "model.dropout=0.5")
    assert refused.code == 2
    assert "model.dropout (0.25 there, 0.5 here)" in refused.message
    replaced = train(*arguments, "model.dropout=0.5", "run.overwrite=true")
    assert replaced.code == 0, replaced.err
    assert len(list(tmp_path.glob("r.before-*"))) == 1


def test_default_run_names_say_model_and_slurm_job(galaxies, train, tmp_path):
    arguments = ["data=hdf5", f"data.path={galaxies}", "debug=fast", "data.batch_size=8", "model.image_size=32"]
    job = train(*arguments, SLURM_ARRAY_JOB_ID="77", SLURM_ARRAY_TASK_ID="3", SLURM_JOB_ID="80")
    assert job.code == 0, job.err
    assert job.result["run_dir"].startswith("runs/simple_cnn-")
    assert job.result["run_dir"].endswith("-77_3")


@pytest.mark.parametrize(
    "extra",
    [
        ["optimizer=sgd", "scheduler=step"],
        ["scheduler=cosine", "optimizer.decay_norms_and_biases=true"],
        ["scheduler=none", "callbacks=early_stopping", "callbacks.early_stopping.patience=0"],
        ["augment=affine", "data.balance=dihedral"],
        ["augment=baseline_transfer", "data.balance=weighted", "data.num_folds=4", "data.fold=1"],
        ["debug=overfit", "trainer.max_epochs=3"],
        ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.5"],
        ["trainer.fast_dev_run=true"],
        ["trainer.accumulate_grad_batches=2", "trainer.check_val_every_n_epoch=2"],
        ["trainer.enable_checkpointing=false"],
        ["model.freeze=backbone", "trainer.limit_val_batches=0"],
    ],
    ids=lambda extra: " ".join(extra),
)
def test_options_run_to_the_end(extra, galaxies, train):
    done = train("data=hdf5", f"data.path={galaxies}", "run.dir=r", *QUICK, *extra)
    assert done.code == 0, done.err
    assert done.result["state"] == "finished"
    assert "Warning" not in done.err
    assert "Traceback" not in done.err


def test_the_profilers_table_is_in_the_run_directory(galaxies, train, tmp_path):
    done = train("data=hdf5", f"data.path={galaxies}", "run.dir=r", *QUICK, "debug=profiler")
    assert done.code == 0, done.err
    assert "profile r/profiler/fit-table.txt" in done.err
    assert "run_training_batch" in (tmp_path / "r" / "profiler" / "fit-table.txt").read_text()


def test_what_an_epoch_does_not_measure_is_not_repeated_from_the_last(galaxies, train, tmp_path):
    words = [*QUICK, "trainer.max_epochs=3", "trainer.max_steps=5", "run.report=false", "logger=csv"]
    done = train("data=hdf5", f"data.path={galaxies}", "run.dir=r", *words, "trainer.limit_train_batches=2")
    assert done.code == 0, done.err
    rows = pd.read_csv(tmp_path / "r" / "metrics.csv")
    assert rows["step"].tolist() == [2, 4, 5]
    assert rows["train/loss"].notna().all()
    assert rows["val/loss"].notna().tolist() == [True, True, False]
    assert "the last 1 steps came after the last validation" in done.err


def test_early_stopping_knows_which_way_is_better(galaxies, train, tmp_path):
    words = [*QUICK, "trainer.max_epochs=12", "optimizer.lr=1e-4", "run.report=false", "logger=csv"]
    stopping = ["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/loss"]
    patience = "callbacks.early_stopping.patience=1"
    done = train("data=hdf5", f"data.path={galaxies}", "run.dir=r", *words, *stopping, patience)
    assert done.code == 0, done.err
    losses = pd.read_csv(tmp_path / "r" / "metrics.csv")["val/loss"].tolist()
    risen = [n for n in range(1, len(losses)) if losses[n] >= min(losses[:n])]
    assert len(losses) > 2
    assert risen == ([len(losses) - 1] if len(losses) < 12 else [])


def test_a_transformer_gets_the_one_size_it_takes(galaxies, train, tmp_path):
    words = ["data=hdf5", f"data.path={galaxies}", "run.dir=r", "model=timm", "model.backbone=vit_tiny_patch16_224"]
    refused = train(*words, "model.pretrained=false", "model.image_size=64")
    assert refused.code == 2
    assert "takes pictures of 224 px alone; type model.image_size=224" in refused.message
    done = train(*words, "model.pretrained=false", "debug=fast", "data.batch_size=8", "run.report=false")
    assert done.code == 0, done.err
    assert " at 224 px" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.optimizer_class=torch.optim.Adamw"], "there is no optimizer.optimizer_class=torch.optim.Adamw"),
        (["optimizer.optimizer_class=torch.optim.RMSprop"], "is taken away like ~optimizer.fused"),
    ],
    ids=["no such class", "another class's settings"],
)
def test_an_optimizer_that_cannot_be_made_is_refused(words, message, galaxies, train, tmp_path):
    done = train("data=hdf5", f"data.path={galaxies}", "run.dir=r", *QUICK, *words)
    assert done.code == 2
    assert message in done.err.splitlines()[-1]
    assert not (tmp_path / "r").exists()


def test_nothing_is_written_beside_the_run_and_the_store(galaxies, train, tmp_path):
    train("data=hdf5", f"data.path={galaxies}", "run.dir=r", *QUICK)
    assert {p.name for p in tmp_path.iterdir()} - {"galaxies.h5", "r"} == {
        p.name for p in tmp_path.iterdir() if p.suffix in (".store", ".lock")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ["model=simple_cnn"],
        ["model=resnet50", "model.pretrained=false", "model.image_size=64"],
        ["model=inceptionv3", "model.pretrained=false", "model.image_size=75"],
        ["model=efficientnet_lite0", "model.image_size=64"],
        ["model=efficientnet_lite0", "model.image_size=64", "model.freeze=backbone"],
        ["model=timm", "model.backbone=resnet18", "model.pretrained=false", "model.image_size=64"],
    ],
    ids=lambda model: " ".join(model),
)
def test_every_network_trains_on_real_galaxies(model, real_galaxies, train, tmp_path):
    os.symlink(real_galaxies, tmp_path / "real.h5")
    done = train("data=hdf5", "data.path=real.h5", "run.dir=r", "debug=fast", "data.batch_size=8", *model)
    assert done.code == 0, done.err
    assert (tmp_path / "r" / "report.html").is_file()
