"""The configuration's files: which groups and choices there are, and which settings. Imports no Hydra."""

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
_SPACES = "sweep"  # a group of sweep.py's alone


def config_folders(arguments: Sequence[str]) -> list[Path]:
    """Return the folders that a command line composes from: the user's own, then ours."""
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


def groups(folders: Sequence[Path] = (CONF,)) -> dict[str, list[str]]:
    """Return the configuration groups and the choices each has; Hydra's own as `hydra/launcher`."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/**/*.yaml"):
            *parents, name = file.relative_to(folder).with_suffix("").parts
            depth = 2 if parents[0] == "hydra" else 1
            found.setdefault("/".join(parents[:depth]), set()).add("/".join([*parents[depth:], name]))
    return {group: sorted(choices) for group, choices in sorted(found.items())}


def read(path: Path) -> dict[str, Any]:
    """Return a configuration file's content; empty where it has none that can be read."""
    try:
        content = yaml.load(path.read_text(), Loader=_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def read_choice(group: str, choice: str, folder: Path = CONF) -> dict[str, Any]:
    """Return a choice of a group with what it is based on in the same group; references stay as they are written."""
    content = read(folder / group / f"{choice}.yaml")
    merged: dict[str, Any] = {}
    for base in content.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            merged |= read_choice(group, base, folder)
    return merged | content


def settings(folders: Sequence[Path] = (CONF,), primary: str = "train") -> dict[str, set[str]]:
    """Return every setting that some file has, as a dotted key, and the choices (`group=choice`) that have it.

    Settings of no group (run.dir) have no choice.
    """
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/**/*.yaml"):
            *parents, name = file.relative_to(folder).with_suffix("").parts
            if parents[0] in ("hydra", *([_SPACES] if primary != _SPACES else [])):
                continue
            for key in _keys_of(folder, parents[0], "/".join([*parents[1:], name])):
                found.setdefault(key, set()).add(f"{parents[0]}={'/'.join([*parents[1:], name])}")
        for name in dict.fromkeys(["train", primary]):
            own = {
                key: value for key, value in read(folder / f"{name}.yaml").items() if key not in ("defaults", "hydra")
            }
            found.update({key: set() for key in _sections(own)})
    return found


def _keys_of(folder: Path, group: str, choice: str) -> Iterator[str]:
    content = read_choice(group, choice, folder)
    stated = _PACKAGE.search((folder / group / f"{choice}.yaml").read_text())
    package = stated.group(1) if stated else group
    yield from _sections(content, "" if package == "_global_" else f"{package}.")


def _sections(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """All keys of a nested mapping, those of its sections included."""
    for key, value in content.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _sections(value, f"{prefix}{key}.")


@lru_cache
def trainer_keys() -> frozenset[str]:
    """Return every argument of Lightning's Trainer that a run hands on."""
    return frozenset(read(CONF / "trainer" / "default.yaml"))


def default_choice(group: str, primary: str = "train") -> str | None:
    """Return the choice of a group that is taken when nothing is typed."""
    for default in read(CONF / f"{primary}.yaml").get("defaults", []):
        if isinstance(default, dict) and group in default:
            return default[group]
    return None


def help_text(command: str) -> str:
    """Return what `--help` of train or sweep prints, as Hydra would put it together."""
    about = read(CONF / f"{command}.yaml")["hydra"]["help"]
    listed = "\n".join(f"{group}: {', '.join(names)}" for group, names in groups().items() if group[:6] != "hydra/")
    template = about["template"].replace("${hydra.help.header}", about["header"])
    template = template.replace("${hydra.help.app_name}", program(command))
    return Template(template).safe_substitute(APP_CONFIG_GROUPS=listed + "\n")
