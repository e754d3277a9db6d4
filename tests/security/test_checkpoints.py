"""Checkpoints, weights and run directories of anybody run no code (what they may name: tests/outside/test_trust)."""

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import pytest
import torch

from galaxy10.config.building import build
from galaxy10.config.trust import TRUST_VARIABLE, check_trusted
from galaxy10.errors import Galaxy10Error
from galaxy10.models.factory import load_checkpoint, load_classifier
from galaxy10.models.weight_files import read_weights
from galaxy10.runs.files import RunFiles
from galaxy10.runs.record import read_run


@pytest.fixture(autouse=True)
def untrusting(monkeypatch, tmp_path):
    monkeypatch.setenv(TRUST_VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("owned").exists()


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("owned",)


def as_torch(path):
    torch.save({"state_dict": {}, "galaxy10": {"model": Hostile()}}, path)


def as_pickle(path):
    path.write_bytes(pickle.dumps(Hostile()))


def as_legacy(path):
    torch.save({"state_dict": Hostile()}, path, _use_new_zipfile_serialization=False)


def as_tar(path):
    """The format of 2017: torch before 2.6 unpickles it, whatever weights_only says."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(Hostile())
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("form", [as_torch, as_pickle, as_legacy, as_tar])
@pytest.mark.parametrize("read", [load_checkpoint, read_weights])
def test_pickled_code_does_not_run(form, read, tmp_path):
    form(tmp_path / "best.ckpt")
    with pytest.raises(Galaxy10Error, match=r"best\.ckpt"):
        read(tmp_path / "best.ckpt")


HIDDEN = (
    "${oc.decode:'{_target_: torch.hub.load, repo_or_dir: x, source: local, model: m}'}",
    "${oc.create:${oc.decode:'{_target_: torch.load, f: x}'}}",
    "${oc.env:HOME}",
    r"\${oc.env:HOME}",
    "${unfinished",
    "???",
)


@pytest.mark.parametrize("text", HIDDEN)
def test_a_text_is_no_interpolation_wherever_it_comes_from(text):
    """In a checkpoint, or as the name of a class in somebody's file: instantiate would resolve it, twice."""
    node = {"_target_": "builtins.dict", "a": [text], "b": {"_target_": "builtins.dict", "c": {"d": text}}}
    assert build(node) == {"a": [text], "b": {"c": {"d": text}}}
    given = {"_target_": "tests.security.test_checkpoints.names_of", "_partial_": True}
    assert build(given, {"class_names": [text, "Spiral"]})() == [text, "Spiral"]


def names_of(class_names):
    return class_names


def test_a_target_cannot_be_an_interpolation_either():
    with pytest.raises(Galaxy10Error, match="not trusted"):
        check_trusted({"a": [{"_target_": "${oc.env:HOME}"}]}, "best.ckpt")


@pytest.mark.parametrize("name", ["hf-hub:somebody/model", "local-dir:/tmp/x"])
def test_timm_opens_no_address(name, tmp_path):
    with pytest.raises(Galaxy10Error):
        check_trusted({"_target_": "timm.create_model", "model_name": name}, "best.ckpt")
    model = {"_target_": "galaxy10.models.TimmClassifier", "backbone": name, "image_size": 32}
    about = {"model": model, "class_names": ["a", "b"], "preprocessing": None}
    torch.save({"state_dict": {}, "galaxy10": about}, tmp_path / "best.ckpt")
    with pytest.raises(Galaxy10Error, match="is an address"):
        load_classifier(tmp_path / "best.ckpt")


@pytest.mark.parametrize(
    "about",
    [
        3,
        {"model": 3},
        {"model": {"image_size": "x"}, "class_names": ["a"], "preprocessing": None},
        {"model": {"image_size": 32}, "class_names": None, "preprocessing": None},
        {"model": {"image_size": 32}, "class_names": ["a", "b"], "preprocessing": {"unknown": 1}},
    ],
    ids=str,
)
def test_a_checkpoint_of_another_form_is_refused_in_one_line(about, tmp_path):
    torch.save({"state_dict": {}, "galaxy10": about}, tmp_path / "best.ckpt")
    with pytest.raises(Galaxy10Error, match=r"best\.ckpt") as refused:
        load_classifier(tmp_path / "best.ckpt")
    assert "\n" not in str(refused.value)


def laughs(levels=40):
    """A few lines that stand for 2^40 values."""
    return "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, levels))])


@pytest.mark.long
@pytest.mark.parametrize(
    "content",
    [
        "a: !!python/object/apply:os.mkdir [owned]",
        "a: !!python/object/new:os.mkdir {args: [owned]}",
        "a: !!python/name:os.mkdir",
        "a: &a [*a]",
        laughs(),
        "a: " + "[" * 5000,
        "[1, 2]",
        "a: \x00",
    ],
    ids=["apply", "new", "name", "itself", "laughs", "deep", "list", "nul"],
)
def test_yaml_of_a_run_directory_is_plain_and_small(content, tmp_path):
    files = RunFiles(tmp_path)
    files.config.write_text(content)
    files.status.write_text("{}")
    with pytest.raises(Galaxy10Error, match=r"config\.yaml cannot be read") as refused:
        files.read_config()
    assert "\n" not in str(refused.value)
    assert "config.yaml" in read_run(tmp_path).missing


def test_a_configuration_that_refers_to_itself_is_no_model():
    twice = ["x"]
    for _ in range(40):
        twice = [twice, twice]
    endless: list = []
    endless.append(endless)
    for config in (twice, endless):
        with pytest.raises(Galaxy10Error, match="no configuration"):
            check_trusted({"model": config}, "best.ckpt")


@pytest.mark.parametrize("status", ["[" * 100_000, json.dumps({"state": "finished", "metrics": [[[]]]}), "nul\x00"])
def test_json_of_a_run_directory_is_read_or_said_to_be_missing(status, tmp_path):
    files = RunFiles(tmp_path)
    files.status.write_text(status)
    files.config.write_text("a: 1")
    assert read_run(tmp_path).metrics == {}
    files.read_status()
