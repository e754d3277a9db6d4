"""`galaxy10 init`: create a small project with a network and a loss, from the templates in project/."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from galaxy10.errors import Galaxy10Error
from galaxy10.files import write_error

_TEMPLATES = Path(__file__).with_name("project")
_NAME, _SUFFIX = "my_project", ".txt"  # the suffix keeps tools from treating the templates as code of this package


def create_project(folder: Path) -> None:
    """Write a new project; the folder's name is also the name of its package.

    Raises:
        Galaxy10Error: the folder exists, or its name is no valid or new package name.
    """
    name = folder.name
    if folder.exists():
        raise Galaxy10Error(f"{folder} exists already; give the name of a new folder")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        guess = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_0123456789") or _NAME
        raise Galaxy10Error(
            f"{name!r} cannot be imported as a Python package; use small letters, digits and _: galaxy10 init {guess}"
        )
    if name in ("conf", "tests") or find_spec(name) is not None:
        raise Galaxy10Error(f"there is already a package {name}, which would hide this one; give another name")
    for path, content in _files(name):
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        except OSError as error:
            raise write_error(target, error) from error


def _files(name: str) -> Iterator[tuple[str, str]]:
    """Yield (path in the project, content) of each file."""
    for template in sorted(_TEMPLATES.rglob(f"*{_SUFFIX}")):
        path = str(template.relative_to(_TEMPLATES)).removesuffix(_SUFFIX)
        yield path.replace(_NAME, name), template.read_text().replace(_NAME, name)
