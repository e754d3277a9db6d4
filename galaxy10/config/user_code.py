"""The packages that a user has brought: their names, and the place in them where an error arose."""

import os
import traceback
from pathlib import Path

from galaxy10.errors import first_line

TRUST_VARIABLE = "GALAXY10_TRUST"  # package names, separated by commas; the processes of one command inherit it


def trusted_packages() -> set[str]:
    """Return the packages that the person at the keyboard has named."""
    return {name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",") if name.strip()}


def user_code_location(error: BaseException | None) -> str | None:
    """Return the innermost place in a user's package that an error passed through; None where it passed through none.

    As `mypkg.nets.MyNet.forward (nets.py, line 31)`.
    """
    own = trusted_packages()
    while error is not None:
        places = [
            f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname} "
            f"({Path(frame.f_code.co_filename).name}, line {line})"
            for frame, line in traceback.walk_tb(error.__traceback__)
            if str(frame.f_globals.get("__name__")).partition(".")[0] in own
        ]
        if places:
            return places[-1]
        error = error.__cause__
    return None


def describe_failure(error: BaseException) -> str:
    """Return type and first line of an error, and where in a user's package it arose, if it did."""
    said = f"{type(error).__name__}: {first_line(error)}"
    place = user_code_location(error)
    return f"{said}, in {place}" if place else said
