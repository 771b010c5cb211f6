"""Progress bars and log lines, on stderr; bars only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_busy: ContextVar[bool] = ContextVar("a bar is shown", default=False)
_quiet: ContextVar[bool] = ContextVar("neither bars nor lines are shown", default=False)


def be_quiet(quiet: bool = True) -> None:
    """Show neither bars nor lines from now on, or with False show them again."""
    _quiet.set(quiet)


def note(line: str) -> None:
    """Print one line on stderr; do nothing if stderr is closed, or after `be_quiet`."""
    if _is_open() and not _quiet.get():
        sys.stderr.write(printable(line) + "\n")


def _is_open() -> bool:
    """True if stderr can be written; it is None if it was closed before Python started."""
    return sys.stderr is not None and not sys.stderr.closed


def printable(text: str) -> str:
    """`text` with control characters escaped, so that a file name cannot move the cursor or clear the screen."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


@contextmanager
def bar(description: str, total: int, *, start: int = 0) -> Iterator[Callable[[int], None]]:
    """A progress bar over `total` items, `start` of them already done.

    Yields:
        A function that takes the number of items just finished. It does nothing if stderr is not a terminal, or inside
        another bar, which shows the overall progress.
    """
    if _busy.get() or _quiet.get() or not (_is_open() and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Times(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(times(task.elapsed, task.time_remaining))

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), Times())
    outer = _busy.set(True)
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(printable(description), total=total, completed=start)
            yield lambda done: progress.advance(task, done)
    finally:
        _busy.reset(outer)


def times(elapsed: float | None, remaining: float | None) -> str:
    """Seconds since the start and an estimate of those until the end, for example "1:01 elapsed, about 0:50 left"."""
    left = f", about {_clock(remaining)} left" if remaining else ""
    return f"{_clock(elapsed or 0)} elapsed{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
