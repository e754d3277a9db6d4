"""What a command says at its end: one line of JSON, or one line that says what is wrong; and its exit code."""

import json
import sys
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.files import strict

FINISHED, FAILED, REFUSED = 0, 1, 2


def print_result(result: dict[str, Any]) -> None:
    """Print the last line of standard output: one strict JSON object."""
    print(json.dumps(strict(result), allow_nan=False), flush=True)


def print_error(error: Galaxy10Error) -> int:
    """Show an error as one line; return the exit code of a refused command."""
    print(f"error: {error}", file=sys.stderr)
    return REFUSED
