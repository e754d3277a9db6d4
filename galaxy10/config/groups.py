"""Read the configuration files: config groups, their choices, and all settings. Imports no Hydra."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

import yaml

from galaxy10.config.command_line import SEARCH_PATH, user_config_dir
from galaxy10.config.paths import CONF, program

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)
_SPACES = "sweep"  # a group that only sweep.py has
_DEEPEST_GROUP = 3  # folders in folders: a search path may be a home directory


def config_folders(arguments: Sequence[str]) -> list[Path]:
    """Return the configuration folders of a command line: the user's own, then this package's."""
    own = user_config_dir(arguments)
    places = [own] if own else []
    for word in arguments:
        if word.startswith(SEARCH_PATH):
            places += [place.strip("\"' ") for place in word.removeprefix(SEARCH_PATH).strip("\"'[]").split(",")]
    found = [folder for place in places for folder in _folders_at(place)]
    return [*found, CONF]


def _folders_at(place: str) -> list[Path]:
    if not place.startswith("pkg://"):
        return [Path(place.removeprefix("file://"))]
    try:
        package = find_spec(place.removeprefix("pkg://").replace("/", "."))
    except (ImportError, ValueError):
        return []
    return [Path(folder) for folder in package.submodule_search_locations or ()] if package else []


def _choice_files(folder: Path) -> Iterator[Path]:
    """Yield the YAML files of the groups in a folder; what cannot be read, or disappears meanwhile, is left out."""
    for parent, below, names in os.walk(folder, followlinks=True):
        depth = len(Path(parent).relative_to(folder).parts)
        below[:] = [name for name in sorted(below) if not name.startswith(".") and depth < _DEEPEST_GROUP]
        if depth:
            yield from (Path(parent, name) for name in sorted(names) if name.endswith(".yaml"))


def groups(folders: Sequence[Path] = (CONF,)) -> dict[str, list[str]]:
    """Return the config groups, each with its choices; Hydra's own groups as `hydra/launcher`."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in _choice_files(folder):
            *parents, name = file.relative_to(folder).with_suffix("").parts
            depth = 2 if parents[0] == "hydra" else 1
            found.setdefault("/".join(parents[:depth]), set()).add("/".join([*parents[depth:], name]))
    return {group: sorted(choices) for group, choices in sorted(found.items())}


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file; an empty dict if it is missing, unreadable or no mapping."""
    try:
        content = yaml.load(path.read_text(), Loader=_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def read_choice(group: str, choice: str, folder: Path = CONF) -> dict[str, Any]:
    """Return a choice of a group, merged over its defaults of the same group; interpolations stay unresolved."""
    content = read_yaml(folder / group / f"{choice}.yaml")
    merged: dict[str, Any] = {}
    for base in content.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            merged |= read_choice(group, base, folder)
    return merged | content


def settings(folders: Sequence[Path] = (CONF,), primary: str = "train") -> dict[str, set[str]]:
    """Return every setting in the files as a dotted key, with the choices (`group=choice`) that have it.

    Settings outside of groups (run.dir) have an empty set.
    """
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in _choice_files(folder):
            *parents, name = file.relative_to(folder).with_suffix("").parts
            if parents[0] in ("hydra", *([_SPACES] if primary != _SPACES else [])):
                continue
            for key in _keys_of(folder, parents[0], "/".join([*parents[1:], name])):
                found.setdefault(key, set()).add(f"{parents[0]}={'/'.join([*parents[1:], name])}")
        for name in dict.fromkeys(["train", primary]):
            own = {
                key: value
                for key, value in read_yaml(folder / f"{name}.yaml").items()
                if key not in ("defaults", "hydra")
            }
            found.update({key: set() for key in _sections(own)})
    return found


def _keys_of(folder: Path, group: str, choice: str) -> Iterator[str]:
    content = read_choice(group, choice, folder)
    try:
        stated = _PACKAGE.search((folder / group / f"{choice}.yaml").read_text())
    except (OSError, ValueError):
        return
    package = stated.group(1) if stated else group
    yield from _sections(content, "" if package == "_global_" else f"{package}.")


def _sections(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a nested mapping, including those of its sections."""
    for key, value in content.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _sections(value, f"{prefix}{key}.")


@lru_cache
def trainer_keys() -> frozenset[str]:
    """Return every argument of Lightning's Trainer that can be set."""
    return frozenset(read_yaml(CONF / "trainer" / "default.yaml"))


def default_choice(group: str, primary: str = "train") -> str | None:
    """Return the default choice of a group; None without one."""
    for default in read_yaml(CONF / f"{primary}.yaml").get("defaults", []):
        if isinstance(default, dict) and group in default:
            choice: str | None = default[group]
            return choice
    return None


def help_text(command: str) -> str:
    """Return the `--help` text of train or sweep, from the same template that Hydra uses."""
    about = read_yaml(CONF / f"{command}.yaml")["hydra"]["help"]
    listed = "\n".join(f"{group}: {', '.join(names)}" for group, names in groups().items() if group[:6] != "hydra/")
    template = about["template"].replace("${hydra.help.header}", about["header"])
    template = template.replace("${hydra.help.app_name}", program(command))
    return Template(template).safe_substitute(APP_CONFIG_GROUPS=listed + "\n")
