"""Hydra launchers: basic, this package's slurm, and those of plugins."""

from collections.abc import Mapping, Sequence

from galaxy10.config.command_line import launcher_of
from galaxy10.config.fields import did_you_mean
from galaxy10.errors import Galaxy10Error

BUILT_IN = ("basic", "slurm")
_PLUGINS = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}


def check_launcher(settings: Sequence[str], choices: Mapping[str, Sequence[str]]) -> tuple[str, list[str]]:
    """Return the launcher's name and, for a plugin's launcher, its settings.

    Args:
        choices: config group → its choices.

    Raises:
        Galaxy10Error: there is no such launcher, or its plugin is not installed.
    """
    name = launcher_of(settings)
    if name in BUILT_IN:
        return name, []
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # makes the plugins register their launchers
    known = {word.removesuffix(".yaml") for word in ConfigStore.instance().list("hydra/launcher")}
    known.update(choices.get("hydra/launcher", ()))
    if name not in known:
        if name in _PLUGINS:
            raise Galaxy10Error(f"hydra/launcher={name} comes with a plugin; pip install {_PLUGINS[name]}")
        raise Galaxy10Error(f"there is no hydra/launcher={name}{did_you_mean(name, sorted({*known, *_PLUGINS}))}")
    return name, [word for word in settings if word.lstrip("+~").startswith(("hydra/launcher", "hydra.launcher."))]
