"""Build the loggers of a run from its `logger` section, and close them with its exit code."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy10.config.building import build
from galaxy10.errors import Galaxy10Error, first_line

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

log = logging.getLogger(__name__)
_open: list["Logger"] = []


def build_loggers(section: Mapping[str, Any] | None, directory: Path) -> list["Logger"]:
    """Instantiate every entry of the `logger` section, for `Trainer(logger=...)`.

    A class that names `save_dir` in its signature and does not set it gets the run directory. All processes of a run
    build their loggers, as Lightning expects; only the first one's write.

    Raises:
        Galaxy10Error: a class cannot be imported or built, or is no Lightning Logger.
    """
    from lightning.pytorch.loggers import Logger

    loggers: list[Logger] = []
    for name, entry in (section or {}).items():
        if entry is None:  # switched off: logger.wandb=null
            continue
        logger = build(entry, {"save_dir": str(directory)}, f"logger.{name}")
        if not isinstance(logger, Logger):
            raise Galaxy10Error(f"logger.{name}._target_={entry['_target_']} is no Lightning Logger")
        loggers.append(logger)
        _open.append(logger)
    return loggers


def close_loggers(exit_code: int) -> None:
    """Close the loggers of this process; a code other than 0 marks the run as failed. Without loggers: do nothing."""
    while _open:
        logger: Any = _open.pop()
        try:
            if hasattr(logger, "close_run"):
                logger.close_run(exit_code)
            else:
                logger.finalize("success" if exit_code == 0 else "failed")
        except Exception as error:  # the run has ended as it has ended
            log.warning(f"logger  {type(logger).__name__}: {first_line(error)}")
