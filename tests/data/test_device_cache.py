"""Training galaxies that wait on the device give the batches of the store. Without a GPU the device is the CPU."""

import lightning as L
import pytest
import torch

from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.device_cache import use_device_cache
from galaxy10.data.hdf5 import open_source
from galaxy10.data.split import make_split
from galaxy10.data.store import open_store
from galaxy10.errors import Galaxy10Error


class Witness(L.LightningModule):
    """Keeps every batch that training is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches = []

    def training_step(self, batch, batch_idx):
        self.batches.append(batch)
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batches_of(store, source, cache_on_device, **options):
    split = make_split(store.table, store.content, source.names)
    data = GalaxyData.from_store(
        store,
        split,
        source.names,
        batch_size=8,
        balance="dihedral",
        augmentation=Augmentation(dihedral="all", rotation_deg=20, noise=0.1),
        cache_on_device=cache_on_device,
        seed=3,
    )
    data.preprocessing = Preprocessing(24, (0.1, 0.2, 0.3), (0.2, 0.2, 0.2), (0.1, 0.1, 0.1))
    witness = Witness()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        **options,
    )  # fmt: skip
    trainer.fit(witness, data)
    return witness.batches, data


@pytest.mark.filterwarnings("ignore")
def test_batches_are_the_same_wherever_the_galaxies_wait(galaxies):
    source = open_source(galaxies)
    store = open_store(source, galaxies.parent)
    from_store, _ = batches_of(store, source, False)
    from_device, data = batches_of(store, source, True)
    assert data.loaders["train"].images is None  # nothing was gathered on the host
    assert data.loaders["train"].sampler.epoch == 1
    assert len(from_store) == len(from_device) > 4
    for one, other in zip(from_store, from_device, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("options", "alike"), [({"overfit_batches": 1}, True), ({"limit_train_batches": 1}, False)])
def test_one_batch_that_is_overfitted_is_the_same_in_every_epoch(options, alike, galaxies):
    source = open_source(galaxies)
    (first, second), _ = batches_of(open_store(source, galaxies.parent), source, False, **options)
    assert torch.equal(first["rows"], second["rows"]) == alike


def test_without_a_gpu_auto_is_the_host(galaxies, train):
    assert use_device_cache("auto", 1, torch.device("cpu")) is False
    refused = train("data=hdf5", f"data.path={galaxies}", "data.cache_on_device=true", "trainer.accelerator=cpu")
    assert refused.code == 2
    assert "data.cache_on_device=true" in refused.message
    assert "type data.cache_on_device=auto" in refused.message


def test_on_a_gpu_auto_looks_at_its_free_memory(monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 2**30, 16 * 2**30))
    assert use_device_cache("auto", 2 * 2**30, gpu) is True
    assert use_device_cache("auto", 2 * 2**30 + 1, gpu) is False
    assert use_device_cache(False, 1, gpu) is False
    assert use_device_cache(True, 7 * 2**30, gpu) is True
    with pytest.raises(Galaxy10Error, match=r"9\.00 GiB, cuda:0 has 8\.00 GiB free; type data\.cache_on_device=auto"):
        use_device_cache(True, 9 * 2**30, gpu)
