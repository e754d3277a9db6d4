"""The sections of a configuration: which are required, and the defaults of absent ones."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from omegaconf import OmegaConf

from galaxy10.config.groups import groups, read_choice, read_yaml
from galaxy10.config.paths import CONF
from galaxy10.errors import Galaxy10Error

REQUIRED = ("data", "model", "optimizer", "trainer")
# The choice for an absent group; by default `none`, or {} if the group has no such choice.
_ABSENT = {"callbacks": "default", "logger": "csv", "loss": "cross_entropy"}
# Sections that are read by their keys: keys that a user's own file leaves out come from this choice.
_BASES = {"data": "hdf5", "trainer": "default", "augment": "none"}
_NO_SECTIONS = ("experiment", "sweep")  # groups whose files write into other sections


def check_required_groups(sections: Collection[str]) -> None:
    """Check that the sections that every run needs are there.

    Raises:
        Galaxy10Error: one is missing; names the first, and its choices.
    """
    for group in REQUIRED:
        if group not in sections:
            choices = ", ".join(_section_groups()[group])
            raise Galaxy10Error(f"every run needs a choice of {group}; type {group}=… (choices: {choices})")


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with absent sections and keys filled with defaults."""
    for group in _section_groups():
        if not config.get(group):
            config[group] = _content(group, _ABSENT.get(group, "none"))
    for group, base in _BASES.items():
        if isinstance(config[group], dict) and _is_ours(config[group]):
            config[group] |= {k: v for k, v in _content(group, base).items() if k not in config[group]}
    return _filled(config, _own())


def _is_ours(section: Mapping[str, Any]) -> bool:
    """Return whether a section is read by the keys of this package's files, rather than by a user's class."""
    return str(section.get("_target_") or "galaxy10.").startswith("galaxy10.")


def check_deletions(overrides: Sequence[str], config: Mapping[str, Any]) -> None:
    """Check that no `~key` removes a setting that every run needs; arguments of a `_target_` may be removed.

    Raises:
        Galaxy10Error: a required setting is removed; says what to type instead.
    """
    for word in overrides:
        key = word.removeprefix("~").partition("=")[0]
        section = key.partition(".")[0]
        content = config.get(section)
        by_name = section in _BASES and not (isinstance(content, Mapping) and not _is_ours(content))
        if word.startswith("~") and section != "sweep" and (by_name or section not in _section_groups()):
            raise Galaxy10Error(f"{word}: every run needs a value of {key}; type {key}=VALUE")


@lru_cache
def _section_groups() -> dict[str, list[str]]:
    return {g: names for g, names in groups().items() if g not in _NO_SECTIONS and not g.startswith("hydra/")}


@lru_cache
def _own() -> dict[str, Any]:
    """Return the settings of conf/train.yaml that belong to no group."""
    return {key: value for key, value in read_yaml(CONF / "train.yaml").items() if key not in ("defaults", "hydra")}


def _content(group: str, choice: str) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.create(read_choice(group, choice)), resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _filled(config: dict[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Fill a nested mapping with the keys of another that it lacks."""
    for key, value in base.items():
        if isinstance(value, Mapping):
            config[key] = _filled(dict(config.get(key) or {}), value)
        else:
            config.setdefault(key, value)
    return config
