"""The user's own packages: which are trusted, and where in them an error was raised."""

import os
import traceback
from pathlib import Path
from types import CodeType

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
        frames = [frame for frame in _frames(error) if frame[0].partition(".")[0] in trusted]
        if frames:
            return _place(*frames[-1])
        error = error.__cause__
    return None


def chosen_code_location(error: BaseException) -> str | None:
    """Return the innermost frame in a trusted package, or that of the optimizer or scheduler of torch that raised.

    Both are the user's choice, so such an error is no fault of galaxy10's. None without one.
    """
    frames = _frames(error)
    raised_by_torch = frames and frames[-1][0].startswith("torch.optim.")
    return user_code_location(error) or (_place(*frames[-1]) if raised_by_torch else None)


def _frames(error: BaseException) -> list[tuple[str, CodeType, int]]:
    """Return module, code and line of each frame of an error's traceback, the outermost first."""
    frames = traceback.walk_tb(error.__traceback__)
    return [(str(frame.f_globals.get("__name__")), frame.f_code, line) for frame, line in frames]


def _place(module: str, code: CodeType, line: int) -> str:
    return f"{module}.{code.co_qualname} ({Path(code.co_filename).name}, line {line})"


def describe_failure(error: BaseException) -> str:
    """Return the type and first line of an error, and its location in code that the user chose, if it has one."""
    text = f"{type(error).__name__}: {first_line(error)}"
    location = chosen_code_location(error)
    return f"{text}, in {location}" if location else text
