"""The sections of a configuration: which every run needs, and what stands for one that is absent."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from omegaconf import OmegaConf

from galaxy10.config.groups import groups, read, read_choice
from galaxy10.config.paths import CONF
from galaxy10.errors import Galaxy10Error

NEEDED = ("data", "model", "optimizer", "trainer")
# The choice that stands for an absent group; `none` where nothing else is said, and {} where there is no such choice.
_ABSENT = {"callbacks": "default", "logger": "csv", "loss": "cross_entropy"}
# Sections that are read by their keys: what a file of one's own leaves out is taken from this choice.
_BASES = {"data": "hdf5", "trainer": "default", "augment": "none"}
_NO_SECTIONS = ("experiment", "sweep")  # groups whose files write into other sections


def check_required_groups(sections: Collection[str]) -> None:
    """Refuse a configuration without a section that every run needs.

    Raises:
        Galaxy10Error: names the first, and its choices.
    """
    for group in NEEDED:
        if group not in sections:
            choices = ", ".join(_section_groups()[group])
            raise Galaxy10Error(f"every run needs a choice of {group}; type {group}=… (choices: {choices})")


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with every section there."""
    for group in _section_groups():
        if not config.get(group):
            config[group] = _content(group, _ABSENT.get(group, "none"))
    for group, base in _BASES.items():
        if isinstance(config[group], dict) and _is_ours(config[group]):
            config[group] |= {k: v for k, v in _content(group, base).items() if k not in config[group]}
    return _filled(config, _own())


def _is_ours(section: Mapping[str, Any]) -> bool:
    """Whether a section is read by the keys that this package's files have, and not by a class of somebody's own."""
    return str(section.get("_target_") or "galaxy10.").startswith("galaxy10.")


def check_deletions(overrides: Sequence[str], config: Mapping[str, Any]) -> None:
    """Refuse `~key` for a setting that is read by its name; a component does without, by its class's own default.

    Raises:
        Galaxy10Error: says what to type instead.
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
    """What conf/train.yaml says itself, outside of every group."""
    return {key: value for key, value in read(CONF / "train.yaml").items() if key not in ("defaults", "hydra")}


def _content(group: str, choice: str) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.create(read_choice(group, choice)), resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _filled(config: dict[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A nested mapping with what it lacks of another."""
    for key, value in base.items():
        if isinstance(value, Mapping):
            config[key] = _filled(dict(config.get(key) or {}), value)
        else:
            config.setdefault(key, value)
    return config
