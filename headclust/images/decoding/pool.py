"""Workers as many as there are cores, kept busy a few batches ahead of the model, and replaced when they die."""

from __future__ import annotations

import math
import mmap
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from headclust.device import usable_cores
from headclust.errors import HeadclustError
from headclust.images.decoding.worker import DONE, WAITING, WORKING, Job, Worker, start_worker

# Batches decoded ahead of the model: enough to keep it busy over a few slow images, and all that is held in memory.
AHEAD = 2
# Most rows a worker is asked for at a time: waking the parent for each would cost more than decoding a small image.
_CHUNK = 8
# A machine that was suspended, or short of memory for a moment, must not cost an image.
_TRIES = 2
_STILLBORN = 3

Pixels = NDArray[np.uint8]
Batch = tuple[range, Pixels, dict[int, str]]


def decoded_batches(
    decode: Callable[[int, Pixels], None],
    blocks: Iterable[range],
    shape: tuple[int, ...],
    *,
    timeout: float = 60.0,
    workers: int | None = None,
    tries: int = _TRIES,
) -> Generator[Batch]:
    """Decodes blocks of rows one after the other, some ahead of where the caller is.

    Yields a block's rows, its pixels uint8 (planes, batch, height, width, 3) and the reasons of the rows that cannot be
    decoded. The pixels are always of the full shape: slots of bad rows, and those after the last row, are black. They
    are overwritten after the next block is asked for. Closing the generator ends the workers at once.

    Args:
        decode: Puts a row's image into uint8 (planes, height, width, 3), or raises DataError. Runs in other processes,
            and opens itself whatever it reads from.
        blocks: Rows of each block, at most `batch`.
        shape: (planes, batch, height, width, 3).
        timeout: Seconds an image may take. For one that takes longer, or whose decoder dies, see `tries`.
        workers: Processes; `n_workers(batch)` unless given.
        tries: How often an image's decoder may die before the image counts as one that cannot be decoded.

    Raises:
        HeadclustError: There is no process or no memory to be had.
        RuntimeError: `decode` raised something else: a bug.
    """
    pool = _Pool(decode, shape, timeout, workers or n_workers(shape[1]), tries)
    ahead: deque[tuple[range, int, list[Future[dict[int, str]]]]] = deque()
    try:
        for number, rows in enumerate(blocks):
            buffer = number % (AHEAD + 1)
            ahead.append((rows, buffer, pool.submit(rows, buffer)))
            if len(ahead) > AHEAD:
                yield pool.collect(*ahead.popleft())
        while ahead:
            yield pool.collect(*ahead.popleft())
    finally:
        pool.close()


def n_workers(batch_size: int) -> int:
    """One a core that this process may use, and none without an image of its own."""
    return min(usable_cores(), batch_size)


class _Pool:
    """A thread a worker: it hands over rows, waits, and puts a new worker in a dead one's place."""

    def __init__(
        self, decode: Callable[[int, Pixels], None], shape: tuple[int, ...], timeout: float, workers: int, tries: int
    ) -> None:
        planes, self._batch, *image = shape
        self._pixels = _shared((AHEAD + 1, planes, self._batch, *image))
        self._states = _shared(((AHEAD + 1) * self._batch,))
        self._decode, self._timeout, self._tries = decode, timeout, tries
        self._chunk = max(1, min(_CHUNK, self._batch // workers))
        self._lock, self._closed = threading.Lock(), False
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        try:
            for _ in range(workers):  # from here, not from the threads: the fewer there are at a fork the better
                self._idle.append(self._start())
        except BaseException:
            self.close()
            raise

    def submit(self, rows: range, buffer: int) -> list[Future[dict[int, str]]]:
        """Begins with a block."""
        first = buffer * self._batch
        self._states[first : first + self._batch] = WAITING
        jobs = [(row, first + i) for i, row in enumerate(rows)]
        return [self._threads.submit(self._run, jobs[i : i + self._chunk]) for i in range(0, len(jobs), self._chunk)]

    def collect(self, rows: range, buffer: int, decoding: list[Future[dict[int, str]]]) -> Batch:
        """Waits for a block."""
        bad: dict[int, str] = {}
        for future in decoding:
            bad.update(future.result())
        pixels = self._pixels[buffer]
        pixels[:, len(rows) :] = 0
        pixels[:, [row - rows.start for row in bad]] = 0
        return rows, pixels, {row: bad[row] for row in sorted(bad)}

    def close(self) -> None:
        """Ends all workers; returns when they are gone."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.bury()
        self._workers.clear()

    def _run(self, jobs: list[Job]) -> dict[int, str]:
        """Decodes some rows, whatever becomes of the workers; returns the reasons of the bad ones."""
        bad: dict[int, str] = {}
        deaths: Counter[int] = Counter()
        worker = self._idle.pop() if self._idle else self._start()
        while jobs:
            try:
                answer = worker.ask(jobs)
            except BaseException:
                self._idle.append(worker)  # it lives, and says what is wrong with us
                raise
            if answer is not None:
                bad.update(answer)
                break
            reason = self._bury(worker)
            at = next((row for row, slot in jobs if self._states[slot] == WORKING), -1)
            deaths[at] += 1
            if deaths[-1] == _STILLBORN:
                raise HeadclustError(f"the processes that decode images die at once ({reason}): look at the system.")
            if at >= 0 and deaths[at] == self._tries:
                bad[at] = reason
            jobs = [(row, slot) for row, slot in jobs if self._states[slot] != DONE and row not in bad]
            for _, slot in jobs:
                self._states[slot] = WAITING
            worker = self._start()
        self._idle.append(worker)
        return bad

    def _start(self) -> Worker:
        with self._lock:
            if self._closed:
                raise CancelledError
            worker = start_worker(self._decode_slot, self._states, self._timeout)
            self._workers.append(worker)
            return worker

    def _bury(self, worker: Worker) -> str:
        with self._lock:
            if self._closed:
                raise CancelledError
            self._workers.remove(worker)
        return worker.bury()

    def _decode_slot(self, row: int, slot: int) -> None:
        buffer, i = divmod(slot, self._batch)
        self._decode(row, self._pixels[buffer, :, i])


def _shared(shape: tuple[int, ...]) -> Pixels:
    """Zeros that a forked process shares with this one.

    Raises:
        HeadclustError: There is not enough memory.
    """
    size = math.prod(shape)
    try:
        return np.frombuffer(mmap.mmap(-1, size), np.uint8).reshape(shape)
    except (OSError, OverflowError, MemoryError) as error:
        step = "choose a smaller batch size, or fewer views"
        raise HeadclustError(f"no memory for {size / 1e6:.0f} MB of pixels: {step}.") from error
