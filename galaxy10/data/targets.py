"""Functions and modules of a user's that a configuration names as `_target_`."""

from collections.abc import Callable, Mapping
from typing import Any

from galaxy10.errors import Galaxy10Error, first_line


def resolve(path: str, key: str) -> Callable[..., Any]:
    """Return the function or class that a dotted name stands for.

    Raises:
        Galaxy10Error: it cannot be imported.
    """
    from hydra.utils import get_object

    try:
        return get_object(path)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        missing = f"there is no module {cause.name}" if isinstance(cause, ModuleNotFoundError) else first_line(cause)
        raise Galaxy10Error(
            f"{key}={path}: {missing}; run from the folder that holds it, add that folder to PYTHONPATH, or "
            "pip install -e it"
        ) from error


def build(node: Mapping[str, Any], key: str) -> Any:
    """Build what a node with `_target_` describes.

    Raises:
        Galaxy10Error: it cannot be imported, or does not take its arguments.
    """
    from hydra.utils import instantiate

    resolve(node["_target_"], f"{key}._target_")
    try:
        return instantiate(dict(node), _convert_="all")
    except Exception as error:
        raise Galaxy10Error(
            f"{key} ({node['_target_']}) cannot be built: {first_line(error.__cause__ or error)}"
        ) from error
