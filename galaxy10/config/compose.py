"""How an entry script starts: Hydra composes, the door checks, and whatever is wrong comes as one line."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn
from unittest.mock import patch

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from galaxy10.config.fields import did_you_mean
from galaxy10.errors import Galaxy10Error, first_line

REFUSED = 2
_MULTIRUN = {"-m", "--multirun"}
_OPTIONS_WITH_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun"),
)
SEARCH_PATH = "hydra.searchpath="
CONF = Path(__file__).resolve().parents[2] / "conf"


class ComposedConfigs:
    """What Hydra made of the command line: one (configuration, overrides) per experiment, several with --multirun."""

    def __init__(self) -> None:
        self.experiments: list[tuple[dict[str, Any], list[str]]] = []
        self.multirun = False
        self._composed: list[tuple[DictConfig, list[str], str | None]] = []

    def take(self, config: DictConfig) -> None:
        """Called by Hydra's main function, once per experiment."""
        context = HydraConfig.get()
        self.multirun = context.mode is not None and context.mode.name == "MULTIRUN"
        experiment = context.runtime.choices.get("experiment")
        self._composed.append((config, list(context.overrides.task), experiment))

    def resolve(self) -> None:
        """Turn what was taken into plain containers; outside of Hydra, which comments on every exception."""
        for config, overrides, experiment in self._composed:
            self.experiments.append(({"experiment": experiment, **plain(config)}, overrides))


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain containers, every reference resolved."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def compose(
    hydra_main: Callable[[], None],
    composed: ComposedConfigs,
    check: Callable[[dict[str, Any]], dict[str, Any]],
    keys: Collection[str],
) -> None:
    """Let Hydra compose (or answer --help, --cfg …) and check every value of what comes out.

    Args:
        check: completes and checks one composed configuration.
        keys: every setting there is; one that ends with a dot stands for all below.

    Raises:
        Galaxy10Error: an unknown key, group or choice, a wrong value, a mistake of syntax.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us instead of being printed by Hydra
    options, settings = _options_and_settings(sys.argv[1:])
    sys.argv[1:] = [*options, *settings]
    try:
        with _wrong_options_in_one_line(), _hydra_writes_nothing_here():
            hydra_main()
        composed.resolve()
    except (HydraException, OmegaConfBaseException) as error:
        typed = [*_MULTIRUN.intersection(options), *settings]
        raise Galaxy10Error(explain(error, typed, keys)) from error
    composed.experiments = [(check(config), overrides) for config, overrides in composed.experiments]


def _options_and_settings(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Apart, as Hydra's parser takes settings in one piece only: not `model=resnet50 -m seed=0,1`."""
    options: list[str] = []
    settings: list[str] = []
    before = ""
    for argument in arguments:
        is_option = argument.startswith("-") or (before in _OPTIONS_WITH_VALUE and "=" not in argument)
        (options if is_option else settings).append(argument if is_option else _none_of_group(argument))
        before = argument
    return options, settings


def _none_of_group(argument: str) -> str:
    """`group=null` as Hydra takes it: the empty list of choices."""
    key, _, value = argument.partition("=")
    return f"{key}=[]" if value == "null" and key in groups() else argument


def _option_value(arguments: Sequence[str], *names: str) -> str | None:
    """The value of an option of Hydra's, typed as `--name value` or `--name=value`; None where it is not given."""
    for number, word in enumerate(arguments):
        name, mark, value = word.partition("=")
        if name in names:
            return value if mark else arguments[number + 1] if number + 1 < len(arguments) else None
    return None


def own_config_dir(arguments: Sequence[str]) -> str | None:
    """The user's own folder of configurations, as it was typed."""
    return _option_value(arguments, "--config-dir", "-cd")


def config_options(arguments: Sequence[str]) -> list[str]:
    """The options of a command line that say which files its configuration is composed from.

    They are no overrides: whoever starts this program again for one of its experiments has to give them, too. A
    --config-dir comes out absolute, so that it does not matter where that is.
    """
    folder = own_config_dir(arguments)
    options = ["--config-dir", str(Path(folder).absolute())] if folder else []
    for names in (("--config-name", "-cn"), ("--config-path", "-cp")):
        value = _option_value(arguments, *names)
        options += [names[0], value] if value else []
    return options + [word for word in arguments if word.startswith(SEARCH_PATH)]


