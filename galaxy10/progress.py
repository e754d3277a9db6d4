"""How far a long command is: a bar with pictures per second on a terminal, a line a minute elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LINE_EVERY_S = 60.0


@contextmanager
def watched(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of pictures done so far. done: those of an earlier command."""
    start, line_at = time.monotonic(), time.monotonic() + _LINE_EVERY_S

    def rate(now_done: int) -> str:
        return f"{(now_done - done) / max(time.monotonic() - start, 1e-9):,.0f} images/s"

    if not sys.stderr.isatty():

        def tell(now_done: int) -> None:
            nonlocal line_at
            if time.monotonic() >= line_at:
                print(f"{what} {now_done:,} of {total:,}, {rate(now_done)}", file=sys.stderr, flush=True)
                line_at = time.monotonic() + _LINE_EVERY_S

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done, rate="")
        yield lambda now_done: bar.update(task, completed=now_done, rate=rate(now_done))
