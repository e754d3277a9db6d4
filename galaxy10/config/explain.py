"""One line for a command line that cannot be composed: what was typed, and the nearest thing that exists."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from galaxy10.config.command_line import COMPLETION, config_name, is_multirun, split_options
from galaxy10.config.fields import did_you_mean
from galaxy10.config.groups import config_folders, groups, settings
from galaxy10.config.paths import program
from galaxy10.errors import Galaxy10Error, first_line

_PLAIN_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(.*)", re.DOTALL)


@dataclass
class KnownSettings:
    """The words of one command.

    primary: train or sweep; choices: of each group; having: of each setting, the choices that have it;
    keys: further settings (one that ends with a dot stands for all below it).
    """

    primary: str
    choices: dict[str, list[str]]
    having: dict[str, set[str]]
    keys: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, primary: str, arguments: Sequence[str], keys: Collection[str] = ()) -> "KnownSettings":
        """Read it from the files that a command line composes from, the user's own included."""
        folders = [folder for folder in config_folders(arguments) if folder.is_dir()]
        return cls(primary, groups(folders), settings(folders, primary), {key for key in keys if key[-1] != "*"})

    @property
    def known(self) -> list[str]:
        """All settings."""
        return sorted({*self.having, *(key for key in self.keys if key[-1] != ".")})

    def has(self, key: str) -> bool:
        """Whether some choice or table has a setting."""
        below = ("hydra", *(name for name in self.keys if name[-1] == "."))
        return key in self.having or key in self.keys or key.startswith(below)


def check_setting_names(arguments: Sequence[str], words: KnownSettings) -> None:
    """Refuse a setting that no file has, before Hydra is imported.

    Only what is certain: a plain `key=value`, and nothing typed that brings files this has not read.

    Raises:
        Galaxy10Error: the first such setting, with the nearest that exists.
    """
    options, typed = split_options(arguments)
    if config_name(arguments, words.primary) != words.primary or any("pkg://" in word for word in typed):
        return
    if COMPLETION.intersection(options):
        return
    for word in typed:
        plain = _PLAIN_SETTING.fullmatch(word)
        if plain is None or "'" in word or '"' in word:
            return  # Hydra's grammar is Hydra's to read
        key = plain.group(1)
        above = [key[: at.start()] for at in re.finditer(r"\.", key)]
        in_a_value = any(words.has(name) and not any(k.startswith(f"{name}.") for k in words.having) for name in above)
        if key not in words.choices and not words.has(key) and not in_a_value:
            complaint = explain_setting(key, plain.group(2), words)
            if complaint:
                raise Galaxy10Error(complaint)


def explain(error: Exception, arguments: Sequence[str], words: KnownSettings) -> str:
    """Return one line for a command line that Hydra could not compose."""
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
            return f"{argument!r} cannot be read as group=choice or key=value; quote lists as 'key=[a,b]'"
        if not override.is_sweep_override():
            value = override.get_value_element_as_str()
        elif not is_multirun(arguments):
            return f"{argument} gives several values: add -m to run one experiment for each"
        elif override.is_discrete_sweep():
            value = ",".join(map(str, override.sweep_string_iterator()))
        else:
            return f"{argument} gives no list of values; type e.g. {override.key_or_group}=1,2"
        complaint = _explain_override(override, value, words, str(error))
        if complaint:
            return complaint
    if isinstance(error, HydraException) and "primary config" in str(error):
        return _explain_primary(arguments, words)
    return f"the configuration cannot be composed: {first_line(error)}"


def _explain_primary(arguments: Sequence[str], words: KnownSettings) -> str:
    name = config_name(arguments, words.primary)
    return f"there is no {name}.yaml in the folders of the configuration; leave out --config-name, or give --config-dir"


def _explain_missing(error: Exception) -> str:
    key = getattr(error, "full_key", None) or first_line(error).rsplit(" ", 1)[-1]
    return f"{key} is not set; add {key}=…" + (" (any network of timm)" if key == "model.backbone" else "")


def _explain_override(override: Any, value: str, words: KnownSettings, complained: str) -> str | None:
    key = override.key_or_group
    if override.is_delete():
        if key in words.choices:
            return None
        if words.has(key):
            return f"~{key}: {key} has no value here, so there is nothing to remove; leave ~{key} out"
        return f"~{key}: there is no setting {key}{did_you_mean(key, [*words.known, *words.choices])}"
    if override.is_add() and not override.is_force_add() and key in words.having:
        return f"{key} is a setting already; type {key}={value}"
    if override.is_add():
        return None
    return explain_setting(key, value, words, complained)


def explain_setting(key: str, value: str, words: KnownSettings, complained: str = "") -> str | None:
    """Return what is wrong with a group's choice or a setting, as one line; None where it is not that.

    complained: what Hydra said, if it did.
    """
    if key == "sweep" and words.primary != "sweep":
        return f"a hyperparameter study is started by its own program; type `{program('sweep')} sweep={value}`"
    if key in words.choices and not key.startswith("hydra/"):
        return _explain_choice(key, value, words.choices[key])
    group, _, name = key.partition(".")
    known = words.known
    if words.has(key):
        having = sorted(words.having.get(key, ()), key=lambda choice: not choice.startswith(f"{group}="))
        if not having or f"'{key}'" not in complained:
            return None
        told = f"{key} is a setting of {having[0]}, but not of the {group} that is composed here"
        return told + (f"; if its class takes it type +{key}={value}" if f"{group}._target_" in known else "")
    section = key.rpartition(".")[0]
    near = did_you_mean(name, [k.partition(".")[2] for k in known if k.startswith(f"{group}.")])
    if name and f"{section}._target_" in known and not near:
        return f"no {group} here has a setting {key}; to hand it to the {group}'s class type +{key}={value}"
    return (
        f"there is no setting {key}{did_you_mean(key, [*known, *words.choices])}; "
        f"`{program(words.primary)} --cfg job` lists them all"
    )


def _explain_choice(group: str, value: str, choices: list[str]) -> str | None:
    unknown = [name for name in value.strip("[]'").split(",") if name not in (*choices, "null", "", "[]")]
    if not unknown:
        return None
    if group == "data" and ("." in unknown[0] or "/" in unknown[0]):
        return f"there is no data={unknown[0]}; for a file of yours type data=hdf5 data.path={Path(unknown[0])}"
    hint = did_you_mean(unknown[0], choices)
    return f"there is no {group}={unknown[0]}{hint} (choices: {', '.join(choices)})"
