"""All uses of other libraries' private names, each with its reason and the version it was read from.

`tests/test_compat.py` fails when such a name moves; `pyproject.toml` bounds the versions of these libraries. Each
library is imported inside the function that needs it, so that importing this file costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    import lightning as L
    import optuna
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.pytorch.callbacks import WeightAveraging
    from torch import nn
    from torch.optim.swa_utils import AveragedModel


def leave_signals_alone(trainer: L.Trainer) -> None:
    """Keep Lightning from handling SIGTERM and SIGUSR1 during this trainer's fit: its handler ends with exit code 0.

    Lightning (2.6.6) has no setting for this: `SLURMEnvironment(auto_requeue=False)` only leaves out SIGUSR1.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def watch_started_processes(watch: Callable[[list[subprocess.Popen[bytes]]], None]) -> None:
    """Make Lightning pass the processes it starts for DDP to `watch` instead of its own watcher.

    Lightning's watcher (2.6.6) kills this process without a message when a child dies, and cannot be configured.
    """
    from lightning.pytorch.strategies.launchers import subprocess_script

    launcher: Any = subprocess_script
    launcher._launch_process_observer = watch


def slurm_task_environment() -> SLURMEnvironment:
    """Return Lightning's SLURM environment without its check of the number of tasks.

    Lightning (2.6.6) checks `--ntasks-per-node` in the constructor, ignores other ways to set the number of tasks, and
    has no setting for this. `galaxy10.runs.slurm.check_job` compares the tasks with the configuration before training.
    """
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    class SlurmTaskEnvironment(SLURMEnvironment):
        @staticmethod
        def _validate_srun_used() -> None:
            """Do nothing: check_job has compared the tasks."""

        @staticmethod
        def _validate_srun_variables() -> None:
            """Do nothing: check_job has compared the tasks."""

        def validate_settings(self, num_devices: int, num_nodes: int) -> None:
            """Do nothing: check_job has compared the tasks."""

    return SlurmTaskEnvironment(auto_requeue=False)


def averaged_model(callback: WeightAveraging) -> AveragedModel:
    """Return the model in which WeightAveraging keeps its average, from setup of fit on.

    Lightning (2.6.6) keeps it in a private attribute.
    """
    model = callback._average_model
    assert model is not None
    return model


def forget_average(callback: WeightAveraging) -> None:
    """Make WeightAveraging save and validate a module as it is, as before fit.

    Lightning (2.6.6) keeps the average after fit, and swaps it over weights that are loaded later.
    """
    callback._average_model = None


@contextmanager
def hydra_mode_from_options() -> Iterator[None]:
    """Make Hydra decide by -m alone whether a command is a multirun, without composing the configuration for it.

    Hydra (1.3.6) composes every configuration twice, first only to read `hydra.mode`, and has no setting for this.
    """
    from hydra._internal.hydra import Hydra

    kind: Any = Hydra
    before = kind.get_mode
    kind.get_mode = lambda *arguments, **named: None
    try:
        yield
    finally:
        kind.get_mode = before


def dummy_experiment() -> Any:
    """Return an object on which every attribute and call does nothing, for a logger that has no experiment.

    Lightning's own loggers (2.6.6) use this class on ranks other than 0; the name is private.
    """
    from lightning.fabric.loggers.logger import _DummyExperiment

    return _DummyExperiment()


def continue_trial(study: optuna.Study, frozen: optuna.trial.FrozenTrial) -> optuna.Trial:
    """Return a running trial of a study, to continue a trial that another process started.

    Optuna's public API (5.0.0) only starts new trials; a Trial needs the storage's id, which is private in FrozenTrial.
    """
    from optuna import Trial

    return Trial(study, frozen._trial_id)


def wandb_netrc_key(address: str) -> str | None:
    """Return the API key that `wandb login` stored for a server; None without one.

    wandb's settings (0.31.0) only know the key from the environment, and `wandb.login` may prompt or use the network.

    Raises:
        Exception: the stored key is malformed.
    """
    from wandb.sdk.lib.wbauth import read_netrc_auth

    return read_netrc_auth(host=address)


def timm_state_dict_filter(network: nn.Module) -> Callable[..., Any] | None:
    """Return timm's function that converts published weights to this network's parameter names; None without one.

    timm (1.0.31) only applies it within `create_model(pretrained=True)`, which would download the weights.
    """
    import sys

    module = sys.modules[type(network).__module__]
    return getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
