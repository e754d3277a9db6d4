"""Build the loggers of a run from the `logger` section, and close them."""

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
    """Build every entry of the `logger` section, for `Trainer(logger=...)`.

    A class with a parameter `save_dir` that YAML does not set gets the run directory. All processes of a run build
    their loggers, as Lightning expects; only those of rank 0 write.

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
    """Close the loggers of this process; an exit code other than 0 marks the run as failed."""
    while _open:
        logger: Any = _open.pop()
        try:
            if hasattr(logger, "close_run"):
                logger.close_run(exit_code)
            else:
                logger.finalize("success" if exit_code == 0 else "failed")
        except Exception as error:  # a logger's failure does not change how the run ended
            log.warning(f"logger  {type(logger).__name__}: {first_line(error)}")
