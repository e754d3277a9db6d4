"""Progress of long work: a bar on a terminal, one line per minute elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

LINE_EVERY_S = 60.0


class EveryMinute:
    """A timer that is due once a minute. Consecutive pieces of work share one: each may be shorter than a minute.

    Args:
        clock: returns seconds since any fixed time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.restart()

    def restart(self) -> None:
        """Start a new minute, because another message was just shown."""
        self._due_at = self.clock() + LINE_EVERY_S

    def is_due(self) -> bool:
        """Return whether a minute has passed; if so, start a new one."""
        due = self.clock() >= self._due_at
        if due:
            self.restart()
        return due


class Progress:
    """Progress of one piece of work, shown on standard error.

    Args:
        description: the work, such as `reading images`.
        total: number of units; None if unknown.
        done: number of units done before, by an earlier command or before a restart.
        unit: name of the unit: images, batches, MB.
        bar: whether to draw a bar; None: if standard error is a terminal.
        every: timer for the lines that are logged if no bar is drawn.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        done: int = 0,
        *,
        unit: str = "images",
        bar: bool | None = None,
        every: EveryMinute | None = None,
    ):
        self.description, self.total, self.unit = description, total, unit
        self._every = every or EveryMinute()
        self._start, self._before, self._done = self._every.clock(), done, done
        self._rate = ""
        self._bar: Any = None
        if sys.stderr.isatty() if bar is None else bar:
            self._bar = _bar(description)
            self._task = self._bar.add_task(description, total=total, completed=done, rate="")
            self._bar.start()

    def update(self, done: int, images: int | None = None) -> None:
        """Show how much is done.

        Args:
            done: number of units done, including those done before.
            images: number of images processed since the start, if a unit is not an image.
        """
        self._done = done
        number, unit = (done - self._before, self.unit) if images is None else (images, "images")
        self._rate = f"{number / max(self._every.clock() - self._start, 1e-9):,.0f} {unit}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=self._rate)
        elif self._every.is_due():
            logger.info("%s", self.line())

    def line(self) -> str:
        """Return the progress, rate and time left: `reading images: 1,200 of 17,736, 480 images/s, 34 s left`."""
        of = "" if self.total is None else f" of {self.total:,}"
        unit = "" if self.unit == "images" else f" {self.unit}"
        left = self.seconds_left()
        parts = [f"{self.description}: {self._done:,}{of}{unit}", self._rate, f"{duration(left)} left" if left else ""]
        return ", ".join(part for part in parts if part)

    def seconds_left(self) -> float | None:
        """Return the remaining time at the average rate so far; None if total is unknown or nothing is done yet."""
        new = self._done - self._before
        if self.total is None or new <= 0:
            return None
        return max(0, self.total - self._done) * (self._every.clock() - self._start) / new

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def progress(
    description: str, total: int | None, done: int = 0, *, unit: str = "images"
) -> Iterator[Callable[[int], None]]:
    """Show progress; yield a function to call with the number of units done so far. Arguments as in Progress."""
    shown = Progress(description, total, done, unit=unit)
    try:
        yield shown.update
    finally:
        shown.close()


def duration(seconds: float) -> str:
    """Format a duration as hours and minutes, or minutes and seconds: `2 h 05 min`, `3 min 20 s`, `40 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _bar(description: str) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(description), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    return Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
