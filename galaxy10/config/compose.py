"""Compose a command line with Hydra into complete configurations, as plain containers."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from galaxy10.compat import hydra_mode_from_options
from galaxy10.config.command_line import (
    config_options,
    is_multirun,
    prints_only,
    split_options,
    without_launcher,
)
from galaxy10.config.explain import KnownSettings, explain
from galaxy10.config.launchers import check_launcher
from galaxy10.config.overrides import quote
from galaxy10.config.paths import CONF, PATH_SETTINGS, expand_home, program
from galaxy10.config.sections import check_deletions, check_required_groups, complete
from galaxy10.errors import Galaxy10Error


@dataclass
class ComposedConfigs:
    """The configurations that Hydra composed from a command line.

    Attributes:
        experiments: (configuration, overrides) of each experiment; several with --multirun.
        multirun: whether the command line has -m.
        options: arguments that choose the same configuration files again (see config_options).
        launcher: name of the multirun's launcher: basic, slurm, or a plugin's.
        launcher_settings: the settings typed for a plugin's launcher.
        captured: (Hydra's configuration, overrides, experiment's name) of each experiment, before `resolve`.
    """

    experiments: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)
    multirun: bool = False
    options: list[str] = field(default_factory=list)
    launcher: str = "basic"
    launcher_settings: list[str] = field(default_factory=list)
    captured: list[tuple[DictConfig, list[str], str | None]] = field(default_factory=list)

    def capture(self, config: DictConfig) -> None:
        """Keep a composed configuration; Hydra calls this once per experiment."""
        context = HydraConfig.get()
        self.multirun = context.mode is not None and context.mode.name == "MULTIRUN"
        if not self.multirun:
            os.environ.update(context.job.env_set)
        overrides = list(context.overrides.task)
        self.captured.append((config, overrides, _experiment(context.runtime.choices.get("experiment"), overrides)))

    def resolve(self) -> None:
        """Convert the captured configurations to plain containers.

        Called after Hydra's main function, which would print a message for each exception.

        Raises:
            Galaxy10Error: a section or setting that every run needs is missing.
        """
        for config, overrides, experiment in self.captured:
            container = to_container(config)
            check_deletions(overrides, container)
            self.experiments.append(({"experiment": experiment, **container}, overrides))


def _experiment(choice: str | None, overrides: Sequence[str]) -> str | None:
    """Return the experiment's name, or the names of several (experiment=[a,b]); None without one."""
    if choice is not None:
        return choice
    typed = [word.partition("=")[2].strip("[]") for word in overrides if word.startswith("experiment=")]
    return typed[-1] or None if typed else None


def to_container(config: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain containers: interpolations resolved, absent sections filled.

    Raises:
        Galaxy10Error: a section that every run needs is missing.
    """
    unresolved = OmegaConf.to_container(config)
    assert isinstance(unresolved, dict)
    check_required_groups([str(key) for key, value in unresolved.items() if value])
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    _expand_home(container)
    return complete({str(key): value for key, value in container.items()})


def _expand_home(container: dict[Any, Any]) -> None:
    """Expand `~` in the settings that are paths, as a YAML file or a quoted override may have it."""
    for key in PATH_SETTINGS:
        section, _, name = key.partition(".")
        settings = container.get(section)
        if isinstance(settings, dict) and isinstance(settings.get(name), str):
            settings[name] = expand_home(settings[name])


def compose(
    arguments: Sequence[str], known: KnownSettings, check: Callable[[dict[str, Any]], dict[str, Any]]
) -> ComposedConfigs:
    """Compose a command line with Hydra (or let Hydra print --help, --cfg …), and check every value.

    Args:
        arguments: the command line without the program's name, translated by translate_arguments.
        known: groups, choices and settings of the command.
        check: function that completes and checks one composed configuration.

    Raises:
        Galaxy10Error: an unknown key, group or choice, a wrong value, or a syntax error.
    """
    primary, multirun = known.primary, is_multirun(arguments)
    composed = ComposedConfigs(options=config_options(arguments))
    options, settings = split_options(arguments)
    composed.launcher, composed.launcher_settings = check_launcher(settings, known.choices)
    try:
        if composed.launcher_settings:  # the plugin starts the experiments after they are checked here
            settings = [*without_launcher(settings), "hydra/launcher=basic"]
        if prints_only(options):
            run_hydra([*options, *settings, f"hydra.help.app_name='{program(primary)}'"], primary, composed.capture)
        elif multirun:
            with TemporaryDirectory(prefix="galaxy10-") as folder:  # Hydra writes files of its own there
                run_hydra([*options, *settings, f"hydra.sweep.dir={quote(folder)}"], primary, composed.capture)
        else:
            run_hydra([*options, *settings], primary, composed.capture)
        if not (composed.captured or prints_only(options)):
            raise Galaxy10Error("a launcher set in a file runs before any check; type hydra/launcher=… as well")
        composed.resolve()
    except (HydraException, OmegaConfBaseException) as error:
        raise Galaxy10Error(explain(error, arguments, known)) from error
    composed.experiments = [(check(config), overrides) for config, overrides in composed.experiments]
    return composed


def run_hydra(arguments: Sequence[str], primary: str, task: Callable[[DictConfig], Any]) -> None:
    """Run Hydra's main function on a command line.

    Raises:
        Galaxy10Error: Hydra does not have one of the options.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises exceptions instead of printing them
    typed = sys.argv
    sys.argv = [typed[0], *arguments]
    try:
        with (
            _wrong_options_in_one_line(primary),
            hydra_mode_from_options() if _has_no_mode(arguments) else nullcontext(),
        ):
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=primary)(task)()
    finally:
        sys.argv = typed


def _has_no_mode(arguments: Sequence[str]) -> bool:
    """Return whether neither a typed setting nor a file that is not galaxy10's can set hydra.mode."""
    return not config_options(arguments) and not any("hydra.mode" in word for word in arguments)


@contextmanager
def _wrong_options_in_one_line(primary: str) -> Iterator[None]:
    """Raise a Galaxy10Error for a wrong option; by default, argparse prints its usage and exits."""
    from argparse import ArgumentParser

    def refuse_option(parser: ArgumentParser, message: str) -> NoReturn:
        raise Galaxy10Error(f"{message}; settings are typed as key=value, see `{program(primary)} --help`")

    before = ArgumentParser.error
    ArgumentParser.error = refuse_option  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ArgumentParser.error = before  # type: ignore[method-assign]
