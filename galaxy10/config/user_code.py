"""The user's own packages: which are trusted, and where in them an error was raised."""

import os
import traceback
from pathlib import Path

from galaxy10.errors import first_line

TRUST_VARIABLE = "GALAXY10_TRUST"  # package names, separated by commas; the processes of one command inherit it


def trusted_packages() -> set[str]:
    """Return the names of the packages that the user trusts."""
    return {name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",") if name.strip()}


def user_code_location(error: BaseException | None) -> str | None:
    """Return the innermost frame of an error's traceback in a trusted package; None without one.

    Example: `mypkg.nets.MyNet.forward (nets.py, line 31)`.
    """
    trusted = trusted_packages()
    while error is not None:
        places = [
            f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname} "
            f"({Path(frame.f_code.co_filename).name}, line {line})"
            for frame, line in traceback.walk_tb(error.__traceback__)
            if str(frame.f_globals.get("__name__")).partition(".")[0] in trusted
        ]
        if places:
            return places[-1]
        error = error.__cause__
    return None


def describe_failure(error: BaseException) -> str:
    """Return the type and first line of an error, and its location in a user's package, if it has one."""
    text = f"{type(error).__name__}: {first_line(error)}"
    location = user_code_location(error)
    return f"{text}, in {location}" if location else text
