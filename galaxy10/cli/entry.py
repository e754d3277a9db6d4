"""Where `galaxy10` begins: train and sweep go straight to Hydra, everything else to the commands of main.py."""

import os
import sys

from galaxy10.cli.composed import COMPOSED, run_composed
from galaxy10.config.command_line import COMPLETION


def main() -> None:
    """Run the command that is typed; ends the program with its exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] and arguments[0] in COMPLETION:
        sys.exit(complete(arguments))
    if arguments[:1] and arguments[0] in COMPOSED:
        sys.exit(run_composed(arguments[0], arguments[1:]))
    from galaxy10.cli.main import main as run_command  # typer is not for `train --help`

    run_command()


def complete(arguments: list[str]) -> int:
    """Answer a shell that completes `galaxy10 …`; train and sweep are completed by Hydra.

    The shell has been told how by `eval "$(galaxy10 train -sc install=bash)"`; Hydra's plugin then asks the program
    itself, with the line that is being typed in COMP_LINE.
    """
    line = os.environ.get("COMP_LINE", "")
    program, _, rest = line.lstrip().partition(" ")
    command, blank, words = rest.lstrip().partition(" ")
    if command in COMPOSED and blank:
        os.environ["COMP_LINE"] = f"{program} {words}"  # Hydra knows programs, and no commands before their settings
        return run_composed(command, arguments)
    from galaxy10.cli.main import command_names

    if not words:
        print(" ".join(name for name in command_names() if name.startswith(command)))
    return 0
