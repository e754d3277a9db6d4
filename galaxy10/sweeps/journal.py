"""The storage of a study: Optuna's journal file, which several processes append to, or a database."""

import os
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from galaxy10.errors import Galaxy10Error, first_line

_LOCK_GRACE_S = 10  # a lock is held for milliseconds; an older one belongs to a process that was killed
_BLOCK = 4096


class RepairingJournalBackend(JournalFileBackend):
    """Optuna's journal file, from which the incomplete line of a killed writer is removed before a line is appended.

    Otherwise the two lines would become one, and the journal unreadable.
    """

    def __init__(self, path: Path):
        super().__init__(str(path), lock_obj=_CuttingLock(path))


class _CuttingLock(JournalFileOpenLock):
    """The lock of the journal; while it is held, no other process is writing a line."""

    def __init__(self, path: Path):
        super().__init__(str(path), grace_period=_LOCK_GRACE_S)
        self._journal = path

    def acquire(self) -> bool:
        acquired = super().acquire()
        cut_torn_line(self._journal)
        return acquired


def cut_torn_line(path: Path) -> None:
    """Truncate a file after its last line break."""
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
    """Open the storage of a study.

    Args:
        directory: of the study; contains journal.log if there is no address.
        address: SQLAlchemy URL of a database; PostgreSQL needs no driver in it. None: the journal.

    Raises:
        Galaxy10Error: the storage cannot be opened; the message does not contain the password.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        if address is None:
            directory.mkdir(parents=True, exist_ok=True)
            return JournalStorage(RepairingJournalBackend((directory / "journal.log").resolve()))
        # Connections are tested before use: a trial survives a restart of the database.
        options: dict[str, Any] = {"pool_pre_ping": True}
        return RDBStorage(with_driver(address), engine_kwargs=options)
    except ImportError as error:
        raise Galaxy10Error(
            f'sweep.storage={without_password(address or "")}: {first_line(error)}; pip install "galaxy10[postgresql]"'
        ) from error
    except OSError as error:
        raise Galaxy10Error(f"{directory} cannot be written ({first_line(error)}); give another sweep.dir") from error
    except Exception as error:
        reason = first_line(error).replace(address or "\0", without_password(address or ""))
        where = f"sweep.storage={without_password(address)}" if address else str(directory / "journal.log")
        raise Galaxy10Error(f"{where} cannot be opened: {reason}") from error


def with_driver(address: str) -> str:
    """Return a database URL whose PostgreSQL driver is the one that galaxy10[postgresql] installs."""
    for short in ("postgres://", "postgresql://"):
        if address.startswith(short):
            return "postgresql+psycopg://" + address.removeprefix(short)
    return address


def without_password(address: str) -> str:
    """Return a database URL without its password."""
    scheme, mark, rest = address.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{mark}{user}{':***' if colon else ''}{at}{place}"
