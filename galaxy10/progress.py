"""How far long work is: a bar on a terminal, a line a minute elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

LINE_EVERY_S = 60.0


class EveryMinute:
    """When the next line is due. Works that follow each other share one, or none of them would last a minute.

    Args:
        clock: gives seconds; its zero does not matter.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.restart()

    def restart(self) -> None:
        """Wait a minute from now: something else has just been said."""
        self._due_at = self.clock() + LINE_EVERY_S

    def is_due(self) -> bool:
        """Whether a minute has passed; the next one then begins."""
        due = self.clock() >= self._due_at
        if due:
            self.restart()
        return due


class Progress:
    """How far one long work is, shown on standard error.

    Args:
        what: the work, such as `reading images`.
        total: how many units there are; None where nobody knows.
        done: those that were done before, by an earlier command or before a restart.
        unit: what is counted: images, batches of them, MB.
        bar: whether to draw a bar; None: where standard error is a terminal.
        every: when a line is due, where no bar is drawn.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        done: int = 0,
        *,
        unit: str = "images",
        bar: bool | None = None,
        every: EveryMinute | None = None,
    ):
        self.what, self.total, self.unit = what, total, unit
        self._every = every or EveryMinute()
        self._start, self._before, self._done = self._every.clock(), done, done
        self._rate = ""
        self._bar: Any = None
        if sys.stderr.isatty() if bar is None else bar:
            self._bar = _bar(what)
            self._task = self._bar.add_task(what, total=total, completed=done, rate="")
            self._bar.start()

    def update(self, done: int, images: int | None = None) -> None:
        """Say how much is done.

        Args:
            done: units, with those that were done before.
            images: those seen since the beginning, where a unit is not an image.
        """
        self._done = done
        number, unit = (done - self._before, self.unit) if images is None else (images, "images")
        self._rate = f"{number / max(self._every.clock() - self._start, 1e-9):,.0f} {unit}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=self._rate)
        elif self._every.is_due():
            logger.info("%s", self.line())

    def line(self) -> str:
        """Return how far it is, how fast, and what is left: `reading images: 1,200 of 17,736, 480 images/s, …`."""
        of = "" if self.total is None else f" of {self.total:,}"
        unit = "" if self.unit == "images" else f" {self.unit}"
        left = self.seconds_left()
        parts = [f"{self.what}: {self._done:,}{of}{unit}", self._rate, f"{duration(left)} left" if left else ""]
        return ", ".join(part for part in parts if part)

    def seconds_left(self) -> float | None:
        """Return how long the rest takes at the pace so far; None where that is not known."""
        new = self._done - self._before
        if self.total is None or new <= 0:
            return None
        return max(0, self.total - self._done) * (self._every.clock() - self._start) / new

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def progress(what: str, total: int | None, done: int = 0, *, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Show how far some work is: gives a function to call with what is done so far. Arguments as of Progress."""
    shown = Progress(what, total, done, unit=unit)
    try:
        yield shown.update
    finally:
        shown.close()


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds: `2 h 05 min`, `3 min 20 s`, `40 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _bar(what: str) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    return Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
