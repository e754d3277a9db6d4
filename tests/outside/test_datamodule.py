"""A LightningDataModule of one's own: what is known of it, what it must give, and how its images are numbered."""

import json
import pickle

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler

from galaxy10.data import GalaxyData
from galaxy10.data.build import build_datamodule, check_data
from galaxy10.data.custom_datamodule import check_datamodule, describe_datamodule, label_hash
from galaxy10.errors import Galaxy10Error
from tests.data.test_datamodule import Plain, quiet_trainer
from tests.outside.conftest import HERE


def theirs(**attributes):
    """The data module of somebody's own, set up, with a few things changed."""
    from outsider.data import TheirData

    data = type("TheirData", (TheirData,), attributes)()
    data.setup()
    return data


def test_labels_rows_and_counts_are_derived_from_the_batches():
    data = theirs()
    state = torch.get_rng_state()
    facts = describe_datamodule(data)
    assert torch.equal(state, torch.get_rng_state())  # looking changes no run
    assert facts.class_names == ("edge-on", "spiral", "elliptical")
    assert facts.class_counts.tolist() == [16, 16, 16]
    assert facts.image_size == 32
    assert facts.counts() == {"train": 48, "val": 15, "test": 18, "dropped": 0}
    assert facts.table.columns.tolist() == ["row", "subset", "fold", "group", "reason", "label"]
    assert facts.table["row"].tolist() == list(range(81))
    assert facts.table["label"].tolist() == [*range(3)] * 16 + data.sets["val"].labels + data.sets["test"].labels
    assert "hash covers labels and order" in facts.notes[0]
    assert "numbered in the order of its loaders" in facts.notes[1]


def test_the_hash_names_labels_order_and_subsets():
    facts = describe_datamodule(theirs())
    assert facts.hash == describe_datamodule(theirs()).hash
    table = facts.table
    for changed in (
        table.assign(label=[1, 0, *table["label"][2:]]),
        table.assign(subset=["val", *table["subset"][1:]]),
        table.assign(row=table["row"] + 1),
    ):
        assert label_hash(changed, facts.class_names) != facts.hash
    assert label_hash(table, facts.class_names[::-1]) != facts.hash


def labels_match(batches, table):
    by_row = table.set_index("row")["label"]
    return all((by_row[batch["rows"].numpy()].to_numpy() == batch["labels"].numpy()).all() for batch in batches)


@pytest.mark.filterwarnings("ignore")
def test_in_a_trainer_every_batch_has_rows_that_name_its_images(tmp_path):
    data = theirs()
    facts = describe_datamodule(data)
    describe_datamodule(data)  # a second look numbers nothing twice
    module = Plain()
    quiet_trainer(tmp_path, num_sanity_val_steps=0).fit(module, data)
    trained = torch.cat([batch["rows"] for batch in module.seen["train"]])
    assert sorted(trained[:48].tolist()) == list(range(48))
    assert trained[:48].tolist() != trained[48:].tolist() != list(range(48))  # shuffled, as its loader says
    assert labels_match(module.seen["train"], facts.table)
    rows = torch.cat([batch["rows"] for batch in module.seen["val"]])
    assert rows.tolist() == [*range(48, 63)] * 2
    loader = pickle.loads(pickle.dumps(data.val_dataloader()))  # worker processes can be given it
    assert next(iter(loader))["rows"].tolist() == list(range(48, 56))


def test_shared_among_processes_rows_still_name_the_images():
    from torch.utils.data import DistributedSampler

    data = theirs()

    def shared(rank):
        sampler = DistributedSampler(data.sets["val"], num_replicas=2, rank=rank, shuffle=False)
        return DataLoader(data.sets["val"], 4, sampler=sampler)

    facts = describe_datamodule(data)
    numbered = data.val_dataloader
    for rank in (0, 1):
        numbered._hook = lambda rank=rank: shared(rank)
        batches = list(numbered())
        assert torch.cat([batch["rows"] for batch in batches]).tolist()[:7] == list(range(48 + rank, 63, 2))[:7]
        assert labels_match(batches, facts.table)


