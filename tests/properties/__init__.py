"""Properties that hold for any input (see conftest for how many are tried)."""

from collections.abc import Callable
from typing import Any

from galaxy10.data.images import ImageReadError
from galaxy10.errors import Galaxy10Error


def attempt(function: Callable[..., Any], *arguments: object, **settings: object) -> tuple[Any, str | None]:
    """Call a function; return its result, and the one line with which it refuses its arguments (else None)."""
    try:
        return function(*arguments, **settings), None
    except (Galaxy10Error, ImageReadError) as error:
        message = str(error)
    assert message
    assert "\n" not in message
    return None, message
