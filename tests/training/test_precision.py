"""trainer.precision=auto and trainer.compile: decided before training, recorded, and the same after a restart."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from galaxy10.models import precision
from galaxy10.models.factory import load_classifier
from galaxy10.models.precision import choose_precision, cpu_has_bf16, resolve_precision
from galaxy10.runs.directory import RunDirectory
from tests.conftest import QUICK


@pytest.fixture
def bf16_cpu(monkeypatch):
    """A machine without a GPU whose CPU has bfloat16 instructions."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)


def gpu_of(monkeypatch, *capabilities):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: capabilities[i])


def test_a_requested_precision_is_used():
    assert choose_precision("64-true", "cpu", "resnet50", 224).name == "64-true"
    assert choose_precision(16, "auto", "resnet50", 224).name == "16"


def test_a_cpu_with_bf16_uses_it_where_it_measured_faster(bf16_cpu):
    assert choose_precision("auto", "cpu", "resnet50.a1_in1k", 224).name == "bf16-mixed"
    assert choose_precision("auto", "auto", "tf_efficientnet_lite0", 128).name == "32-true"
    unknown = choose_precision("auto", "cpu", "a_network_of_tomorrow", 224)
    assert unknown.name == "32-true"
    assert "a_network_of_tomorrow was not measured" in unknown.reason


def test_a_cpu_without_bf16_computes_in_fp32(bf16_cpu, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    assert choose_precision("auto", "cpu", "resnet50", 224).name == "32-true"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [([(8, 0)], "bf16-mixed"), ([(9, 0)], "bf16-mixed"), ([(7, 5)], "32-true"), ([(9, 0), (7, 0)], "32-true")],
)
def test_gpus_from_ampere_on_compute_in_bf16(monkeypatch, capabilities, expected):
    gpu_of(monkeypatch, *capabilities)
    assert choose_precision("auto", "auto", "tf_efficientnet_lite0", 64).name == expected


def test_an_unused_gpu_does_not_change_the_precision(bf16_cpu, monkeypatch):
    gpu_of(monkeypatch, (9, 0))
    assert choose_precision("auto", "cpu", "tf_efficientnet_lite0", 64).name == "32-true"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_bf16\n", True),
        ("processor : 0\nFeatures\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("", False),
    ],
)
def test_the_cpus_own_list_says_whether_it_has_bf16(tmp_path, cpuinfo, expected):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert cpu_has_bf16(tmp_path / "cpuinfo") is expected
    assert cpu_has_bf16(tmp_path / "elsewhere") is False


def test_a_run_goes_on_in_the_precision_it_began_with(tmp_path, bf16_cpu):
    config = {
        "trainer": {"precision": "auto", "accelerator": "cpu"},
        "model": {"name": "resnet50", "backbone": "resnet50"},
    }
    directory = RunDirectory(tmp_path)
    (tmp_path / "provenance.json").write_text(
        json.dumps({"training": {"precision": "32-true", "precision_reason": "another machine"}})
    )
    assert resolve_precision(config, directory, 224).name == "bf16-mixed"  # nothing has been trained yet
    directory.last_checkpoint.parent.mkdir()
    directory.last_checkpoint.touch()
    assert resolve_precision(config, directory, 224).name == "32-true"


def test_a_run_records_its_precision_and_is_its_own_profile(run, finished):
    training = json.loads((run / "provenance.json").read_text())["training"]
    assert training["precision"] in ("32-true", "bf16-mixed")
    assert training["cache_on_device"] is False
    assert f"{training['precision']} ({training['precision_reason']})" in finished.err
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] == "auto"
    profile = pd.read_csv(run / "profile.csv")
    timings = {
        "seconds",
        "images_per_s",
        "data_time_fraction",
        "validation_images_per_s",
        "peak_host_gib",
        "peak_device_gib",
    }
    assert timings <= set(profile.columns)
    assert not timings & set(pd.read_csv(run / "metrics.csv").columns)
    assert finished.result["train/peak_host_gib"] == profile["peak_host_gib"].max() > 0.1
    assert finished.result["train/peak_device_gib"] == 0
    assert finished.result["train/scoring_images_per_s"] > 0


def test_final_numbers_are_those_of_float32_whatever_training_computed_in(galaxies, train, tmp_path):
    words = ("data=hdf5", f"data.path={galaxies}", "run.dir=r", *QUICK)
    done = train(*words, "trainer.max_epochs=1", "model.tta_views=1", "trainer.precision=bf16-mixed")
    assert done.code == 0, done.err
    assert "bf16-mixed (set by trainer.precision)" in done.err
    table = pd.read_parquet(tmp_path / "r" / "predictions" / "test.parquet")
    module = load_classifier(tmp_path / "r" / "checkpoints" / "best.ckpt")
    with h5py.File(galaxies) as file:
        images = torch.from_numpy(file["images"][table["row"].to_numpy()])
    with torch.inference_mode():
        expected = module.probabilities(module.preprocessing.eval_transform(images)).numpy()
    found = table[[name for name in table if name.startswith("p_")]].to_numpy()
    assert np.allclose(found, expected, atol=1e-6)


@pytest.mark.long
def test_a_compiled_network_leaves_clean_checkpoints(galaxies, train, tmp_path):
    limits = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "run.test=false")
    compiled = train(
        "data=hdf5", f"data.path={galaxies}", "run.dir=r", *QUICK, *limits, "trainer.compile=true",
        TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "inductor"),
    )  # fmt: skip
    assert compiled.code == 0, compiled.err
    path = tmp_path / "r" / "checkpoints" / "last.ckpt"
    assert not any("_orig_mod" in key for key in torch.load(path, weights_only=True)["state_dict"])
    assert list((tmp_path / "inductor").rglob("*.so"))  # something was compiled indeed
    load_classifier(path)


def test_a_network_is_not_compiled_without_a_compiler(galaxies, here, tmp_path):
    (tmp_path / "bin").mkdir()
    words = ("data=hdf5", f"data.path={galaxies}", "trainer.compile=true")
    refused = here("train.py", *words, PATH=str(tmp_path / "bin"), CXX="")
    assert refused.code == 2
    assert "needs a C++ compiler (g++ or clang++); type trainer.compile=false" in refused.message
