"""Nobody's code runs because a checkpoint names it."""

import json
import shutil
import sys

import pytest
import torch

from galaxy10.config.trust import TRUST_VARIABLE, check_trusted, trust, trust_configuration
from galaxy10.errors import Galaxy10Error
from tests.conftest import TRAINED


@pytest.fixture(autouse=True)
def untrusting(monkeypatch):
    monkeypatch.setenv(TRUST_VARIABLE, "")


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "builtins.eval", "_args_": ["1/0"]},
        {"_target_": "os.system", "command": "false"},
        {"_target_": "torch.load", "f": "x"},
        {"_target_": "torch.hub.load", "repo_or_dir": "folder", "source": "local", "model": "m"},
        {"_target_": "torch.nn.modules.module.torch.hub.load"},
        {"_target_": "galaxy10.files.os.system", "command": "false"},
        {"_target_": "galaxy10.config.building.resolve", "path": "os.system", "key": ""},
        {"_target_": "hydra.utils.get_method", "path": "os.system"},
        {"_target_": "timm.create_model", "model_name": "resnet18", "checkpoint_path": "x.pth"},
        {"_target_": "timm.models.load_checkpoint", "model": None, "checkpoint_path": "x"},
        {"_target_": "torchvision.models.resnet18", "weights": "DEFAULT"},
        {"_target_": "torchvision.io.read_file", "path": "/etc/passwd"},
        {"_target_": "torchmetrics.utilities.data.dim_zero_cat", "x": []},
        {"_target_": "outsider.nets.MyNet"},
    ],
)
def test_what_a_checkpoint_may_not_name(node):
    deep = {"_target_": "torch.nn.Sequential", "a": [{"b": node}]}
    hostile = {"_target_": "galaxy10.models.Classifier", "network": deep}
    sys.modules.pop("outsider", None)
    with pytest.raises(Galaxy10Error) as caught:
        check_trusted(hostile, "best.ckpt")
    assert "best.ckpt names" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "outsider" not in sys.modules  # not even imported


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "galaxy10.models.SimpleCNN", "dropout": 0.1},
        {"_target_": "galaxy10.models.losses.FocalLoss"},
        {"_target_": "torch.nn.CrossEntropyLoss"},
        {"_target_": "torch.optim.RAdam", "_partial_": True},
        {"_target_": "torch.optim.lr_scheduler.StepLR", "_partial_": True},
        {"_target_": "timm.create_model", "model_name": "resnet18"},
        {"_target_": "timm.models.resnet18"},
        {"_target_": "torchvision.models.resnet18"},
        {"_target_": "torchmetrics.classification.MulticlassAUROC"},
    ],
)
def test_what_it_may(node):
    check_trusted({"model": {"deep": [node]}}, "best.ckpt")


def test_trust_is_of_packages_and_checked_by_the_object_that_a_name_resolves_to():
    trust(["outsider"])
    check_trusted({"_target_": "outsider.nets.MyNet"}, "best.ckpt")
    with pytest.raises(Galaxy10Error, match="never run"):
        check_trusted({"_target_": "outsider.loggers.json.loads"}, "best.ckpt")
    with pytest.raises(Galaxy10Error, match="no package"):
        trust(["out sider"])


def test_a_typed_configuration_is_trusted():
    trust_configuration({"model": {"network": {"_target_": "outsider.nets.MyNet"}}, "loss": {"_target_": "torch.load"}})
    check_trusted({"_target_": "outsider.nets.MyNet"}, "best.ckpt")
    with pytest.raises(Galaxy10Error):
        check_trusted({"_target_": "torch.load"}, "best.ckpt")


def test_the_standard_library_cannot_be_trusted(monkeypatch):
    with pytest.raises(Galaxy10Error, match="os is a module of Python itself"):
        trust(["os"])
    monkeypatch.setenv(TRUST_VARIABLE, "os,builtins,posix,torch")
    for node in ({"_target_": "builtins.eval"}, {"_target_": "os.system"}, {"_target_": "torch.hub.load"}):
        with pytest.raises(Galaxy10Error, match="is never run") as caught:
            check_trusted(node, "best.ckpt")
        assert "--trust" not in str(caught.value)
    trust_configuration({"callbacks": {"a": {"_target_": "functools.partial"}}})  # typed: it is only not trusted later


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "r", "g.h5", "-o", "e"],
        ["predict", "r", "g.h5", "-o", "c.parquet", "--no-temperature"],
        ["uncertainty", "r", "g.h5", "-o", "u"],
        pytest.param(["export", "r", "-o", "m.onnx", "--no-temperature"], marks=pytest.mark.long),
        ["calibrate", "r"],
        ["train"],
    ],
    ids=["evaluate", "predict", "uncertainty", "export", "calibrate", "train"],
)
def test_every_command_refuses_a_checkpoint_that_names_something_else(command, run, here, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    shutil.copy(run.parent / "g.h5", tmp_path)
    for name in ("best", "last"):
        path = tmp_path / "r/checkpoints" / f"{name}.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        network = {"_target_": "os.system", "command": "touch run"}
        checkpoint["galaxy10"]["model"] |= {"_target_": "galaxy10.models.Classifier", "network": network}
        torch.save(checkpoint, path)
    if command == ["train"]:
        status = json.loads((tmp_path / "r/status.json").read_text())
        (tmp_path / "r/status.json").write_text(json.dumps({**status, "state": "interrupted"}))
        command = ["data=hdf5", "data.path=g.h5", "run.dir=r", "seed=0", *TRAINED]
    done = here("galaxy10" if "=" not in command[0] else "train.py", *command)
    assert done.code == 2, done.err
    assert "best.ckpt names os.system" in done.err or "last.ckpt names os.system" in done.err
    assert not (tmp_path / "run").exists()
    for words in (["report", "r", "-o", "page"], ["compare", "r", "-o", "side"], ["runs", "."]):
        if command[0] == "calibrate":
            assert here("galaxy10", *words).code == 0
