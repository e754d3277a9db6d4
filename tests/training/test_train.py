"""Whole experiments, as a user starts them, on small files."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from tests.conftest import NAMES, QUICK, TRAINED

FILE = ("data=hdf5", "data.path=galaxies.h5", "run.dir=r")  # `galaxies`, from its folder


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_leaves_a_complete_directory_and_nothing_beside_it(finished, run):
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
    beside = {path.name for path in run.parent.iterdir() if path.suffix not in (".store", ".lock")}
    assert beside <= {"g.h5", "r0", "r1"}
    split = pd.read_parquet(run / "split.parquet")
    assert {"row", "subset", "fold", "group", "reason"} <= set(split.columns)
    assert split["subset"].value_counts().to_dict() == {"train": 84, "test": 24, "val": 12}
    table = pd.read_parquet(run / "predictions" / "test.parquet")
    columns = ["row", "label", "predicted", "predicted_name", "p_spiral", "p_in_between", "p_edge_on"]
    assert table.columns.tolist() == columns
    assert table["row"].tolist() == split.loc[split["subset"] == "test", "row"].tolist()
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == [0, 1]
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "finished"
    assert finished.result["run_dir"] == "r0"
    assert finished.result["state"] == "finished"
    assert finished.result["split_hash"] == json.loads((run / "provenance.json").read_text())["split"]["hash"]
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 2


def test_the_printed_numbers_are_those_of_the_table(finished, run):
    table = pd.read_parquet(run / "predictions" / "test.parquet")
    truth, predicted = table["label"], table["predicted"]
    probabilities = table[[c for c in table if c.startswith("p_")]].to_numpy(np.float64)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == predicted).all()
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)  # float32
    result = finished.result
    assert result["test/accuracy"] == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)
    assert result["test/balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted), abs=1e-12)
    assert result["test/macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"), abs=1e-12)
    assert result["test/loss"] == pytest.approx(log_loss(truth, probabilities, labels=[0, 1, 2]), abs=1e-6)
    assert result["train/images_per_s"] > 0
    assert 0 < result["train/data_time_fraction"] < 1


def test_checkpoints_are_plain(run):
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["galaxy10"]["class_names"] == NAMES


@pytest.mark.long
def test_seed_moves_weights_and_never_the_split(trained, train, tmp_path):
    run, other = trained(0), trained(1)
    words = ("data=hdf5", f"data.path={run.parent / 'g.h5'}", "run.dir=again", *TRAINED, "run.report=false")
    done = train(*words)
    assert done.code == 0, done.err
    first, second, third = (weights(path) for path in (run, tmp_path / "again", other))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], third[key]) for key in first)
    hashes = [json.loads((path / "provenance.json").read_text())["split"]["hash"] for path in (run, other)]
    assert done.result["split_hash"] == hashes[0] == hashes[1]
    assert (run / "metrics.csv").read_bytes() == (tmp_path / "again" / "metrics.csv").read_bytes()


@pytest.mark.long
def test_a_finished_run_prints_its_result_again_and_reads_the_test_subset_only_with_run_test(
    galaxies, train, here, tmp_path
):
    words = (*FILE, *QUICK)
    done = train(*words, "run.test=false")
    assert done.code == 0, done.err
    assert not any(key.startswith("test/") for key in done.result)
    assert not (tmp_path / "r" / "predictions" / "test.parquet").exists()
    metrics = (tmp_path / "r" / "metrics.csv").read_bytes()
    assert here("train.py", *words, "run.test=false").out == done.out
    asked = train(*words)
    assert asked.code == 0, asked.err
    assert "test/accuracy" in asked.result
    assert asked.result["val/loss"] == done.result["val/loss"]
    assert (tmp_path / "r" / "metrics.csv").read_bytes() == metrics
    refused = here("train.py", *words, "model.dropout=0.5")
    assert refused.code == 2
    assert "model.dropout (0.2 there, 0.5 here)" in refused.message
    replaced = train(*words, "model.dropout=0.5", "run.overwrite=true")
    assert replaced.code == 0, replaced.err
    assert len(list(tmp_path.glob("r.before-*"))) == 1


@pytest.mark.long
def test_default_run_names_say_model_and_slurm_job(galaxies, train):
    job = {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "80"}
    done = train("data=hdf5", f"data.path={galaxies}", "debug=fast", *QUICK[:-1], **job)
    assert done.code == 0, done.err
    assert done.result["run_dir"].startswith("runs/timm-")
    assert done.result["run_dir"].endswith("-77_3")


OPTIONS = [
    ["optimizer=sgd", "scheduler=step", "augment=affine", "data.balance=dihedral", "debug=overfit"],
    ["scheduler=cosine", "param_groups=none", "augment=baseline_transfer", "data.balance=weighted",
     "data.num_folds=4", "data.fold=1"],
    ["trainer.accumulate_grad_batches=2", "trainer.check_val_every_n_epoch=2", "trainer.enable_checkpointing=false"],
]  # fmt: skip
MORE_OPTIONS = [
    ["scheduler=none", "loss=focal", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.5"],
    ["trainer.fast_dev_run=true"],
    ["model.freeze=backbone", "trainer.limit_val_batches=0"],
]


@pytest.mark.parametrize(
    "extra", [*OPTIONS, *(pytest.param(words, marks=pytest.mark.long) for words in MORE_OPTIONS)], ids=" ".join
)
def test_options_run_to_the_end(extra, galaxies, train):
    done = train(*FILE, *QUICK, *extra, "trainer.max_epochs=2")
    assert done.code == 0, done.err
    assert done.result["state"] == "finished"
    assert "Warning" not in done.err
    assert "Traceback" not in done.err


def test_the_profilers_table_is_in_the_run_directory(galaxies, train, tmp_path):
    done = train(*FILE, *QUICK, "debug=profiler")
    assert done.code == 0, done.err
    assert "profile r/profiler/fit-table.txt" in done.err
    assert "run_training_batch" in (tmp_path / "r" / "profiler" / "fit-table.txt").read_text()


def test_what_an_epoch_does_not_measure_is_not_repeated_from_the_last(galaxies, train, tmp_path):
    words = [*QUICK, "trainer.max_epochs=3", "trainer.max_steps=5", "trainer.limit_train_batches=2"]
    done = train(*FILE, *words)
    assert done.code == 0, done.err
    rows = pd.read_csv(tmp_path / "r" / "metrics.csv")
    assert rows["step"].tolist() == [2, 4, 5]
    assert rows["train/loss"].notna().all()
    assert rows["val/loss"].notna().tolist() == [True, True, False]
    assert "the last 1 steps were not validated" in done.err


@pytest.mark.long
def test_early_stopping_knows_which_way_is_better_and_what_it_ended_stays_ended(galaxies, train, tmp_path):
    words = [*FILE, *QUICK, "trainer.max_epochs=12", "optimizer.lr=1e-2", "run.test=false"]
    words += ["callbacks=early_stopping", "callbacks.early_stopping.patience=1"]
    words += ["callbacks.early_stopping.monitor=val/loss"]
    done = train(*words)
    assert done.code == 0, done.err
    run = tmp_path / "r"
    losses = pd.read_csv(run / "metrics.csv")["val/loss"].tolist()
    risen = [n for n in range(1, len(losses)) if losses[n] >= min(losses[:n])]
    assert len(losses) < 12, "it was never stopped: this test says nothing"
    assert risen == [len(losses) - 1]
    # Killed while it was being scored, it is not trained any further.
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "state": "running"}))
    shutil.rmtree(run / "predictions")
    before, metrics = weights(run), (run / "metrics.csv").read_bytes()
    again = train(*words)
    assert again.code == 0, again.err
    speeds = {key for key in done.result if key.endswith("images_per_s")}
    assert {k: v for k, v in again.result.items() if k not in speeds} == {
        k: v for k, v in done.result.items() if k not in speeds
    }
    assert (run / "metrics.csv").read_bytes() == metrics
    assert all(torch.equal(tensor, before[key]) for key, tensor in weights(run).items())


@pytest.mark.long
def test_a_transformer_is_trained_and_used_at_the_size_that_was_typed(galaxies, train, galaxy10, here):
    words = [*FILE, *QUICK, "model.backbone=test_vit", "debug=fast"]
    refused = here("train.py", *words, "model.image_size=40")
    assert refused.code == 2
    assert "takes images of a multiple of 16 px, not 40; type model.image_size=" in refused.message
    done = train(*words, "model.image_size=48", "run.dir=r")
    assert done.code == 0, done.err
    assert " at 48 px" in done.err
    for command in (
        ("evaluate", "r", "galaxies.h5", "-o", "e"),
        ("predict", "r", "galaxies.h5", "-o", "c.parquet"),
        ("export", "r", "-o", "m.pt2"),
    ):
        used = galaxy10(*command)
        assert used.code == 0, used.err
    further = train(*words, "model.image_size=auto", "model.init_from=r", "run.dir=s")
    assert further.code == 0, further.err
    assert " at 48 px" in further.err


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ["model=efficientnet_lite0", "model.image_size=64", "model.freeze=backbone"],
        ["model=efficientnet_lite0", "model.image_size=64"],
        ["model=simple_cnn"],
        ["model=resnet50", "model.pretrained=false", "model.image_size=64"],
        ["model=inceptionv3", "model.pretrained=false", "model.image_size=75"],
        *(
            [f"model={name}", "model.pretrained=false", "model.image_size=64"]
            for name in (
                "resnet18",
                "convnext_nano",
                "convnext_tiny",
                "efficientnetv2_s",
                "vit_small_dinov3",
                "zoobot_convnext_nano",
                "zoobot_euclid",
            )
        ),
    ],
    ids=" ".join,
)
def test_every_network_trains_on_real_galaxies(model, real_galaxies, train, tmp_path):
    os.symlink(real_galaxies, tmp_path / "real.h5")
    done = train("data=hdf5", "data.path=real.h5", "run.dir=r", "debug=fast", "data.batch_size=8", *model)
    assert done.code == 0, done.err
    assert (tmp_path / "r" / "report.html").is_file()
