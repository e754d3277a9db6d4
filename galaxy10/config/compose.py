"""Composing: Hydra makes configurations of a command line, as plain containers whose sections are all there."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from galaxy10.config.command_line import (
    config_options,
    is_multirun,
    prints_only,
    split_options,
    without_launcher,
)
from galaxy10.config.explain import KnownSettings, explain
from galaxy10.config.launchers import check_launcher
from galaxy10.config.paths import CONF, program
from galaxy10.config.sections import check_deletions, check_required_groups, complete
from galaxy10.errors import Galaxy10Error


@dataclass
class ComposedConfigs:
    """What Hydra made of a command line.

    experiments: (configuration, overrides) of each, several with --multirun.
    options: the words that the same files are composed from again.
    launcher: of a multirun: basic, slurm, or one of a plugin.
    launcher_settings: what was typed for a plugin's.
    """

    experiments: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)
    multirun: bool = False
    options: list[str] = field(default_factory=list)
    launcher: str = "basic"
    launcher_settings: list[str] = field(default_factory=list)
    captured: list[tuple[DictConfig, list[str], str | None]] = field(default_factory=list)

    def capture(self, config: DictConfig) -> None:
        """Keep what Hydra composed; called by it once per experiment."""
        context = HydraConfig.get()
        self.multirun = context.mode is not None and context.mode.name == "MULTIRUN"
        if not self.multirun:
            os.environ.update(context.job.env_set)
        overrides = list(context.overrides.task)
        self.captured.append((config, overrides, _experiment(context.runtime.choices.get("experiment"), overrides)))

    def resolve(self) -> None:
        """Turn what was captured into plain containers; outside of Hydra, which comments on every exception."""
        for config, overrides, experiment in self.captured:
            container = to_container(config)
            check_deletions(overrides, container)
            self.experiments.append(({"experiment": experiment, **container}, overrides))


def _experiment(choice: str | None, overrides: Sequence[str]) -> str | None:
    """The experiment's name; of several at once (experiment=[a,b]), their names."""
    if choice is not None:
        return choice
    typed = [word.partition("=")[2].strip("[]") for word in overrides if word.startswith("experiment=")]
    return typed[-1] or None if typed else None


def to_container(config: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain containers: every reference resolved, every section there.

    Raises:
        Galaxy10Error: it lacks something that every run needs.
    """
    unresolved = OmegaConf.to_container(config)
    assert isinstance(unresolved, dict)
    check_required_groups([str(key) for key, value in unresolved.items() if value])
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return complete({str(key): value for key, value in container.items()})


def compose(
    arguments: Sequence[str], words: KnownSettings, check: Callable[[dict[str, Any]], dict[str, Any]]
) -> ComposedConfigs:
    """Let Hydra compose (or answer --help, --cfg …) and check every value of what comes out.

    Args:
        arguments: the command line without the program's name, in our words.
        words: of the command; its primary is the file that the configuration begins with.
        check: completes and checks one composed configuration.

    Raises:
        Galaxy10Error: an unknown key, group or choice, a wrong value, a mistake of syntax.
    """
    primary, multirun = words.primary, is_multirun(arguments)
    composed = ComposedConfigs(options=config_options(arguments))
    options, settings = split_options(arguments)
    composed.launcher, composed.launcher_settings = check_launcher(settings, words.choices)
    try:
        if composed.launcher_settings:  # a plugin starts what was composed and checked here
            settings = [*without_launcher(settings), "hydra/launcher=basic"]
        if prints_only(options):
            run_hydra([*options, *settings, f"hydra.help.app_name='{program(primary)}'"], primary, composed.capture)
        elif multirun:
            with TemporaryDirectory(prefix="galaxy10-") as folder:  # Hydra leaves a folder with its own notes
                run_hydra([*options, *settings, f"hydra.sweep.dir={folder}"], primary, composed.capture)
        else:
            run_hydra([*options, *settings], primary, composed.capture)
        if not (composed.captured or prints_only(options)):
            raise Galaxy10Error("a launcher that a file names leaves nothing here to check; type hydra/launcher=… too")
        composed.resolve()
    except (HydraException, OmegaConfBaseException) as error:
        raise Galaxy10Error(explain(error, arguments, words)) from error
    composed.experiments = [(check(config), overrides) for config, overrides in composed.experiments]
    return composed


def run_hydra(arguments: Sequence[str], primary: str, task: Callable[[DictConfig], Any]) -> None:
    """Run Hydra's main function on a command line.

    Raises:
        Galaxy10Error: an option that Hydra does not have.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us instead of being printed by Hydra
    typed = sys.argv
    sys.argv = [typed[0], *arguments]
    try:
        with _wrong_options_in_one_line(primary):
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=primary)(task)()
    finally:
        sys.argv = typed


@contextmanager
def _wrong_options_in_one_line(primary: str) -> Iterator[None]:
    """What argparse refuses it tells with its whole usage, and ends the program."""
    from argparse import ArgumentParser

    def refuse_option(parser: ArgumentParser, message: str) -> NoReturn:
        raise Galaxy10Error(f"{message}; settings are typed as key=value, see `{program(primary)} --help`")

    before = ArgumentParser.error
    ArgumentParser.error = refuse_option  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ArgumentParser.error = before  # type: ignore[method-assign]
