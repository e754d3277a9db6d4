"""model.init_from: a run starts from the weights of another one, whose classes may be others."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.models import Classifier
from galaxy10.models.init_from import take_weights
from galaxy10.runs.files import RunFiles
from galaxy10.training.inherited import check_same_start, overlap_note, with_known_galaxies_of
from tests.conftest import TRAINED, copy_of
from tests.galaxies import write_galaxies


class Net(nn.Module):
    """A convolution, a normalisation with statistics, a hidden layer of a given width, and a head."""

    def __init__(self, num_classes, width=4):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs):
        return self.head(self.norm(self.convolution(inputs)).mean((2, 3)))


def classifier(names, seed, width=4):
    torch.manual_seed(seed)
    module = Classifier(Net(len(names), width), class_names=names)
    module.network.norm.running_mean += seed
    return module


@pytest.fixture
def four(tmp_path):
    """A run of four classes, and its checkpoint."""
    module = classifier(["a", "b", "c", "d"], seed=1)
    about = {"model": {"name": "net", "image_size": 64}, "class_names": ["a", "b", "c", "d"], "preprocessing": None}
    checkpoint = {"galaxy10": about, "state_dict": {**module.state_dict(), "criterion.own": torch.zeros(2)}}
    best = RunFiles(tmp_path).best
    best.parent.mkdir()
    torch.save(checkpoint, best)
    return tmp_path, checkpoint


def test_from_four_classes_to_ten_everything_but_the_head_is_taken(four):
    run, checkpoint = four
    module = classifier([f"class {k}" for k in range(10)], seed=2)
    head = module.network.head.weight.clone()
    said = take_weights(module, checkpoint, run)
    assert said == f"7 of 9 tensors of the run {run}; new: head.bias, head.weight (4 classes there, 10 here)"
    found = module.state_dict()
    for name, tensor in checkpoint["state_dict"].items():
        if name.startswith("network.") and "head" not in name:
            assert torch.equal(found[name], tensor), name
    assert torch.equal(module.network.head.weight, head)
    assert module.init_record["taken"] == 7
    assert module.init_record["new"] == ["network.head.bias", "network.head.weight"]
    assert len(module.init_record["checkpoint"]) == 16


def test_the_head_is_taken_only_for_the_same_classes_in_the_same_order(four):
    run, checkpoint = four
    same, turned = classifier(["a", "b", "c", "d"], seed=2), classifier(["b", "a", "c", "d"], seed=2)
    assert take_weights(same, checkpoint, run) == f"all 9 tensors of the run {run}"
    assert torch.equal(same.network.head.weight, checkpoint["state_dict"]["network.head.weight"])
    assert take_weights(turned, checkpoint, run).endswith("new: head.bias, head.weight (other classes)")
    assert not torch.equal(turned.network.head.weight, checkpoint["state_dict"]["network.head.weight"])


def test_weights_that_do_not_fit_are_refused_and_nothing_is_changed(four):
    run, checkpoint = four
    wide = classifier(["a", "b"], seed=2, width=6)
    before = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    with pytest.raises(
        Galaxy10Error, match=r"does not fit this network: 6 of 9 tensors differ, first convolution.weight "
    ):
        take_weights(wide, checkpoint, run)
    assert all(torch.equal(tensor, before[name]) for name, tensor in wide.state_dict().items())


def test_a_resumed_run_is_refused_after_its_start_has_changed(four, tmp_path):
    run, checkpoint = four
    module, files = classifier(["a", "b"], seed=2), RunFiles(tmp_path / "new")
    take_weights(module, checkpoint, run)
    files.last.parent.mkdir(parents=True)
    files.last.touch()
    files.write_provenance({"model": {"init_from": module.init_record}})
    check_same_start(files, module.init_record)
    with pytest.raises(Galaxy10Error, match=r"has other weights than when .*new started from it; restore that run"):
        check_same_start(files, {**module.init_record, "checkpoint": "0" * 16})


def test_galaxies_of_the_first_run_are_known_to_the_second_and_a_note_counts_them_in_its_test_subset(tmp_path):
    first = RunFiles(tmp_path)
    nowhere = {"ra": np.nan, "dec": np.nan}
    first.write_known_galaxies(pd.DataFrame({"subset": ["train", "val"], "pixel_hash": [1, 2], **nowhere}))
    store = pd.DataFrame({"row": range(4), "pixel_hash": [1, 2, 3, 4], **nowhere})
    own = pd.DataFrame({"subset": ["train", "val"], "pixel_hash": [1, 9], **nowhere})
    assert sorted(with_known_galaxies_of(tmp_path, own)["pixel_hash"]) == [1, 2, 9]
    split = pd.DataFrame({"row": range(4), "subset": ["test", "val", "test", "train"]})
    note = overlap_note(tmp_path, store, split)
    assert "trained or validated on 1 of the 2 test galaxies: metrics are too optimistic" in note
    assert overlap_note(tmp_path, store, split.assign(subset=["train", "val", "test", "test"])) is None


@pytest.mark.long
def test_a_command_that_cannot_start_from_a_run_says_so_in_one_line(run, here, tmp_path):
    data = ("data=hdf5", f"data.path={run.parent / 'g.h5'}", "logger=csv")
    other = here("train.py", *data, "model=timm", "model.backbone=test_resnet", f"model.init_from={run}")
    assert other.code == 2
    assert "is a run of model=simple_cnn, and this is model=timm (test_resnet); type model=simple_cnn" in other.message
    assert "model.init_from: nowhere is no folder" in here("train.py", *data, "model.init_from=nowhere").message
    fitted = here("train.py", *data, "model=pca_logreg", f"model.init_from={run}")
    assert "model=pca_logreg is computed anew from its images" in fitted.message
    unfinished = copy_of(run, tmp_path / "unfinished")
    write_json(unfinished / "status.json", {**read_json(unfinished / "status.json"), "state": "interrupted"})
    assert (
        "no finished run (its state: interrupted)" in here("train.py", *data, f"model.init_from={unfinished}").message
    )
    # A finished run cannot go on with other settings; its weights can.
    words = ("data=hdf5", "data.path=g.h5", f"run.dir={run}", "seed=0", *TRAINED, "trainer.max_epochs=20")
    refused = here("train.py", *words, cwd=run.parent)
    assert refused.code == 2
    assert "trainer.max_epochs (2 there, 20 here)" in refused.message
    assert f"give another run.dir (with model.init_from={run} it starts from that run's weights)" in refused.message


@pytest.mark.long
@pytest.mark.slow
def test_a_run_starts_from_another_one_of_fewer_classes(run, train, tmp_path):
    file = write_galaxies(tmp_path / "five.h5", per_class=20, num_classes=5)
    words = ("data=hdf5", f"data.path={file}", "run.dir=r", f"model.init_from={run}", "trainer.max_epochs=1")
    done = train(*words, "data.batch_size=8", "logger=csv", "run.report=false", "run.test=false")
    assert done.code == 0, done.err
    line = next(line for line in done.err.splitlines() if line.startswith("model "))
    assert "at 32 px" in line  # the size that its weights were trained at
    assert f"tensors of the run {run}; new: " in line
    assert "(3 classes there, 5 here)" in line
    before, after = (read_json(folder / "provenance.json")["model"] for folder in (run, tmp_path / "r"))
    assert after["init_from"]["run"] == str(run)
    assert after["init_from"]["class_names"] == ["Spiral", "In-between", "Edge-on"]
    assert (after["mean"], after["std"]) == (before["mean"], before["std"])  # as its weights expect their inputs
    known = [pd.read_parquet(folder / "known_galaxies.parquet") for folder in (run, tmp_path / "r")]
    assert set(known[0]["pixel_hash"]) < set(known[1]["pixel_hash"])
