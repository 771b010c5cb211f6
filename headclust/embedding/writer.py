"""Blocks of features written by one thread, in order, while the model computes the next ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

_BEHIND = 2  # blocks that may wait to be written


@contextmanager
def writing_behind() -> Iterator[Callable[[Callable[[], None]], None]]:
    """A function to which the writing of each block is given, as a function without arguments, in order.

    Fetching features from a GPU, their checksum and syncing the disk take milliseconds per block, in which the model
    would wait. At most `_BEHIND` blocks are behind. At the end, and after an error of the caller, all that were given
    are written; after an error of writing, none of the later ones. That error is raised by the next call, or at the
    end.
    """
    pending: deque[Future[None]] = deque()
    is_broken = False

    def run(write: Callable[[], None]) -> None:
        nonlocal is_broken
        if is_broken:
            return
        try:
            write()
        except BaseException:
            is_broken = True
            raise

    with ThreadPoolExecutor(1, thread_name_prefix="write") as thread:  # waits at its end

        def give(write: Callable[[], None]) -> None:
            while len(pending) >= _BEHIND or (pending and pending[0].done()):
                pending.popleft().result()
            pending.append(thread.submit(run, write))

        yield give
        while pending:
            pending.popleft().result()
