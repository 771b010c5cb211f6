"""Progress bars and log lines, on stderr; bars only on a terminal. How texts and shares are written for a person."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

PROGRESS_LINES = "HEADCLUST_PROGRESS_LINES"  # set in the environment of a child process: bars are lines for the parent
_LINE_MARK = "\x1e"  # starts such a line; `printable` lets no other line start so
_LINE_SECONDS = 0.2  # between two lines

_busy: ContextVar[bool] = ContextVar("a bar is shown", default=False)
_quiet: ContextVar[bool] = ContextVar("neither bars nor lines are shown", default=False)
_last: ContextVar[list[str] | None] = ContextVar("lines for the end of the command", default=None)


def be_quiet(quiet: bool = True) -> None:
    """Show neither bars nor lines from now on, those of libraries included, or with False show ours again."""
    _quiet.set(quiet)
    if quiet:  # read when huggingface_hub and tqdm are imported
        os.environ.update({"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"})


def note(line: str) -> None:
    """Print one line on stderr, unless after `be_quiet`."""
    if not _quiet.get():
        alert(line)


def alert(line: str) -> None:
    """Print one line on stderr, also after `be_quiet`; do nothing if stderr is closed, or cannot take it."""
    if _is_open():
        with suppress(OSError):  # a log on a full disk does not end a run
            sys.stderr.write(printable(line) + "\n")


def last_note(line: str) -> None:
    """Print one line on stderr at the end of the command that runs; without a command, print it now."""
    lines = _last.get()
    if lines is None:
        alert(line)
    else:
        lines.append(line)


@contextmanager
def last_notes() -> Iterator[list[str]]:
    """A command: the lines of `last_note` inside, printed at the end, also if an error ends it."""
    lines = list[str]()
    outer = _last.set(lines)
    try:
        yield lines
    finally:
        _last.reset(outer)
        for line in lines:
            alert(line)


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


def percent(share: float) -> str:
    """A share in percent, with one decimal and the unit."""
    return f"{100 * share:.1f} %"


@contextmanager
def bar(description: str, total: int, *, start: int = 0) -> Iterator[Callable[[int], None]]:
    """A progress bar over `total` items, `start` of them already done.

    Yields:
        A function that takes the number of items just finished. It does nothing if stderr is not a terminal, or inside
        another bar, which shows the overall progress.
    """
    if os.environ.get(PROGRESS_LINES) and _is_open() and not _busy.get():
        outer = _busy.set(True)
        try:
            yield _lines(description, total, start)
        finally:
            _busy.reset(outer)
        return
    if _busy.get() or _quiet.get() or not (_is_open() and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Times(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(times(task.elapsed, task.time_remaining))

    times_column = Times(Column(no_wrap=True))  # the bar has the room that is left
    columns = (TextColumn("{task.description}", markup=False), BarColumn(None), MofNCompleteColumn(), times_column)
    outer = _busy.set(True)
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as progress:
            task = progress.add_task(printable(description), total=total, completed=start)
            yield lambda done: progress.advance(task, done)
    finally:
        _busy.reset(outer)


def _lines(description: str, total: int, start: int) -> Callable[[int], None]:
    """A function as that of `bar`, which writes a line for `parse_progress` from time to time."""
    finished, last = start, 0.0

    def advance(done: int) -> None:
        nonlocal finished, last
        finished += done
        if (now := time.monotonic()) - last >= _LINE_SECONDS or finished >= total:
            last = now
            with suppress(OSError):
                sys.stderr.write(f"{_LINE_MARK}{json.dumps([printable(description), finished, total])}\n")
                sys.stderr.flush()

    advance(0)
    return advance


def parse_progress(line: str) -> tuple[str, int, int] | None:
    """The (step, items done, items in all) of a line that `bar` wrote in a child process; None for any other line."""
    if not line.startswith(_LINE_MARK):
        return None
    try:
        step, done, total = json.loads(line.removeprefix(_LINE_MARK))
        return str(step), int(done), int(total)
    except (ValueError, TypeError):
        return None


def times(elapsed: float | None, remaining: float | None) -> str:
    """Seconds since the start and an estimate of those until the end, for example "1:01 elapsed, about 0:50 left"."""
    left = f", about {_clock(remaining)} left" if remaining else ""
    return f"{_clock(elapsed or 0)} elapsed{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
