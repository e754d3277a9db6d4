"""What a wrong command answers: one line, exit code 2, within two seconds, before torch or data are touched."""

import inspect
import time

import pytest
import yaml

from galaxy10.config.entry import CONF
from galaxy10.config.rules import leaves, rule_of
from tests.conftest import ROOT

WRONG = {
    "a group misspelt": (["modle=resnet50"], "there is no setting modle: did you mean model?"),
    "a choice misspelt": (["model=resnet5"], "there is no model=resnet5: did you mean resnet50? (choices:"),
    "a key misspelt": (["model.dropuot=0.5"], "there is no setting model.dropuot: did you mean model.dropout?"),
    "a trainer key misspelt": (["trainer.max_epoch=4"], "did you mean trainer.max_epochs?"),
    "a new key": (["+foo=1"], "there is no setting foo"),
    "a word for a number": (["data.batch_size=many"], "data.batch_size=many is not allowed; expected a whole number"),
    "a number out of range": (["model.dropout=1.5"], "model.dropout=1.5 is not allowed; expected a number from 0"),
    "a value misspelt": (["data.protocol=defualt"], "did you mean default?; expected default, study_80_20 or"),
    "several values without -m": (["model=simple_cnn,resnet50"], "add -m to run one experiment for each"),
    "bad syntax": (["data.class_names=[a"], "cannot be read as group=choice or key=value"),
    "no file": (["data=hdf5"], "data=hdf5 needs a file: add data.path=FILE.h5"),
    "a file for the simulation": (["data=simulated", "data.path=x.h5"], "type data=hdf5 data.path=FILE.h5"),
    "no variant": (["data.variant=null"], "type data.variant=full or data.variant=no_duplicates"),
    "a variant of one's own file": (
        ["data=hdf5", "data.path=x.h5", "data.variant=full"],
        "leave it out with data=hdf5",
    ),
    "a precision that is not there": (["trainer.precision=auto"], "trainer.precision=auto is not allowed"),
    "no backbone": (["model=timm"], "model.backbone is not set"),
    "a file that is not there": (["data=hdf5", "data.path=none.h5"], "data.path=none.h5 does not exist"),
    "a fold without folds": (["data=simulated", "data.fold=1"], "data.num_folds and data.fold go together"),
    "a fold beyond": (["data=simulated", "data.num_folds=5", "data.fold=5"], "folds count from 0 to 4"),
    "an unknown experiment": (["experiment=nonsense"], "there is no experiment=nonsense"),
    "an unknown metric": (
        ["data=simulated", "callbacks=early_stopping", "callbacks.early_stopping.monitor=val/makro_f1"],
        "there is no metric val/makro_f1: did you mean val/macro_f1?",
    ),
    "an unknown network of timm": (
        ["data=simulated", "model=timm", "model.backbone=resnet5o"],
        "timm has no network resnet5o: did you mean resnet5",
    ),
    "weights for a network that has none": (["data=simulated", "model.pretrained=true"], "no pretrained weights"),
    "more processes than galaxies divide among": (
        ["data=simulated", "trainer.accelerator=cpu", "trainer.devices=3"],
        "data.batch_size=32 does not divide among 3 devices",
    ),
    "GPUs on a machine without": (
        ["data=simulated", "model=inceptionv3", "model.pretrained=false", "trainer.devices=4"],
        "or trainer.accelerator=cpu trainer.devices=4 for 4 processes on the CPU",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_commands_are_refused_in_one_line(what, train, tmp_path):
    arguments, message = WRONG[what]
    start = time.perf_counter()
    done = train(*arguments, CUDA_VISIBLE_DEVICES="")
    assert time.perf_counter() - start < 10  # two seconds are promised, on an idle machine
    assert done.code == 2
    assert message in done.message
    assert done.message.startswith("error: ")
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_door_imports_neither_torch_nor_lightning_nor_timm(train, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "heavy = {'torch', 'lightning', 'timm', 'torchvision'}\n"
        "atexit.register(lambda: print('heavy:', sorted(heavy & set(sys.modules))))\n"
    )
    for arguments in (["--help"], ["--cfg", "job"], ["data=hdf5", "data.path=none.h5"], ["model=x"]):
        done = train(*arguments, PYTHONPATH=str(tmp_path))
        assert done.out.strip().splitlines()[-1] == "heavy: []"


def test_help_names_groups_choices_and_examples(train):
    done = train("--help")
    assert done.code == 0
    for text in ("efficientnet_lite0", "study_transfer", "python train.py data=simulated", "--cfg job"):
        assert text in done.out


def test_every_setting_of_every_choice_has_a_rule():
    files = [path for path in CONF.rglob("*.yaml") if path.parent.name not in ("conf", "experiment", "debug", "hydra")]
    assert len(files) > 20
    for path in files:
        values = {k: v for k, v in yaml.safe_load(path.read_text()).items() if k != "defaults"}
        for key, _ in leaves({path.parent.name: values}):
            assert rule_of(key) is not None, f"{path.relative_to(ROOT)}: {key}"


def test_the_trainer_group_offers_every_argument_of_lightnings_trainer():
    import lightning as L

    arguments = set(inspect.signature(L.Trainer.__init__).parameters) - {"self", "logger", "callbacks"}
    offered = set(yaml.safe_load((CONF / "trainer" / "default.yaml").read_text()))
    assert arguments - {"default_root_dir"} == offered
