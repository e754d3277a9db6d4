"""Files of weights, of many kinds and damages, and how they fit a network."""

import json
import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

from galaxy10.errors import Galaxy10Error
from galaxy10.models.factory import build_classifier, load_classifier
from galaxy10.models.state_dicts import load_by_name
from galaxy10.models.weights import check_weights_reachable, find_weights
from tests.models.conftest import assert_loaded, load, resnet


@pytest.mark.parametrize("form", ["w.pth", "w.pt", "w.bin", "w.safetensors", "half", "lightning", "zoobot", "wrapped"])
def test_weights_come_from_files_of_many_kinds(form, tmp_path, pretrained):
    path = tmp_path / (form if "." in form else "w.pth")
    if form == "w.safetensors":
        save_file(pretrained, path)
    elif form == "half":
        pretrained = {k: t.half() for k, t in pretrained.items() if "num_batches" not in k}
        torch.save(pretrained, path)
        pretrained = {k: t.float() for k, t in pretrained.items()}
    elif form == "lightning":
        torch.save({"state_dict": {f"network.{k}": t for k, t in pretrained.items()}, "epoch": 3}, path)
    elif form == "zoobot":
        head = {"head.1.weight": torch.zeros(34, 512)}
        torch.save({f"encoder.{k}": t for k, t in pretrained.items() if "fc" not in k} | head, path)
    elif form == "wrapped":
        torch.save({"model": {f"module.model._orig_mod.{k}": t for k, t in pretrained.items()}}, path)
    else:
        torch.save(pretrained, path)
    source = find_weights("resnet18", str(path))
    assert (source.kind, source.path, source.input_size_px) == ("file", path, 224)
    assert_loaded(load(path), pretrained)


def test_a_folder_stands_for_the_one_file_in_it(tmp_path, pretrained):
    with pytest.raises(Galaxy10Error, match=r"holds no file of weights .* nothing at all"):
        check_weights_reachable("resnet18", str(tmp_path))
    (tmp_path / "README.md").touch()
    with pytest.raises(Galaxy10Error, match=r"only README\.md"):
        check_weights_reachable("resnet18", str(tmp_path))
    torch.save(pretrained, tmp_path / "best.pth")
    assert_loaded(load(tmp_path), pretrained)
    torch.save(pretrained, tmp_path / "last.pth")
    with pytest.raises(Galaxy10Error, match=r"several files of weights \(best.pth, last.pth\); name one"):
        check_weights_reachable("resnet18", str(tmp_path))
    save_file(pretrained, tmp_path / "model.safetensors")  # the hub's own name goes before
    (tmp_path / "config.json").write_text(
        json.dumps({"pretrained_cfg": {"mean": [0.1] * 3, "input_size": [3, 128, 128]}})
    )
    source = find_weights("resnet18", str(tmp_path))
    assert (source.path.name, source.mean, source.input_size_px) == ("model.safetensors", (0.1,) * 3, 128)
    assert source.std == (0.229, 0.224, 0.225)  # not told: timm's
    assert source.interpolation == "bicubic"


@pytest.mark.parametrize(
    ("told", "expected"), [("bilinear", "bilinear"), ("nearest", "bilinear"), ("lanczos", "bicubic")]
)
def test_a_network_gets_its_images_resized_as_its_weights_expect(tmp_path, told, expected):
    save_file(timm.create_model("test_resnet", num_classes=1000).state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"interpolation": told}}))
    model = {
        "_target_": "galaxy10.models.TimmClassifier",
        "backbone": "test_resnet",
        "pretrained": True,
        "weights": str(tmp_path),
    }
    module, _ = build_classifier(model, ("a", "b"), 64, ([0.1] * 3, [0.1] * 3))
    assert module.preprocessing.interpolation == expected
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    torch.save({**checkpoint, "state_dict": module.state_dict()}, tmp_path / "best.ckpt")
    assert load_classifier(tmp_path / "best.ckpt").preprocessing.interpolation == expected


def test_a_run_of_this_project_tells_its_own_input(tmp_path, pretrained):
    about = {
        "model": {"name": "timm", "backbone": "resnet18.a1_in1k"},
        "preprocessing": {"image_size": 96, "mean": [0.2] * 3, "std": [0.1] * 3},
    }
    (tmp_path / "checkpoints").mkdir()
    state = {f"network.{name}": tensor for name, tensor in pretrained.items()}
    torch.save({"state_dict": state, "galaxy10": about}, tmp_path / "checkpoints" / "best.ckpt")
    source = find_weights("resnet18", str(tmp_path))
    assert (source.input_size_px, source.mean, source.std) == (96, (0.2,) * 3, (0.1,) * 3)
    assert source.interpolation == "bilinear"  # told by none; timm says bicubic
    assert_loaded(load(tmp_path), pretrained)
    with pytest.raises(Galaxy10Error, match=r"is a run of timm \(resnet18.a1_in1k\) and not of resnet50"):
        find_weights("resnet50", str(tmp_path))