@contextmanager
def _wrong_options_in_one_line() -> Iterator[None]:
    """What argparse refuses it tells with its integer usage, and ends the program."""

    def refuse_option(parser: ArgumentParser, message: str) -> NoReturn:
        raise Galaxy10Error(f"{message}; settings are typed as key=value, see `python {Path(sys.argv[0]).name} --help`")

    with patch.object(ArgumentParser, "error", refuse_option):
        yield


@contextmanager
def _hydra_writes_nothing_here() -> Iterator[None]:
    """With --multirun Hydra leaves a folder with its own notes, wherever it is told to."""
    if not _MULTIRUN.intersection(sys.argv[1:]):
        yield
        return
    before = list(sys.argv)
    with TemporaryDirectory(prefix="galaxy10-") as folder:
        sys.argv.append(f"hydra.sweep.dir={folder}")
        try:
            yield
        finally:
            sys.argv[:] = before


def refuse(error: Galaxy10Error) -> int:
    """Show an error as one line; the exit code of a refused command."""
    print(f"error: {error}", file=sys.stderr)
    return REFUSED


def explain(error: Exception, arguments: Sequence[str], keys: Collection[str]) -> str:
    """One line for a command line that Hydra could not compose: what was typed, and the nearest thing that exists."""
    if isinstance(error, MissingMandatoryValue):
        return _explain_missing(error)
    for argument in arguments:
        if argument.startswith("-"):
            continue
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:
            if "=" not in argument:
                return f"{argument!r} is no setting; type group=choice or key=value without blanks, e.g. model=resnet50"
            return f"{argument!r} cannot be read as group=choice or key=value; quote lists as 'key=[a,b]'"
        if not override.is_sweep_override():
            value = override.get_value_element_as_str()
        elif not _MULTIRUN.intersection(arguments):
            return f"{argument} gives several values: add -m to run one experiment for each"
        elif override.is_discrete_sweep():
            value = ",".join(map(str, override.sweep_string_iterator()))
        else:
            return f"{argument} gives no list of values; type e.g. {override.key_or_group}=1,2"
        complaint = _explain_override(override.key_or_group, value, override.is_add(), keys)
        if complaint and not override.is_delete():
            return complaint
    return f"the configuration cannot be composed: {first_line(error)}"


def _explain_missing(error: MissingMandatoryValue) -> str:
    key = getattr(error, "full_key", None) or first_line(error).rsplit(" ", 1)[-1]
    return f"{key} is not set; add {key}=…" + (" (any network of timm)" if key == "model.backbone" else "")


def groups() -> dict[str, list[str]]:
    """The configuration groups and the choices each has."""
    return {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in CONF.iterdir() if folder.is_dir()
    }


def _explain_override(key: str, value: str, added: bool, keys: Collection[str]) -> str | None:
    choices = groups()
    if key == "sweep" and "sweep.name" not in keys:
        return f"a hyperparameter study is started by its own program; type `python sweep.py sweep={value}`"
    if key == "hydra/launcher" and value not in ("slurm", "basic"):
        return f"there is no hydra/launcher={value}{did_you_mean(value, ['slurm'])}"
    if key in choices:
        unknown = [name for name in value.strip("[]").split(",") if name not in (*choices[key], "null", "")]
        if unknown and key == "data" and ("." in unknown[0] or "/" in unknown[0]):
            return f"there is no data={unknown[0]}; for a file of yours type data=hdf5 data.path={unknown[0]}"
        if unknown:
            hint = did_you_mean(unknown[0], choices[key])
            listed = f" (choices: {', '.join(choices[key])})" if choices[key] else ""
            return f"there is no {key}={unknown[0]}{hint}{listed}"
        return None
    known = {name for name in keys if name[-1] not in "*."}
    if key in known or key.startswith(("hydra", *(name for name in keys if name.endswith(".")))):
        return None
    if added and key.split(".")[0] in ("optimizer", "trainer"):
        return None
    group, _, name = key.partition(".")
    if group == "optimizer" and not did_you_mean(name, [k.partition(".")[2] for k in known if k.startswith(group)]):
        return f"no optimizer here has a setting {key}; to hand it to the optimizer's class type +{key}={value}"
    program = Path(sys.argv[0]).name
    return (
        f"there is no setting {key}{did_you_mean(key, [*known, *choices])}; `python {program} --cfg job` lists them all"
    )


def trainer_keys() -> set[str]:
    """Every argument of Lightning's Trainer that a run hands on."""
    import yaml

    return set(yaml.safe_load((CONF / "trainer" / "default.yaml").read_text()))
