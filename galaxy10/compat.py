"""Other libraries' private names, all in one place: why each is used, and of which version it was read.

`tests/test_compat.py` fails when one of them moves; `pyproject.toml` bounds the versions of these libraries. Every
library is imported where its name is used, so that importing this file costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    import lightning as L
    import optuna
    from lightning.pytorch.plugins.environments import SLURMEnvironment
    from torch import nn


def leave_signals_alone(trainer: L.Trainer) -> None:
    """Keep Lightning from handling SIGTERM and SIGUSR1 during this trainer's fit, which would end with exit code 0.

    Lightning (2.6.6) has no setting for it: `SLURMEnvironment(auto_requeue=False)` leaves out SIGUSR1 alone.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def watch_started_processes(watch: Callable[[list[subprocess.Popen[bytes]]], None]) -> None:
    """Have Lightning hand the processes it starts for DDP to `watch`, and not to its own watcher.

    Its own (2.6.6) kills this process without a word when a child dies; the launcher that calls it takes no other.
    """
    from lightning.pytorch.strategies.launchers import subprocess_script

    subprocess_script._launch_process_observer = watch  # type: ignore[assignment]


def slurm_task_environment() -> SLURMEnvironment:
    """Return Lightning's environment of processes that srun has started, without its comparison of their number.

    Lightning (2.6.6) compares in its constructor, knows `--ntasks-per-node` alone and has no setting for it. The
    number of tasks has been compared with the configuration before training.
    """
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    class SlurmTaskEnvironment(SLURMEnvironment):
        @staticmethod
        def _validate_srun_used() -> None:
            """Nothing: compared before training."""

        @staticmethod
        def _validate_srun_variables() -> None:
            """Nothing: compared before training."""

        def validate_settings(self, num_devices: int, num_nodes: int) -> None:
            """Nothing: compared before training."""

    return SlurmTaskEnvironment(auto_requeue=False)


def continue_trial(study: optuna.Study, frozen: optuna.trial.FrozenTrial) -> optuna.Trial:
    """Return a running trial of a study, to go on with what another process began.

    Optuna's (5.0.0) public calls only begin new trials; a Trial is made of the storage's id, which a FrozenTrial keeps
    to itself.
    """
    from optuna import Trial

    return Trial(study, frozen._trial_id)


def limit_hub_client(chunk_bytes: int) -> None:
    """Let huggingface_hub download over plain HTTPS, in pieces of this many bytes.

    Its constants (2.4.0) are read from the environment when the package is first imported, which may be long ago; the
    size of a piece has no variable at all.
    """
    from huggingface_hub import constants

    client: Any = constants
    client.HF_HUB_DISABLE_XET = True
    client.DOWNLOAD_CHUNK_SIZE = chunk_bytes


def wandb_netrc_key(address: str) -> str | None:
    """Return the key that `wandb login` has stored for a server, or None; raises if it is malformed.

    wandb's (0.31.0) settings know the environment's key alone, and `wandb.login` may ask the user or the server.
    """
    from wandb.sdk.lib.wbauth import read_netrc_auth

    return read_netrc_auth(host=address)


def timm_state_dict_filter(network: nn.Module) -> Callable[..., Any] | None:
    """Return timm's conversion of published weights to the names of this network's module; None where it has none.

    timm (1.0.31) applies it only within `create_model(pretrained=True)`, which would download the weights.
    """
    import sys

    module = sys.modules[type(network).__module__]
    return getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
