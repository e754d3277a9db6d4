"""The command line before Hydra reads it: options and settings apart, and Hydra's own settings in our words.

Imports no Hydra, so that what is refused here is refused at once.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from galaxy10.config.paths import program
from galaxy10.errors import Galaxy10Error

_OPTIONS_WITH_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun"),
)
_HELP = ("--help", "-h")
COMPLETION = {"--shell-completion", "-sc"}
# Options with which Hydra prints something, and nothing is run.
_PRINTS = (*_HELP, "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", *COMPLETION)
SEARCH_PATH = "hydra.searchpath="
# What Hydra calls these is ours under another name.
_OURS = {"hydra.run.dir": "run.dir", "hydra.sweep.dir": "run.root"}
_NULL = re.compile(r"\bnull\b", re.IGNORECASE)
_NO_NAME = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?|nan|[-+]?inf|true|false", re.IGNORECASE)  # to Hydra


def split_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return them apart: Hydra's parser takes settings in one piece only, not `model=resnet50 -m seed=0,1`."""
    options: list[str] = []
    settings: list[str] = []
    before = ""
    for argument in arguments:
        is_option = argument.startswith("-") or (before in _OPTIONS_WITH_VALUE and "=" not in argument)
        (options if is_option else settings).append(argument)
        before = argument
    return options, settings


def option_value(arguments: Sequence[str], *names: str) -> str | None:
    """Return the value of an option typed as `--name value` or `--name=value`; None where it is not given."""
    for number, word in enumerate(arguments):
        name, mark, value = word.partition("=")
        if name in names:
            return value if mark else arguments[number + 1] if number + 1 < len(arguments) else None
    return None


def is_help_only(arguments: Sequence[str]) -> bool:
    """Whether nothing but --help is typed."""
    return len(arguments) == 1 and arguments[0] in _HELP


def prints_only(arguments: Sequence[str]) -> bool:
    """Whether Hydra is to print something (--help, --cfg …) and nothing is to run."""
    return any(word.partition("=")[0] in _PRINTS for word in arguments)


def is_multirun(arguments: Sequence[str]) -> bool:
    """Whether several values stand for several experiments."""
    return any(word in ("-m", "--multirun") or word.lower() == "hydra.mode=multirun" for word in arguments)


def user_config_dir(arguments: Sequence[str]) -> str | None:
    """Return the user's own folder of configurations, as it was typed."""
    return option_value(arguments, "--config-dir", "-cd")


def config_name(arguments: Sequence[str], default: str) -> str:
    """Return the name of the file that the configuration begins with."""
    return (option_value(arguments, "--config-name", "-cn") or default).removesuffix(".yaml")


def config_options(arguments: Sequence[str]) -> list[str]:
    """Return the words that say which files a configuration is composed from, and in which environment it runs.

    They are no overrides: whoever starts this program again for one of its experiments has to give them, too. Folders
    come out absolute, so that it does not matter where that is.
    """
    options: list[str] = []
    for names in (("--config-dir", "-cd"), ("--config-name", "-cn"), ("--config-path", "-cp")):
        value = option_value(arguments, *names)
        if value:
            folder = names[0] != "--config-name" and "://" not in value
            options += [names[0], str(Path(value).absolute()) if folder else value]
    kept = (SEARCH_PATH, "hydra.job.env_set")
    return options + [word for word in arguments if word.lstrip("+").startswith(kept)]


def launcher_of(settings: Sequence[str]) -> str:
    """Return the launcher that is typed: Hydra's own (basic), ours (slurm), or a plugin's."""
    typed = [word.partition("=")[2] for word in settings if word.startswith("hydra/launcher=")]
    return typed[-1] if typed else "basic"


def without_launcher(settings: Sequence[str]) -> list[str]:
    """Return the settings without those of the launcher."""
    return [word for word in settings if not word.lstrip("+~").startswith(("hydra/launcher", "hydra.launcher."))]


# Settings that every model has, whether or not its file names them: a user's own names little beside its class.
COMMON_MODEL_SETTINGS = frozenset(
    f"model.{name}" for name in ("image_size", "default_image_size", "min_image_size", "name", "freeze", "tta_views")
)


def translate_arguments(arguments: Sequence[str], groups: Collection[str]) -> list[str]:
    """Return a command line with what Hydra's grammar and settings mean here.

    `~group` and `group=null` leave a group out, which Hydra's defaults list writes as `group=[]`; hydra.run.dir and
    hydra.sweep.dir are run.dir and run.root; a relative --config-path counts from where the command is typed; what
    every model has, such as model.image_size, need not stand in the file of a user's own.

    Raises:
        Galaxy10Error: something of Hydra's that a run cannot honour; says what to type.
    """
    options, settings = split_options(arguments)
    if any(word.startswith("--experimental-rerun") for word in options):
        raise Galaxy10Error(
            "--experimental-rerun reads notes that Hydra does not leave here; to go on with a run type its command "
            "again with run.dir=RUN, to repeat it with another run.dir (RUN/provenance.json has the command)"
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
        value = f"'{value}'" if _NO_NAME.fullmatch(value) else _NULL.sub("[]", value)
        return f"{word.partition('=')[0]}{mark}{value}"
    if key in _OURS:
        return f"{_OURS[key]}={value}"
    if key in COMMON_MODEL_SETTINGS and word == f"{key}={value}":
        return f"++{word}"
    if key == "hydra.sweep.subdir":
        raise Galaxy10Error(f"{word}: trials are named after their settings; type run.root=… for where a grid goes")
    if key == "hydra.output_subdir" and value not in ("null", ""):
        raise Galaxy10Error(f"{word}: a run keeps its configuration as config.yaml in its own directory; leave it out")
    if key == "hydra.job.chdir" and value.lower() not in ("false", "null"):
        raise Galaxy10Error(
            f"{word}: runs stay in the folder where they are started; type run.dir=… for where to write"
        )
    if key == "hydra/sweeper" and value != "basic":
        raise Galaxy10Error(f"{word}: searches are `{program('sweep')} sweep=SPACE sweep.n_trials=…`, without -m")
    return word