@pytest.mark.long
def test_weights_of_another_network_are_refused_and_change_nothing(tmp_path):
    torch.save(timm.create_model("resnet34").state_dict(), tmp_path / "deeper.pth")
    torch.save(timm.create_model("resnet26").state_dict(), tmp_path / "other.pth")
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pth")
    expected = {
        "deeper": r"does not fit resnet18: \d+ of 100 tensors differ, first layer1.2.conv1.weight is not in",
        "other": r"first layer1.0.conv1.weight is \(64, 64, 1, 1\) instead of \(64, 64, 3, 3\)",
        "a": r"does not fit resnet18: 100 of 100 tensors differ, first conv1.weight is missing; type",
    }
    for name, message in expected.items():
        network = resnet()
        before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        with pytest.raises(Galaxy10Error, match=message) as caught:
            load(tmp_path / f"{name}.pth", network)
        assert "\n" not in str(caught.value)
        assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


class Trap:
    def __reduce__(self):
        return (print, ("code from a weights file ran",))


def test_code_in_a_weights_file_never_runs(tmp_path, capsys):
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"conv1.weight": Trap()}))
    torch.save({"conv1.weight": Trap()}, tmp_path / "new.ckpt")
    for name in ("old.pth", "new.ckpt"):
        with pytest.raises(
            Galaxy10Error, match="holds more than tensors and is not loaded, as it could run code"
        ) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.ckpt"])
@pytest.mark.parametrize("content", [b"<html>404</html>", b"PK\x03\x04half a file", b"\x80\x02}q\x00"])
def test_damaged_files_are_refused_in_one_line(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Galaxy10Error, match="damaged or no file of weights") as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_cut_in_half_is_refused(tmp_path, pretrained):
    torch.save(pretrained, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(Galaxy10Error, match="damaged or no file of weights"):
        load(tmp_path / "w.pth")


def test_a_file_without_tensors_by_name_is_refused(tmp_path):
    torch.save([torch.zeros(3)], tmp_path / "w.pth")
    with pytest.raises(Galaxy10Error, match="holds no named tensors"):
        load(tmp_path / "w.pth")


def test_wrong_paths_are_refused_before_training(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty.pth").touch()
    for name, message in (
        ("none.pth", "does not exist"),
        ("notes.txt", "no file of weights"),
        ("empty.pth", "0 bytes"),
    ):
        with pytest.raises(Galaxy10Error, match=message):
            check_weights_reachable("resnet18", str(tmp_path / name))


@pytest.mark.long
def test_inception_keeps_its_auxiliary_head():
    full = timm.create_model("inception_v3", aux_logits=True).state_dict()
    network = timm.create_model("inception_v3", aux_logits=True, num_classes=10)
    new = [network.fc, network.AuxLogits.fc]
    load_by_name(network, full, "w.pth", new)
    assert torch.equal(network.AuxLogits.conv0.conv.weight, full["AuxLogits.conv0.conv.weight"])
    without = {name: tensor for name, tensor in full.items() if not name.startswith("AuxLogits")}
    with pytest.raises(Galaxy10Error, match=r"first AuxLogits.conv0.conv.weight is missing"):
        load_by_name(network, without, "w.pth", new)


def test_weights_as_their_authors_published_them_are_renamed_by_timm():
    """ConvNeXt of its authors has other names, and its layers in other shapes."""
    network = timm.create_model("convnext_atto", num_classes=3)
    theirs = {}
    for name, tensor in network.state_dict().items():
        for ours, other in (
            ("stem.", "downsample_layers.0."),
            (".blocks.", "."),
            (".conv_dw.", ".dwconv."),
            (".mlp.fc1.", ".pwconv1."),
            (".mlp.fc2.", ".pwconv2."),
            ("head.norm.", "norm."),
        ):
            name = name.replace(ours, other)
        if ".downsample." in name:
            stage = name.split(".")[1]
            name = name.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
        theirs[name.replace("head.fc.", "head.")] = tensor + 1
    before = network.stem[0].weight.clone()
    load_by_name(network, theirs, "w.pth", [network.head.fc])
    assert torch.equal(network.stem[0].weight, before + 1)
