"""The door: what it imports, what it offers, and that nothing passes it unread (wrong commands: tests/bad_input.py)."""

import inspect

import yaml

from galaxy10.config.entry import CONF
from galaxy10.config.rules import leaves, rule_of
from tests.conftest import ROOT


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
    files = [path for path in CONF.rglob("*.yaml") if path.parent.name not in ("conf", "experiment", "debug", "sweep")]
    assert len(files) > 20
    for path in files:
        values = {k: v for k, v in yaml.safe_load(path.read_text()).items() if k != "defaults"}
        launcher = path.parent.name == "launcher"  # Hydra's own group: what it adds stands at the top
        for key, _ in leaves({"slurm": values["slurm"]} if launcher else {path.parent.name: values}):
            assert rule_of(key) is not None, f"{path.relative_to(ROOT)}: {key}"


def test_the_trainer_group_offers_every_argument_of_lightnings_trainer():
    import lightning as L

    arguments = set(inspect.signature(L.Trainer.__init__).parameters) - {"self", "logger", "callbacks"}
    offered = set(yaml.safe_load((CONF / "trainer" / "default.yaml").read_text()))
    assert arguments - {"default_root_dir"} == offered - {"compile"}
