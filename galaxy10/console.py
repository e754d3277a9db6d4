"""Logging for commands: messages as plain lines on standard error. Standard output is for results.

Modules log to `logging.getLogger(__name__)`.
"""

import logging
import os
import sys
import warnings
from contextlib import suppress

from galaxy10.errors import Galaxy10Error

LEVEL_VARIABLE = "GALAXY10_LOG_LEVEL"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def printable(text: str) -> str:
    r"""Return a text whose control characters are written out, such as \\x1b: names from a file cannot move the cursor.

    >>> printable("a\x1b[2J")
    'a\\\\x1b[2J'
    """
    return "".join(c if (c >= " " and not "\x7f" <= c <= "\x9f") or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


class _Lines(logging.Formatter):
    """Format messages as they are, and debug messages with time, level and logger."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(super().format(record))
        if record.levelno > logging.DEBUG:
            return text
        return f"{self.formatTime(record, '%H:%M:%S')} {record.levelname} {record.name}: {text}"


class _StandardError(logging.Handler):
    """Write to the current sys.stderr, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):  # a closed pipe does not stop the work
            print(self.format(record), file=sys.stderr, flush=True)


def set_up_logging(verbose: bool = False) -> None:
    """Send log messages to standard error. Every command calls this once; as a library, galaxy10 logs nothing.

    Args:
        verbose: also show debug messages, with time and level.

    Raises:
        Galaxy10Error: GALAXY10_LOG_LEVEL is not one of LEVELS. Messages from INFO on are shown nevertheless.
    """
    logger = logging.getLogger("galaxy10")
    if not any(isinstance(handler, _StandardError) for handler in logger.handlers):
        handler = _StandardError()
        handler.setFormatter(_Lines("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False  # a library's handler of all messages would show them twice
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    level = os.environ.get(LEVEL_VARIABLE)
    if not level:
        return
    if level.upper() not in LEVELS:
        raise Galaxy10Error(
            f"{LEVEL_VARIABLE}={level} in the environment is not allowed; expected {' or '.join(LEVELS)}"
        )
    if not verbose:
        logger.setLevel(level.upper())


def quiet_libraries() -> None:
    """Silence library messages that carry no information about the run, such as advertisements."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "torch.distributed", "timm"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The number of training batches.*",
        ".*GPU available but not used.*",
        ".*no logger configured.*",
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*lr_scheduler.step\\(\\).* before .*optimizer.step\\(\\).*",
        ".*Trying to infer the .batch_size.*",
        ".*You called .self.log.* but have no logger configured.*",
        ".*The ``compute`` method of metric.*",
        ".*recommended to use .*sync_dist.*",
        ".*across ranks.*",
        ".*in eval mode at the start of training.*",  # a frozen backbone's batch norms are, on purpose
        ".*weights_only.*",
        ".*resuming from a checkpoint that ended before.*",
        ".*requested to overfit but enabled train dataloader shuffling.*",
        ".*could not find the monitored key in the returned metrics.*",
        ".*barrier\\(\\).*",
        ".*srun.*command is available.*",
        ".*Using `DistributedSampler` with the dataloaders.*",  # rows that it repeats are counted once
    ):
        warnings.filterwarnings("ignore", message=message)