class Stream(IterableDataset):
    """Images that come one after another, from nowhere in particular."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        return (self.dataset[number] for number in range(len(self.dataset)))


class SizedStream(Stream):
    def __len__(self):
        return len(self.dataset)


@pytest.mark.parametrize("kind", ["indices", "batches"])
def test_subsets_that_share_a_data_set_by_their_samplers_stay_apart(kind):
    def share(start, stop):
        def loader(self):
            places = [*range(start, stop)]
            if kind == "indices":
                return DataLoader(self.sets["train"], 4, sampler=SubsetRandomSampler(places))
            return DataLoader(self.sets["train"], batch_sampler=[places[:5], places[5:]])

        return loader

    names = ("train", "val", "test")
    shares = {f"{name}_dataloader": share(16 * k, 16 * k + 16) for k, name in enumerate(names)}
    data = theirs(**shares)
    facts = describe_datamodule(data)
    assert facts.counts() == {"train": 16, "val": 16, "test": 16, "dropped": 0}
    assert facts.table["label"].tolist() == data.sets["train"].labels
    for k, name in enumerate(names):
        batches = list(getattr(data, f"{name}_dataloader")())
        assert sorted(torch.cat([batch["rows"] for batch in batches]).tolist()) == [*range(16 * k, 16 * k + 16)]
        assert labels_match(batches, facts.table)


def test_streams_are_counted_through():
    data = theirs(val_dataloader=lambda self: DataLoader(SizedStream(self.sets["val"]), 4))
    facts = describe_datamodule(data)
    batches = list(data.val_dataloader())
    assert torch.cat([batch["rows"] for batch in batches]).tolist() == list(range(48, 63))
    assert labels_match(batches, facts.table)
    assert len(data.val_dataloader()) == 4


def test_endless_ones_must_say_their_labels():
    def endless(self):
        return DataLoader(Stream(self.sets["train"]), 4)

    with pytest.raises(Galaxy10Error, match=r"train loader has no length.*give the data module a method labels"):
        describe_datamodule(theirs(train_dataloader=endless))
    data = theirs(train_dataloader=endless, labels=lambda self, subset: self.sets[subset].labels)
    assert describe_datamodule(data).hash == describe_datamodule(theirs()).hash


def test_what_it_says_of_itself_is_believed():
    reads = []

    def labels(self, subset):
        reads.append(subset)
        return np.array(self.sets[subset].labels)

    data = theirs(labels=labels, class_counts=[1, 2, 3])
    assert describe_datamodule(data).class_counts.tolist() == [1, 2, 3]
    assert reads == ["train", "val", "test"]


def numbered_by_themselves(base=0):
    from outsider.data import DictSet

    class Numbered(DictSet):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "rows": base + index}

    return Numbered


def test_rows_of_its_own_stay():
    def setup(self, stage=None):
        starts = {"train": range(48), "val": range(1000, 1015), "test": range(2000, 2018)}
        self.sets = {name: numbered_by_themselves(seeds.start)(seeds) for name, seeds in starts.items()}

    data = theirs(setup=setup)
    facts = describe_datamodule(data)
    assert facts.table["row"].tolist() == [*range(48), *range(1000, 1015), *range(2000, 2018)]
    assert len(facts.notes) == 1
    assert next(iter(data.val_dataloader()))["rows"].tolist() == list(range(1000, 1008))

    def clash(self, stage=None):
        setup(self)
        self.sets["test"] = numbered_by_themselves(0)(range(18))

    with pytest.raises(Galaxy10Error, match=r"several images have row 0; give each image"):
        describe_datamodule(theirs(setup=clash))


def test_a_random_split_is_the_same_whenever_it_is_set_up():
    node = {"_target_": "outsider.data.RandomlySplit"}
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        data = build_datamodule(node, {"name": "none"}, seed)
        for stage in ("fit", "test", "fit"):
            data.setup(stage)
            found.append([part.indices for part in data.sets.values()])
        assert torch.equal(before, torch.get_rng_state())
    assert all(indices == found[0] for indices in found)


def test_what_varies_by_itself_is_not_given_our_augmentation():
    theirs = {"_target_": "outsider.data.TheirData", "batch_size": 4}
    with pytest.raises(Galaxy10Error, match=r"takes no argument `augmentation`, so .* type augment=none"):
        check_data(theirs, {"name": "dihedral"})
    check_data(theirs, {"name": "none", "before": [], "after": []})
    with pytest.raises(Galaxy10Error, match="takes no batch_sise: did you mean batch_size"):
        check_data({**theirs, "batch_sise": 3}, {"name": "none"})
    with pytest.raises(Galaxy10Error, match="builds a Jitter; name a LightningDataModule"):
        build_datamodule({"_target_": "outsider.data.Jitter"}, {"name": "none"}, 0)
    assert build_datamodule(theirs, {"name": "none"}, 0).batch_size == 4
    asks = {"_target_": "outsider.data.OurFileTheirWay", "path": "g.h5"}
    check_data(asks, {"name": "dihedral"})
    data = build_datamodule(asks, {"name": "dihedral", "dihedral": "all"}, 7)
    assert (data.augmentation.dihedral, data.seed, data.batch_size) == ("all", 7, 16)


def test_one_without_a_test_subset_has_none():
    data = theirs(test_dataloader=L.LightningDataModule.test_dataloader)
    assert describe_datamodule(data).counts() == {"train": 48, "val": 15, "test": 0, "dropped": 0}


class Batches:
    """A loader of no library's."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def with_batches(**changed):
    """A training loader of one batch, some of whose keys are changed (None: left out)."""
    batch = {"inputs": torch.zeros(4, 3, 16, 16), "labels": torch.tensor([0, 1, 2, 0]), **changed}
    return {"train_dataloader": lambda self: Batches({key: x for key, x in batch.items() if x is not None})}


