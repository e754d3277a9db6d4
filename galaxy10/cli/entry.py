"""The entry point of `galaxy10`: train and sweep are run with Hydra, all other commands by main.py."""

import os
import sys

from galaxy10.cli.composed import COMPOSED, run_composed
from galaxy10.config.command_line import COMPLETION
from galaxy10.system import limited_cpus, provide_home, share_memory_between_threads


def main() -> None:
    """Run the typed command, and exit with its exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] and arguments[0] in COMPLETION:
        sys.exit(complete(arguments))
    if arguments[:1] and arguments[0] in COMPOSED:
        sys.exit(run_composed(arguments[0], arguments[1:]))
    provide_home()
    # Both before libraries start their threads.
    share_memory_between_threads()
    cores = limited_cpus()
    if cores is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    from galaxy10.cli.main import main as run_command  # imports typer, which train and sweep do not need

    run_command()


def complete(arguments: list[str]) -> int:
    """Print the shell completions of `galaxy10 …`; Hydra completes the settings of train and sweep.

    `eval "$(galaxy10 train -sc install=bash)"` installs the completion; the shell then runs this program with the line
    typed so far in COMP_LINE.
    """
    line = os.environ.get("COMP_LINE", "")
    program, _, rest = line.lstrip().partition(" ")
    command, blank, words = rest.lstrip().partition(" ")
    if command in COMPOSED and blank:
        os.environ["COMP_LINE"] = f"{program} {words}"  # Hydra does not know subcommands
        return run_composed(command, arguments)
    from galaxy10.cli.main import command_names

    if not words:
        print(" ".join(name for name in command_names() if name.startswith(command)))
    return 0
