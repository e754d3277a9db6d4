"""Each private name of another library that galaxy10/compat.py uses: a test that fails when the library moves it."""

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.plugins.launcher import Launcher
from hydra.utils import get_class

from galaxy10 import compat

CONF = Path(__file__).parents[1] / "conf"


def test_importing_it_imports_no_library():
    code = "import sys, galaxy10.compat; print(sorted({'torch', 'lightning', 'optuna', 'wandb'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_lightning_asks_the_signal_connector_that_is_silenced():
    import lightning as L

    class Look(L.Callback):
        def on_train_start(self, trainer, pl_module):
            self.handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)

    def during_fit(silenced: bool):
        look = Look()
        trainer = L.Trainer(
            accelerator="cpu", max_steps=1, callbacks=[look], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        if silenced:
            compat.leave_signals_alone(trainer)
        trainer.fit(tiny_module())
        return look.handlers

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    assert during_fit(silenced=False) != before
    assert during_fit(silenced=True) == before


def test_lightning_keeps_averaged_weights_where_they_are_read_and_forgotten():
    from lightning.pytorch.callbacks import WeightAveraging

    callback, module = WeightAveraging(), tiny_module()
    callback.setup(None, module, "fit")
    assert type(compat.averaged_model(callback).module) is type(module)
    compat.forget_average(callback)
    checkpoint = {"state_dict": {}}
    callback.on_save_checkpoint(None, module, checkpoint)
    assert checkpoint == {"state_dict": {}}


def tiny_module():
    import torch
    from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset

    class Module(BoringModel):
        def train_dataloader(self):
            return torch.utils.data.DataLoader(RandomDataset(32, 4))

        val_dataloader = None

    return Module()


def test_lightnings_launcher_hands_its_processes_to_the_watcher(monkeypatch):
    from lightning.pytorch.strategies.launchers import subprocess_script

    monkeypatch.setattr(subprocess_script, "_launch_process_observer", subprocess_script._launch_process_observer)
    seen = []
    compat.watch_started_processes(seen.append)
    environment = SimpleNamespace(creates_processes_externally=False, validate_settings=lambda **numbers: None)
    launcher = subprocess_script._SubprocessScriptLauncher(environment, num_processes=1, num_nodes=1)
    monkeypatch.setattr(launcher, "_call_children_scripts", lambda: None)
    launcher.procs = ["a child"]
    launcher.launch(lambda: None, trainer=None)
    assert seen == [["a child"]]


def test_slurm_environment_does_without_lightnings_comparisons(monkeypatch):
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    monkeypatch.setenv("SLURM_NNODES", "3")
    monkeypatch.setenv("SLURM_JOB_NAME", "galaxy10")
    with pytest.raises(RuntimeError, match="ntasks"):
        SLURMEnvironment()
    environment = compat.slurm_task_environment()
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    environment.validate_settings(num_devices=1, num_nodes=1)
    assert {"_validate_srun_used", "_validate_srun_variables"} <= set(vars(SLURMEnvironment))


def test_a_trial_that_another_process_began_goes_on():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    begun = study.ask()
    value = begun.suggest_float("rate", 0, 1)
    trial = compat.continue_trial(study, study.get_trials()[0])
    assert trial.number == begun.number
    assert trial.suggest_float("rate", 0, 1) == value
    study.tell(trial, 1.0)
    assert study.best_trial.number == begun.number


def test_key_that_wandb_login_has_stored(tmp_path, monkeypatch):
    key = "0123456789" * 4
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert compat.wandb_netrc_key("https://wandb.example:8080") is None
    (tmp_path / "netrc").write_text(f"machine wandb.example:8080\n  login user\n  password {key}\n")
    assert compat.wandb_netrc_key("https://wandb.example:8080") == key


@pytest.mark.parametrize(
    ("architecture", "converts"), [("vit_tiny_patch16_224", True), ("vgg11", True), ("resnet18", False)]
)
def test_timms_conversion_of_published_weights(architecture, converts):
    import timm
    import torch

    with torch.device("meta"):
        network = timm.create_model(architecture, num_classes=2)
    found = compat.timm_state_dict_filter(network)
    assert callable(found) if converts else found is None


def test_launcher_for_slurm_names_a_launcher_of_hydras():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["hydra/launcher=slurm"], return_hydra_config=True)
    assert issubclass(get_class(config.hydra.launcher._target_), Launcher)


@pytest.mark.parametrize("options", [[], ["-m"]])
def test_hydra_composes_each_configuration_once(options, monkeypatch, tmp_path):
    import hydra
    from hydra._internal.hydra import Hydra

    monkeypatch.chdir(tmp_path)
    composed, seen = [], []
    compose_config = Hydra.compose_config
    monkeypatch.setattr(Hydra, "compose_config", lambda *a, **k: composed.append(1) or compose_config(*a, **k))
    monkeypatch.setattr(sys, "argv", ["train.py", *options, "seed=3", "hydra.sweep.dir=out"])
    with compat.hydra_mode_from_options():
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(lambda c: seen.append(c.seed))()
    assert (len(composed), seen) == (1, [3])


def test_no_file_of_the_package_sets_hydras_mode():
    files = list(CONF.rglob("*.yaml"))
    assert files
    for file in files:
        content = yaml.safe_load(file.read_text()) or {}
        settings = content if "hydra" in file.relative_to(CONF).parts else content.get("hydra", {})
        assert not {"mode", "searchpath"} & set(settings), file


def test_calls_of_the_dummy_experiment_do_nothing():
    assert compat.dummy_experiment().add_scalar("train/loss", 1.0) is None
