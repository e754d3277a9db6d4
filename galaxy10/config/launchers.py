"""Launchers: Hydra's basic one and ours for SLURM, and those that plugins bring."""

from collections.abc import Mapping, Sequence

from galaxy10.config.command_line import launcher_of
from galaxy10.config.fields import did_you_mean
from galaxy10.errors import Galaxy10Error

OURS = ("basic", "slurm")
_PLUGINS = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}


def check_launcher(settings: Sequence[str], choices: Mapping[str, Sequence[str]]) -> tuple[str, list[str]]:
    """Return the launcher that is typed, and its settings if a plugin brings it.

    Args:
        choices: of each group, as files have them.

    Raises:
        Galaxy10Error: there is none of this name, or its plugin is not installed.
    """
    name = launcher_of(settings)
    if name in OURS:
        return name, []
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # has the plugins register what they bring
    known = {word.removesuffix(".yaml") for word in ConfigStore.instance().list("hydra/launcher")}
    known.update(choices.get("hydra/launcher", ()))
    if name not in known:
        if name in _PLUGINS:
            raise Galaxy10Error(f"hydra/launcher={name} comes with a plugin; pip install {_PLUGINS[name]}")
        raise Galaxy10Error(f"there is no hydra/launcher={name}{did_you_mean(name, sorted({*known, *_PLUGINS}))}")
    return name, [word for word in settings if word.lstrip("+~").startswith(("hydra/launcher", "hydra.launcher."))]
