"""What a command says at its end: one line of JSON, or one line that says what is wrong; and its exit code."""

import json
import logging
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode
from galaxy10.files import json_safe

logger = logging.getLogger(__name__)


def print_result(result: dict[str, Any]) -> None:
    """Print the last line of standard output: one strict JSON object."""
    print(json.dumps(json_safe(result), allow_nan=False), flush=True)


def print_error(error: Galaxy10Error) -> int:
    """Show an error as one line; return the exit code of a refused command."""
    logger.error(f"error: {error}")
    return ExitCode.REFUSED
