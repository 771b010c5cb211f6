"""Progress bars and log lines, on stderr; bars only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_busy: ContextVar[bool] = ContextVar("a bar is shown", default=False)
_quiet: ContextVar[bool] = ContextVar("lines are not printed", default=False)


def note(line: str) -> None:
    """Print one line on stderr; do nothing if stderr is closed, or in the context of `quiet`."""
    if _is_open() and not _quiet.get():
        sys.stderr.write(printable(line) + "\n")


@contextmanager
def quiet() -> Iterator[None]:
    """Print no lines in the context: they have been printed before, or are about something else than its result."""
    outer = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(outer)


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
    if _busy.get() or not (_is_open() and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    outer = _busy.set(True)
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(printable(description), total=total, completed=start)
            yield lambda done: progress.advance(task, done)
    finally:
        _busy.reset(outer)
