"""Prepare a command line for Hydra: separate options from overrides, and translate some of Hydra's own settings.

Imports no Hydra, so that errors found here appear at once.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from galaxy10.config.paths import PATH_SETTINGS, expand_home, program
from galaxy10.errors import Galaxy10Error

_OPTIONS_WITH_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun"),
)
_HELP = ("--help", "-h")
COMPLETION = {"--shell-completion", "-sc"}
# Options with which Hydra prints something and runs nothing.
_PRINTS = (*_HELP, "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", *COMPLETION)
SEARCH_PATH = "hydra.searchpath="
# Hydra's settings → ours.
_RENAMED = {"hydra.run.dir": "run.dir", "hydra.sweep.dir": "run.root"}
_NULL = re.compile(r"\bnull\b", re.IGNORECASE)
# What Hydra parses as another type.
_NOT_A_STRING = re.compile(
    r"[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?|nan|[-+]?inf|true|false", re.IGNORECASE
)  # to Hydra


def split_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into options and settings; Hydra's parser does not accept `model=resnet50 -m seed=0,1`."""
    options: list[str] = []
    settings: list[str] = []
    before = ""
    for argument in arguments:
        is_option = argument.startswith("-") or (before in _OPTIONS_WITH_VALUE and "=" not in argument)
        (options if is_option else settings).append(argument)
        before = argument
    return options, settings


def option_value(arguments: Sequence[str], *names: str) -> str | None:
    """Return the value of an option typed as `--name value` or `--name=value`; None if the option is absent."""
    for number, word in enumerate(arguments):
        name, mark, value = word.partition("=")
        if name in names:
            return value if mark else arguments[number + 1] if number + 1 < len(arguments) else None
    return None


def is_help_only(arguments: Sequence[str]) -> bool:
    """Return whether the command line is only --help or -h."""
    return len(arguments) == 1 and arguments[0] in _HELP


def prints_only(arguments: Sequence[str]) -> bool:
    """Return whether Hydra only prints something (--help, --cfg …) and nothing runs."""
    return any(word.partition("=")[0] in _PRINTS for word in arguments)


def is_multirun(arguments: Sequence[str]) -> bool:
    """Return whether the command line is a multirun (-m), which runs one experiment for each combination of values."""
    return any(word in ("-m", "--multirun") or word.lower() == "hydra.mode=multirun" for word in arguments)


def user_config_dir(arguments: Sequence[str]) -> str | None:
    """Return the user's configuration folder (--config-dir), as typed."""
    return option_value(arguments, "--config-dir", "-cd")


def config_name(arguments: Sequence[str], default: str) -> str:
    """Return the name of the primary config, without .yaml."""
    return (option_value(arguments, "--config-name", "-cn") or default).removesuffix(".yaml")


def config_options(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that choose the configuration's files and the environment variables of the job.

    These arguments are no overrides, so a command that starts one of the experiments again must repeat them. Folders
    are made absolute, so that such a command can run in any directory.
    """
    options: list[str] = []
    for name, short in (("--config-dir", "-cd"), ("--config-name", "-cn"), ("--config-path", "-cp")):
        value = option_value(arguments, name, short)
        if value:
            is_folder = short != "-cn" and "://" not in value
            options += [name, str(Path(value).absolute()) if is_folder else value]
    kept = (SEARCH_PATH, "hydra.job.env_set")
    return options + [word for word in arguments if word.lstrip("+").startswith(kept)]


def launcher_of(settings: Sequence[str]) -> str:
    """Return the name of the launcher in the settings: Hydra's (basic), ours (slurm), or a plugin's."""
    typed = [word.partition("=")[2] for word in settings if word.startswith("hydra/launcher=")]
    return typed[-1] if typed else "basic"


def without_launcher(settings: Sequence[str]) -> list[str]:
    """Return the settings without those of the launcher."""
    return [word for word in settings if not word.lstrip("+~").startswith(("hydra/launcher", "hydra.launcher."))]


# Settings that every model has, even if its YAML file does not list them.
COMMON_MODEL_SETTINGS = frozenset(
    f"model.{name}"
    for name in (
        "image_size",
        "default_image_size",
        "min_image_size",
        "image_size_multiple",
        "name",
        "freeze",
        "tta_views",
    )
)


def translate_arguments(arguments: Sequence[str], groups: Collection[str]) -> list[str]:
    """Translate a command line to the form that Hydra composes.

    `~group` and `group=null` become `group=[]`; hydra.run.dir and hydra.sweep.dir become run.dir and run.root; a
    relative --config-path becomes absolute; settings of every model, such as model.image_size, get `++`, because a
    user's YAML file need not list them.

    Args:
        groups: names of the config groups.

    Raises:
        Galaxy10Error: an option or setting of Hydra that galaxy10 does not support; says what to type instead.
    """
    options, settings = split_options(arguments)
    if any(word.startswith("--experimental-rerun") for word in options):
        raise Galaxy10Error(
            "--experimental-rerun needs files that galaxy10 does not write; to resume a run, type its command again "
            "with run.dir=RUN; to repeat it, with another run.dir (RUN/provenance.json has the command)"
        )
    return [*_with_absolute_path(options), *(_translate(word, groups) for word in settings)]


def _with_absolute_path(options: list[str]) -> list[str]:
    value = option_value(options, "--config-path", "-cp")
    if not value or "://" in value:
        return options
    path = str(Path(value).absolute())
    names = ("--config-path", "-cp")
    rest = [
        word
        for before, word in zip(["", *options], options, strict=False)
        if word.partition("=")[0] not in names and before not in names
    ]
    return [*rest, names[0], path]


def _translate(word: str, groups: Collection[str]) -> str:
    key, mark, value = word.lstrip("+~").partition("=")
    if word.startswith("~"):
        return f"{key}=[]" if key in groups and not mark else word
    if key in groups:
        value = f"'{value}'" if _NOT_A_STRING.fullmatch(value) else _NULL.sub("[]", value)
        return f"{word.partition('=')[0]}{mark}{value}"
    if key in _RENAMED:
        return _translate(f"{_RENAMED[key]}={value}", groups)
    if key in PATH_SETTINGS and "~" in value:  # which shells leave alone after =, and Hydra cannot parse
        return f"{word.partition('=')[0]}={','.join(map(expand_home, value.split(',')))}"
    if key in COMMON_MODEL_SETTINGS and word == f"{key}={value}":
        return f"++{word}"
    if key == "hydra.sweep.subdir":
        raise Galaxy10Error(f"{word}: trials are named after their settings; type run.root=… to move a whole grid")
    if key == "hydra.output_subdir" and value not in ("null", ""):
        raise Galaxy10Error(f"{word}: a run keeps its configuration as config.yaml in its own directory; leave it out")
    if key == "hydra.job.chdir" and value.lower() not in ("false", "null"):
        raise Galaxy10Error(f"{word}: runs keep the working directory; type run.dir=… to choose where to write")
    if key == "hydra/sweeper" and value != "basic":
        raise Galaxy10Error(f"{word}: to search, type `{program('sweep')} sweep=SPACE sweep.n_trials=…`, without -m")
    return word
