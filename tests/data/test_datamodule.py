"""GalaxyData by itself: in anybody's Trainer, from keyword arguments alone."""

import subprocess
import sys

import lightning as L
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from galaxy10.data import Augmentation, GalaxyData, Preprocessing
from galaxy10.data.split import make_split
from galaxy10.errors import Galaxy10Error
from tests.conftest import ROOT, write_galaxies


class Plain(L.LightningModule):
    """Anybody's module: knows nothing of this package; keeps what it is given."""

    def __init__(self, **attributes):
        super().__init__()
        self.layer = torch.nn.LazyLinear(3)
        self.seen = {"train": [], "val": [], "predict": []}
        for name, value in attributes.items():
            setattr(self, name, value)

    def training_step(self, batch, batch_idx):
        self.seen["train"].append(batch)
        return torch.nn.functional.cross_entropy(self.layer(batch["inputs"].flatten(1)), batch["labels"])

    def validation_step(self, batch, batch_idx):
        self.seen["val"].append(batch)

    def predict_step(self, batch, batch_idx):
        self.seen["predict"].append(batch)
        return self.layer(batch["inputs"].flatten(1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def quiet_trainer(tmp_path, **options):
    return L.Trainer(
        **{"max_epochs": 2, **options}, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_it_works_in_a_trainer_that_knows_nothing_of_it(galaxies, tmp_path):
    data = GalaxyData(path=galaxies, image_size=24, batch_size=8, seed=1, augmentation={"dihedral": "all"})
    module = Plain()
    trainer = quiet_trainer(tmp_path, num_sanity_val_steps=0)
    trainer.fit(module, data)
    assert data.class_names == ("0", "1", "2")
    assert data.num_classes == 3
    assert data.class_counts.tolist() == np.bincount(data.labels("train")).tolist()
    assert len(data.store) == data.source.num_images == 36
    batch = module.seen["train"][0]
    assert batch.keys() == {"inputs", "labels", "rows"}
    assert batch["inputs"].shape == (8, 3, 24, 24)
    assert batch["inputs"].dtype == torch.float32
    # The training subset's mean and deviation make inputs of mean 0 and deviation 1.
    means, stds = data.training_statistics()
    assert data.preprocessing == Preprocessing(24, means, stds, stds)
    shown = torch.cat([batch["inputs"] for batch in module.seen["train"]])
    assert shown.mean(dim=(0, 2, 3)).abs().max() < 0.2
    trainer.predict(module, data)
    rows = torch.cat([batch["rows"] for batch in module.seen["predict"]])
    assert rows.tolist() == data.split.rows("test").tolist()


@pytest.mark.filterwarnings("ignore")
def test_a_module_decides_on_the_preprocessing_or_is_given_ours(galaxies, tmp_path):
    data = GalaxyData(path=galaxies, batch_size=8)
    asks = Plain(preprocessing=None)
    quiet_trainer(tmp_path).fit(asks, data)
    assert asks.preprocessing is data.preprocessing
    assert data.preprocessing.image_size == 32
    theirs = Preprocessing(16, [0.5] * 3, [0.5] * 3)
    decides = Plain(preprocessing=theirs)
    quiet_trainer(tmp_path).fit(decides, data)
    assert data.preprocessing is theirs
    assert decides.seen["train"][0]["inputs"].shape[-1] == decides.seen["val"][0]["inputs"].shape[-1] == 16
    asks_again = Plain(preprocessing=None)  # another module's choice is not this one's
    quiet_trainer(tmp_path).fit(asks_again, data)
    assert asks_again.preprocessing.image_size == 32


def test_what_it_makes_is_what_its_parts_make(galaxies):
    data = GalaxyData(path=galaxies, protocol="baseline_90_10", split_seed=4, class_names=["x", "y", "z"])
    data.prepare_data()
    data.setup()
    data.setup("test")  # as often as Lightning likes
    expected = make_split(
        data.store.table, data.store.content, data.class_names, protocol="baseline_90_10", split_seed=4, size_px=32
    )
    assert data.split.hash == expected.hash
    assert data.class_names == ("x", "y", "z")


def test_a_survey_is_simulated_and_hydra_builds_it_from_the_configuration(tmp_path):
    settings = OmegaConf.merge(
        OmegaConf.load(ROOT / "conf/data/galaxy10.yaml"),
        OmegaConf.load(ROOT / "conf/data/simulated.yaml"),
        {"dir": str(tmp_path), "num_images": 200, "image_px": 16},
    )
    del settings["defaults"]
    data = instantiate(settings, augmentation={"zoom": [0.9, 1.1]}, seed=2)
    assert isinstance(data, GalaxyData)
    data.setup()
    assert len(data.store) == 200
    assert data.augmentation == Augmentation(zoom=(0.9, 1.1))
    assert GalaxyData("simulated", num_images=60).settings["variant"] is None
    assert GalaxyData().settings["variant"] == "full"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"protocol": "defualt"}, r"data\.protocol=defualt is not allowed: did you mean default"),
        ({"name": "hdf5"}, r"data=hdf5 needs a file"),
        ({"path": "x.h5", "num_folds": 5}, r"data\.num_folds and data\.fold go together"),
        ({"path": "x.h5", "batch_size": 0}, r"data\.batch_size=0 is not allowed; expected a whole number from 2"),
        ({"name": "simulated", "reader": len}, r"data\.reader reads data\.path"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_once(settings, said):
    with pytest.raises(Galaxy10Error, match=said):
        GalaxyData(**settings)


def test_before_setup_it_says_what_to_call():
    with pytest.raises(Galaxy10Error, match=r"no split yet; call its prepare_data\(\) and setup\(\)"):
        GalaxyData(path="x.h5").labels("train")


def test_what_every_command_checks_imports_no_torch():
    code = (
        "import sys, galaxy10.data, galaxy10.data.settings, galaxy10.data.source\n"
        "heavy = {'torch', 'lightning', 'hydra'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'GalaxyData' in dir(galaxy10.data)\n"
        "try: galaxy10.data.Nothing\n"
        "except AttributeError: pass\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_setting_of_the_configuration_is_an_argument_with_the_same_default():
    import inspect

    defaults = OmegaConf.merge(
        OmegaConf.load(ROOT / "conf/data/galaxy10.yaml"),
        OmegaConf.load(ROOT / "conf/data/simulated.yaml"),
        OmegaConf.load(ROOT / "conf/data/hdf5.yaml"),
    )
    parameters = inspect.signature(GalaxyData).parameters
    for key, value in OmegaConf.to_container(defaults, resolve=False).items():
        if not key.startswith("_") and key not in ("defaults", "name", "dir"):
            assert parameters[key].default == value, key


def test_a_group_of_the_files_own_stays_together(tmp_path):
    import h5py

    path = write_galaxies(tmp_path / "g.h5", per_class=40)
    groups = np.arange(120) // 4 + 7_000_000_000_000_000_000
    with h5py.File(path, "r+") as file:
        file["group"] = groups
    data = GalaxyData(path=path)
    data.setup()
    subset = data.split.table["subset"].to_numpy()
    assert all(len(set(subset[groups == group])) == 1 for group in set(groups))
    assert len(set(subset)) == 3
    assert data.split.notes == (
        "the file has no sky positions (ra, dec): galaxies are grouped by the file's `group` and identical pixels only",
    )