WRONG = {
    "pairs": (
        {"train_dataloader": lambda self: Batches((torch.zeros(4), 1))},
        r"batches are of type tuple; expected \{\"inputs",
    ),
    "no labels": (with_batches(labels=None), r"have no `labels` \(they hold inputs\)"),
    "no inputs": (with_batches(inputs=None, x=1), r"have no `inputs` \(they hold labels, x\)"),
    "an array": (with_batches(inputs=np.zeros((4, 3, 16, 16))), r"have `inputs` of type ndarray"),
    "bytes": (with_batches(inputs=torch.zeros(4, 3, 16, 16, dtype=torch.uint8)), r"`inputs` is .* torch.uint8"),
    "colours last": (with_batches(inputs=torch.zeros(4, 16, 16, 3)), r"`inputs` is \(4, 16, 16, 3\).*\(B, 3, S, S\)"),
    "oblong": (with_batches(inputs=torch.zeros(4, 3, 16, 20)), r"`inputs` is \(4, 3, 16, 20\)"),
    "too many": (with_batches(inputs=torch.zeros(5, 3, 16, 16)), r"\(5, 3, 16, 16\) torch.float32 for 4 labels"),
    "float labels": (with_batches(labels=torch.zeros(4)), r"`labels` is \(4,\) torch.float32; expected \(B,\) whole"),
    "one-hot": (with_batches(labels=torch.zeros(4, 3, dtype=torch.long)), r"`labels` is \(4, 3\) torch.int64"),
    "a label too high": (with_batches(labels=torch.tensor([0, 1, 2, 3])), r"label 3; there are 3 class names"),
    "odd rows": (with_batches(rows=torch.zeros(4)), r"`rows` is \(4,\) torch.float32"),
    "nothing": ({"train_dataloader": lambda self: Batches()}, r"its training loader is empty"),
    "several loaders": ({"train_dataloader": lambda self: {"a": 1}}, r"train_dataloader returns dict; expected one"),
    "no loader": ({"train_dataloader": L.LightningDataModule.train_dataloader}, r"has no train_dataloader"),
    "no names": ({"class_names": None}, r"has no class_names; expected a list"),
    "one name": ({"class_names": ["a"]}, r"class_names are a; expected at least two"),
    "duplicates": ({"class_names": ["a", "b", "a"]}, r"class_names are a, b, a; expected at least two, all different"),
}


@pytest.mark.parametrize("case", WRONG)
def test_another_kind_of_batch_is_refused_in_one_line(case):
    changed, said = WRONG[case]
    with pytest.raises(Galaxy10Error, match=said) as refused:
        check_datamodule(theirs(**changed))
    assert str(refused.value).startswith("tests.outside.test_datamodule.TheirData")
    assert "\n" not in str(refused.value)


def test_inputs_may_be_made_in_a_hook():
    def later(self, batch, index):
        return {"inputs": batch["images"], "labels": batch["labels"]}

    data = theirs(on_after_batch_transfer=later, **with_batches(inputs=None, images=torch.zeros(4, 3, 16, 16)))
    check_datamodule(data)
    with pytest.raises(Galaxy10Error, match="its val images have label 7"):
        describe_datamodule(theirs(class_names=["a", "b", "c"], **_wrong_validation()))


def _wrong_validation():
    def setup(self, stage=None):
        type(self).__mro__[1].setup(self)
        self.sets["val"].labels[3] = 7

    return {"setup": setup}


def test_ours_is_described_in_the_same_words(galaxies):
    data = GalaxyData(path=galaxies)
    data.setup()
    facts = describe_datamodule(data)
    check_datamodule(data)
    assert facts.hash == data.split.hash
    assert facts.table is data.split.table
    assert facts.class_counts.tolist() == data.class_counts.tolist()
    assert (facts.num_classes, facts.image_size) == (3, 32)
    assert facts.counts() == data.split.counts()


@pytest.mark.long
@pytest.mark.slow
def test_the_command_trains_on_it_and_its_pages_say_what_is_missing(train, galaxy10, tmp_path):
    theirs = ("--config-dir", str(HERE / "conf"), "data=theirs", "augment=none", "logger=csv")
    done = train(*theirs, "trainer.max_epochs=1", "run.dir=r", PYTHONPATH=str(HERE))
    assert done.code == 0, done.err
    split, table = (pd.read_parquet(tmp_path / "r" / name) for name in ("split.parquet", "predictions/test.parquet"))
    assert table["row"].tolist() == split.loc[split["subset"] == "test", "row"].tolist() == list(range(63, 81))
    assert table["label"].tolist() == split["label"].tolist()[63:]
    about = json.loads((tmp_path / "r/provenance.json").read_text())
    assert about["data"]["path"] == "outsider.data.TheirData"
    assert about["split"]["hash"] == done.result["split_hash"]
    assert "no out-of-distribution score" in (tmp_path / "r/report.html").read_text()
    for command in (["report", "r", "-o", "page"], ["compare", "r", "-o", "side"], ["runs", "."]):
        assert galaxy10(*command).code == 0
    varied = train(*theirs[:3], "augment=dihedral", PYTHONPATH=str(HERE))
    assert varied.code == 2
    assert "type augment=none" in varied.message
