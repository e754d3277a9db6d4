"""Preflight: what it imports and suggests, and that it checks every setting (wrong commands: tests/cli)."""

import inspect
import subprocess
import sys

import pytest
import yaml
from hydra import compose, initialize_config_dir

from galaxy10.config.building import HYDRA_KEYS, accepts, iter_targets, resolve
from galaxy10.config.compose import to_container
from galaxy10.config.fields import find_field, iter_settings
from galaxy10.config.paths import CONF
from galaxy10.errors import Galaxy10Error
from galaxy10.training import preflight
from galaxy10.training.settings import FIELDS, complete_and_check
from tests.conftest import ROOT


def test_preflight_imports_neither_torch_nor_lightning_nor_timm_and_help_names_choices_and_examples(train, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "heavy = {'torch', 'lightning', 'timm', 'torchvision'}\n"
        "atexit.register(lambda: print('heavy:', sorted(heavy & set(sys.modules))))\n"
    )
    for arguments in (["--help"], ["--cfg", "job"], ["data=hdf5", "data.path=none.h5"], ["model=x"]):
        done = train(*arguments, PYTHONPATH=str(tmp_path))
        assert done.out.strip().splitlines()[-1] == "heavy: []"
        if arguments == ["--help"]:
            assert done.code == 0
            for text in ("efficientnet_lite0", "baseline_transfer", "python train.py data=simulated", "--cfg job"):
                assert text in done.out


def test_every_setting_of_every_choice_has_a_rule_or_is_an_argument_of_its_class():
    files = [path for path in CONF.rglob("*.yaml") if path.parent.name not in ("conf", "experiment", "debug", "sweep")]
    assert len(files) > 20
    for path in files:
        values = {k: v for k, v in yaml.safe_load(path.read_text()).items() if k != "defaults"}
        launcher = path.parent.name == "launcher"  # Hydra's own group: what it adds stands at the top
        section = {"slurm": values["slurm"]} if launcher else {path.parent.name: values}
        built = {
            f"{where}.{name}"
            for where, node in iter_targets(section)
            for name in node
            if name in {*HYDRA_KEYS, *preflight._METRIC_OPTIONS} or accepts(resolve(node["_target_"], where), name)
        }
        for key, _ in iter_settings(section):
            known = find_field(key, FIELDS) is not None or any(f"{key}.".startswith(f"{name}.") for name in built)
            assert known, f"{path.relative_to(ROOT)}: {key}"


def test_the_trainer_group_offers_every_argument_of_lightnings_trainer():
    import lightning as L

    arguments = set(inspect.signature(L.Trainer.__init__).parameters) - {"self", "logger", "callbacks"}
    offered = set(yaml.safe_load((CONF / "trainer" / "default.yaml").read_text()))
    assert arguments - {"default_root_dir"} == offered - {"compile", "scheduler_interval"}


@pytest.fixture
def login_node(monkeypatch):
    """A machine without GPU and compiler."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(preflight, "has_accelerator", lambda: False)


@pytest.mark.parametrize("word", [
    "data.cache_on_device=true", "trainer.compile=true", "trainer.accelerator=gpu", "trainer.devices=2",
])  # fmt: skip
def test_what_runs_elsewhere_is_not_checked_against_this_machine(word, login_node, galaxies):
    words = ["data=hdf5", f"data.path={galaxies}", "logger=csv", "model=simple_cnn", word]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = complete_and_check(to_container(compose("train", overrides=words)))
    with pytest.raises(Galaxy10Error, match=word.partition("=")[0]):
        preflight.check_experiment(config)
    preflight.check_experiment(config, here=False)


def test_what_contradicts_itself_is_refused_wherever_it_runs(login_node, galaxies):
    words = ["data=hdf5", f"data.path={galaxies}", "logger=csv", "data.cache_on_device=true", "trainer.accelerator=cpu"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = complete_and_check(to_container(compose("train", overrides=words)))
    with pytest.raises(Galaxy10Error, match=r"type data\.cache_on_device=auto"):
        preflight.check_experiment(config, here=False)


@pytest.mark.long
def test_a_network_of_ours_trains_without_timm():
    program = "import sys, galaxy10.training.experiment, galaxy10.models.simple_cnn, galaxy10.models.pca; "
    program += (
        "from galaxy10.models.factory import fixed_input_px; fixed_input_px(None); sys.exit('timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("devices", ["auto", -1, 3])
def test_as_many_gpus_as_there_are_have_to_divide_the_batch(devices, monkeypatch):
    monkeypatch.setattr(preflight, "visible_gpus", lambda: 3)
    trainer = {"devices": devices, "num_nodes": 1, "accelerator": "auto"}
    config = {"trainer": trainer, "data": {"batch_size": 32}}
    with pytest.raises(Galaxy10Error, match=r"data\.batch_size=32 is not divisible by 3 devices.*30 or 33"):
        preflight._check_batches(config, here=True)
    preflight._check_batches({**config, "data": {"batch_size": 30}}, here=True)
    if devices != 3:  # a login node's GPUs are not the job's
        preflight._check_batches(config, here=False)
