"""Where a study is kept: Optuna's journal, one file that any number of processes append to, or a database."""

import os
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from galaxy10.errors import Galaxy10Error, first_line

_LOCK_GRACE_S = 10  # a lock is held for milliseconds; one that is older was left by a process that was killed
_BLOCK = 4096


class WholeLines(JournalFileBackend):
    """Optuna's journal file; what a killed writer left as half a line is cut off before the next line is appended.

    Without that, the next line melts into the torn one and the journal cannot be read again.
    """

    def __init__(self, path: Path):
        super().__init__(str(path), lock_obj=_CuttingLock(path))


class _CuttingLock(JournalFileOpenLock):
    """Held while something is appended: the one moment at which nobody else can be in the middle of a line."""

    def __init__(self, path: Path):
        super().__init__(str(path), grace_period=_LOCK_GRACE_S)
        self._journal = path

    def acquire(self) -> bool:
        taken = super().acquire()
        cut_torn_line(self._journal)
        return taken


def cut_torn_line(path: Path) -> None:
    """Cut off what follows the last line break of a file."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def open_storage(directory: Path, address: str | None) -> BaseStorage:
    """The storage of a study.

    Args:
        directory: the study's; holds journal.log where no address is given.
        address: of a database, as SQLAlchemy reads it; its driver may be left out for PostgreSQL.

    Raises:
        Galaxy10Error: it cannot be opened; a password in the address is not repeated.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        if address is None:
            directory.mkdir(parents=True, exist_ok=True)
            return JournalStorage(WholeLines((directory / "journal.log").resolve()))
        # Connections are tried before use and not kept: a database that was restarted is no reason to end a trial.
        options: dict[str, Any] = {"pool_pre_ping": True}
        return RDBStorage(with_driver(address), engine_kwargs=options)
    except ImportError as error:
        raise Galaxy10Error(
            f'sweep.storage={without_password(address or "")}: {first_line(error)}; pip install "galaxy10[postgresql]"'
        ) from error
    except OSError as error:
        raise Galaxy10Error(f"{directory} cannot be written ({first_line(error)}); set sweep.dir") from error
    except Exception as error:
        reason = first_line(error).replace(address or "\0", without_password(address or ""))
        where = f"sweep.storage={without_password(address)}" if address else str(directory / "journal.log")
        raise Galaxy10Error(f"{where} cannot be opened: {reason}") from error


def with_driver(address: str) -> str:
    """`postgresql://` names a driver that is not the one installed with galaxy10[postgresql]."""
    for short in ("postgres://", "postgresql://"):
        if address.startswith(short):
            return "postgresql+psycopg://" + address.removeprefix(short)
    return address


def without_password(address: str) -> str:
    """An address as it may be shown."""
    scheme, mark, rest = address.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{mark}{user}{':***' if colon else ''}{at}{place}"
