"""The output of a command at its end: one line of JSON, a path, or one line with an error."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode
from galaxy10.files import json_safe

logger = logging.getLogger(__name__)


def print_result(result: dict[str, Any]) -> None:
    """Print a result as one JSON object, the last line of standard output; NaN and ±inf become null."""
    print(json.dumps(json_safe(result), allow_nan=False), flush=True)


def print_error(error: Galaxy10Error) -> int:
    """Log an error as one line, and return the exit code of a refused command."""
    logger.error(f"error: {error}")
    return ExitCode.REFUSED


def finish(path: Path, about: dict[str, Any]) -> None:
    """Print the path of the output, and exit with code 3 if some inputs failed."""
    print(path)
    if about["failed"]:
        sys.exit(ExitCode.PARTIAL)
