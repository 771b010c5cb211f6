"""One worker process per core, which decode a few batches ahead of the model and are replaced when they die."""

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
from headclust.errors import HeadclustError, Reason
from headclust.images.decoding.worker import DONE, WAITING, WORKING, Job, Worker, start_worker
from headclust.shards import local_processes

# Batches decoded ahead of the model: enough to cover a few slow images. This many more are held in memory.
AHEAD = 2
# Most rows per request to a worker: waking the parent per row would cost more than decoding a small image.
_CHUNK = 8
# Two tries: a machine that was suspended, or short of memory for a moment, must not lose an image.
_TRIES = 2
_MAX_STARTUP_DEATHS = 3  # of workers that die before they decode an image

Pixels = NDArray[np.uint8]
Batch = tuple[range, Pixels, dict[int, Reason]]


def decoded_batches(
    decode: Callable[[int, Pixels], None],
    blocks: Iterable[range],
    shape: tuple[int, ...],
    *,
    timeout: float = 60.0,
    workers: int | None = None,
    tries: int = _TRIES,
) -> Generator[Batch]:
    """Decode blocks of rows in order, some blocks ahead of the caller.

    Yields per block its rows, its pixels uint8 (planes, batch, height, width, 3), and the reasons of the rows that
    cannot be decoded. The pixels always have the full shape: slots of bad rows, and those after the last row, are
    black. They are overwritten when the next block is requested. Closing the generator ends the workers at once.

    Args:
        decode: Function that writes a row's image into uint8 (planes, height, width, 3), or raises DataError. It runs
            in other processes, and must open the files that it reads itself.
        blocks: Rows of each block, at most `batch`.
        shape: (planes, batch, height, width, 3).
        timeout: Seconds that an image may take. For images that take longer, or whose decoder dies, see `tries`.
        workers: Number of processes; `n_workers(batch)` by default.
        tries: Deaths of its decoder after which an image counts as unreadable.

    Raises:
        HeadclustError: No process can be started, or there is not enough memory.
        RuntimeError: `decode` raised another error, which is a bug.
    """
    pool = _Pool(decode, shape, timeout, workers or n_workers(shape[1]), tries)
    ahead: deque[tuple[range, int, list[Future[dict[int, Reason]]]]] = deque()
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
    """The number of workers: one per core of this process's share, but at most one per image of a batch."""
    return max(1, min(usable_cores() // local_processes(), batch_size))


class _Pool:
    """One thread per worker, which sends it rows, waits, and replaces it if it dies."""

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
            for _ in range(workers):
                # In a thread: Ctrl-C in the main thread would be raised in what Python calls around a fork, where it is
                # ignored and leaves a lock behind.
                self._idle.append(self._threads.submit(self._start).result())
        except BaseException:
            self.close()
            raise

    def submit(self, rows: range, buffer: int) -> list[Future[dict[int, Reason]]]:
        """Start decoding a block."""
        first = buffer * self._batch
        self._states[first : first + self._batch] = WAITING
        jobs = [(row, first + i) for i, row in enumerate(rows)]
        return [self._threads.submit(self._run, jobs[i : i + self._chunk]) for i in range(0, len(jobs), self._chunk)]

    def collect(self, rows: range, buffer: int, decoding: list[Future[dict[int, Reason]]]) -> Batch:
        """Wait for a block."""
        bad: dict[int, Reason] = {}
        for future in decoding:
            bad.update(future.result())
        pixels = self._pixels[buffer]
        pixels[:, len(rows) :] = 0
        pixels[:, [row - rows.start for row in bad]] = 0
        return rows, pixels, {row: bad[row] for row in sorted(bad)}

    def close(self) -> None:
        """End all workers; return when they are gone."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.reap()
        self._workers.clear()

    def _run(self, jobs: list[Job]) -> dict[int, Reason]:
        """Decode rows, replacing workers that die; return the reasons of the bad rows."""
        bad: dict[int, Reason] = {}
        deaths: Counter[int] = Counter()
        worker = self._idle.pop() if self._idle else self._start()
        while jobs:
            try:
                answer = worker.decode(jobs)
            except BaseException:
                self._idle.append(worker)  # it is alive: it reported the error
                raise
            if answer is not None:
                bad.update(answer)
                break
            reason = self._remove(worker)
            current = next((row for row, slot in jobs if self._states[slot] == WORKING), -1)
            deaths[current] += 1
            if deaths[-1] == _MAX_STARTUP_DEATHS:
                raise HeadclustError(f"the processes that decode images die at once ({reason}): check the system.")
            if current >= 0 and deaths[current] == self._tries:
                bad[current] = reason
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

    def _remove(self, worker: Worker) -> Reason:
        with self._lock:
            if self._closed:
                raise CancelledError
            self._workers.remove(worker)
        return worker.reap()

    def _decode_slot(self, row: int, slot: int) -> None:
        buffer, i = divmod(slot, self._batch)
        self._decode(row, self._pixels[buffer, :, i])


def _shared(shape: tuple[int, ...]) -> Pixels:
    """Zeros in memory that forked processes share with this one.

    Raises:
        HeadclustError: There is not enough memory.
    """
    size = math.prod(shape)
    try:
        return np.frombuffer(mmap.mmap(-1, size), np.uint8).reshape(shape)
    except (OSError, OverflowError, MemoryError) as error:
        step = "choose a smaller batch size, or fewer views"
        raise HeadclustError(f"no memory for {size / 1e6:.0f} MB of pixels: {step}.") from error
