"""Explain in one line why a command line cannot be composed: what was typed, and the nearest name that exists."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from galaxy10.config.command_line import COMPLETION, config_name, is_multirun, split_options
from galaxy10.config.fields import did_you_mean
from galaxy10.config.groups import config_folders, groups, settings
from galaxy10.config.overrides import typed_setting
from galaxy10.config.paths import PATH_SETTINGS, program
from galaxy10.errors import Galaxy10Error, first_line

_PLAIN_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(.*)", re.DOTALL)


@dataclass
class KnownSettings:
    """The groups, choices and settings that one command knows.

    Attributes:
        primary: name of the primary config: train or sweep.
        choices: config group → its choices.
        settings: setting in the files → the choices that have it.
        further: settings that are in no file; one that ends with a dot stands for all settings below it.
    """

    primary: str
    choices: dict[str, list[str]]
    settings: dict[str, set[str]]
    further: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, primary: str, arguments: Sequence[str], keys: Collection[str] = ()) -> "KnownSettings":
        """Read the files that a command line composes from, including the user's own."""
        folders = [folder for folder in config_folders(arguments) if folder.is_dir()]
        return cls(primary, groups(folders), settings(folders, primary), {key for key in keys if key[-1] != "*"})

    @property
    def all_settings(self) -> list[str]:
        """Return the names of all settings, sorted."""
        return sorted({*self.settings, *(key for key in self.further if key[-1] != ".")})

    def has(self, key: str) -> bool:
        """Return whether a setting is known."""
        below = ("hydra", *(name for name in self.further if name[-1] == "."))
        return key in self.settings or key in self.further or key.startswith(below)


def check_setting_names(arguments: Sequence[str], known: KnownSettings) -> None:
    """Check the names of settings before Hydra is imported.

    Only plain `key=value` settings are checked, and none if the command line uses files that are not read here.

    Raises:
        Galaxy10Error: a setting does not exist; names the first, and the nearest setting that exists.
    """
    options, typed = split_options(arguments)
    if config_name(arguments, known.primary) != known.primary or any("pkg://" in word for word in typed):
        return
    if COMPLETION.intersection(options):
        return
    for word in typed:
        plain = _PLAIN_SETTING.fullmatch(word)
        if plain is None or "'" in word or '"' in word:
            return  # only Hydra can parse this
        key = plain.group(1)
        above = [key[: at.start()] for at in re.finditer(r"\.", key)]
        branches = {name for name in above if any(k.startswith(f"{name}.") for k in known.settings)}
        in_a_value = any(known.has(name) and name not in branches for name in above)
        if key not in known.choices and not known.has(key) and not in_a_value:
            complaint = explain_setting(key, plain.group(2), known)
            if complaint:
                raise Galaxy10Error(complaint)


def explain(error: Exception, arguments: Sequence[str], known: KnownSettings) -> str:
    """Return a one-line message for a command line that Hydra could not compose."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf.errors import MissingMandatoryValue

    if isinstance(error, MissingMandatoryValue):
        return _explain_missing(error)
    _, typed = split_options(arguments)
    for argument in typed:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:
            if "=" not in argument:
                return f"{argument!r} is no setting; type group=choice or key=value without blanks, e.g. model=resnet50"
            return _explain_syntax(argument)
        if not override.is_sweep_override():
            value = override.get_value_element_as_str()
        elif not is_multirun(arguments):
            several = f"{argument} gives several values: add -m to run one experiment for each"
            is_path = override.key_or_group in PATH_SETTINGS
            return f"{several}; for one path, type {quoted_argument(argument)}" if is_path else several
        elif override.is_discrete_sweep():
            value = ",".join(map(str, override.sweep_string_iterator()))
        else:
            return f"{argument} is no list of values; type e.g. {override.key_or_group}=1,2"
        complaint = _explain_override(override, value, known, str(error))
        if complaint:
            return complaint
    if isinstance(error, HydraException) and "primary config" in str(error):
        return _explain_primary(arguments, known)
    return f"the configuration cannot be composed: {first_line(error)}"


def _explain_syntax(argument: str) -> str:
    value = argument.partition("=")[2]
    if value.startswith(("[", "{", "'", '"')):
        return f"{argument!r} cannot be parsed as group=choice or key=value; quote lists as 'key=[a,b]'"
    return f"{argument!r} has a character that Hydra reads as syntax; type {quoted_argument(argument)}"


def _explain_primary(arguments: Sequence[str], known: KnownSettings) -> str:
    name = config_name(arguments, known.primary)
    return f"there is no {name}.yaml in the configuration folders; leave out --config-name, or add --config-dir FOLDER"


def quoted_argument(argument: str) -> str:
    """Return `key=value` as typed in a shell so that Hydra reads the value as text."""
    key, _, value = argument.partition("=")
    return typed_setting(key, value)


def _explain_missing(error: Exception) -> str:
    key = getattr(error, "full_key", None) or first_line(error).rsplit(" ", 1)[-1]
    return f"{key} is not set; add {key}=…" + (" (any network of timm)" if key == "model.backbone" else "")


def _explain_override(override: Any, value: str, known: KnownSettings, complained: str) -> str | None:
    key = override.key_or_group
    if override.is_delete():
        if key in known.choices:
            return None
        if known.has(key):
            return f"~{key}: {key} has no value here, so there is nothing to remove; leave ~{key} out"
        return f"~{key}: there is no setting {key}{did_you_mean(key, [*known.all_settings, *known.choices])}"
    if override.is_add() and not override.is_force_add() and key in known.settings:
        return f"{key} exists already; type {key}={value}"
    if override.is_add():
        return None
    return explain_setting(key, value, known, complained)


def explain_setting(key: str, value: str, known: KnownSettings, complained: str = "") -> str | None:
    """Return a one-line message about a wrong choice or setting; None if this one is right.

    Args:
        complained: Hydra's error message, if there is one.
    """
    if key == "sweep" and known.primary != "sweep":
        return f"a hyperparameter study has its own command; type `{program('sweep')} sweep={value}`"
    if key in known.choices and not key.startswith("hydra/"):
        return _explain_choice(key, value, known.choices[key])
    group, _, name = key.partition(".")
    names = known.all_settings
    if known.has(key):
        having = sorted(known.settings.get(key, ()), key=lambda choice: not choice.startswith(f"{group}="))
        if not having or f"'{key}'" not in complained:
            return None
        message = f"{key} is a setting of {having[0]}, but not of the {group} chosen here"
        return message + (f"; if its class takes it, type +{key}={value}" if f"{group}._target_" in names else "")
    section = key.rpartition(".")[0]
    near = did_you_mean(name, [k.partition(".")[2] for k in names if k.startswith(f"{group}.")])
    if name and f"{section}._target_" in names and not near:
        return f"no {group} has a setting {key}; to pass it to the {group}'s class, type +{key}={value}"
    return (
        f"there is no setting {key}{did_you_mean(key, [*names, *known.choices])}; "
        f"`{program(known.primary)} --cfg job` lists them all"
    )


def _explain_choice(group: str, value: str, choices: list[str]) -> str | None:
    unknown = [name for name in value.strip("[]'").split(",") if name not in (*choices, "null", "", "[]")]
    if not unknown:
        return None
    if group == "data" and ("." in unknown[0] or "/" in unknown[0]):
        own = typed_setting("data.path", Path(unknown[0]))
        return f"there is no data={unknown[0]}; for your own file, type data=hdf5 {own}"
    hint = did_you_mean(unknown[0], choices)
    return f"there is no {group}={unknown[0]}{hint} (choices: {', '.join(choices)})"
