"""The environment of processes that are runs of their own: without what identifies another run."""

from collections.abc import Mapping

from galaxy10.config.paths import child_environment
from galaxy10.runs.directory import RUN_DIR_VARIABLE
from galaxy10.runs.launcher import without_ranks

# Each identifies one run of a tracking service; several trials that inherit it would log into that one run.
ONE_RUN = frozenset(
    (
        *("WANDB_RUN_ID", "WANDB_NAME", "WANDB_RESUME", "WANDB_SERVICE", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH"),
        *("WANDB_RUN_NAME", "WANDB_FORK_FROM", "WANDB_RESUME_FROM", "WANDB_LAUNCH"),
        *("MLFLOW_RUN_ID", "COMET_EXPERIMENT_KEY", "NEPTUNE_CUSTOM_RUN_ID", "NEPTUNE_RUN_ID", "CLEARML_TASK_ID"),
        RUN_DIR_VARIABLE,
    )
)


def trial_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one trial of a grid or study: without the ranks and ids of any other run."""
    kept = {name: value for name, value in environment.items() if name not in ONE_RUN}
    return child_environment(without_ranks(kept))
