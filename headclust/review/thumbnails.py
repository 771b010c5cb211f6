"""Small and large copies of images, made on demand in the worker processes of `images.decoding`, and cached."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headclust.device import usable_cores
from headclust.errors import HeadclustError, one_line
from headclust.images.datasets import ImageSet
from headclust.images.decoding import decoded_batches
from headclust.images.decoding.pool import AHEAD
from headclust.report.images import Source, encode_webp

SIDES = (192, 1_200)  # pixels of the longer side of a small and of a large copy
_MAX_BYTES = 96_000_000  # of the cache: about 15,000 small copies
_TIMEOUT = 20.0  # seconds per image
_MOST_REASONS = 10_000  # images that cannot be read, the last ones
_MAX_WAITING = 600  # requests; the oldest are given up, as the page has long scrolled on

Copy = bytes | str  # a WebP file, or the reason why there is none


class Thumbnails:
    """Small and large copies of the images of a source. The newest request is served first: a person looks at it.

    Args:
        source: The images, and the row of each sample among them.
        workers: Number of processes that decode; one per core, at most 4, when None.
    """

    def __init__(self, source: Source, workers: int | None = None) -> None:
        self._images, self._rows = source.images, source.rows
        self._nothing = "" if source.images is not None else source.problem
        self._cache: OrderedDict[int, Copy] = OrderedDict()
        self._n_bytes = 0
        self._reasons: OrderedDict[int, str] = OrderedDict()
        self._waiting: OrderedDict[int, list[Future[Copy]]] = OrderedDict()  # by number of the copy
        self._changed = threading.Condition()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._n_workers = workers or min(4, usable_cores())

    def request(self, row: int, side: int) -> Future[Copy]:
        """The copy of a sample's image, later; `cancel` of the future gives the request up.

        Args:
            row: The sample.
            side: Index in `SIDES`.
        """
        number = len(SIDES) * row + side
        ready: Future[Copy] = Future()
        with self._changed:
            if number in self._cache:
                self._cache.move_to_end(number)
                ready.set_result(self._cache[number])
            elif self._images is None or self._rows[row] < 0:
                ready.set_result(self._nothing or "the image is no longer at its source")
            elif self._closed:
                ready.cancel()
            else:
                self._waiting.setdefault(number, []).append(ready)
                self._waiting.move_to_end(number)
                while len(self._waiting) > _MAX_WAITING:
                    for future in self._waiting.popitem(last=False)[1]:
                        future.cancel()
                self._start()
                self._changed.notify()
        return ready

    def reason(self, row: int) -> str:
        """The reason why a sample has no image, as far as it was tried; empty without one."""
        with self._changed:
            return self._reasons.get(row, "")

    def close(self) -> None:
        """End the processes."""
        with self._changed:
            self._closed = True
            for futures in self._waiting.values():
                for future in futures:
                    future.cancel()
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        """Start the threads, at the first request; the lock is held."""
        while len(self._threads) < self._n_workers:
            thread = threading.Thread(target=self._serve, name="thumbnails", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        """Make copies with one worker process until `close`; a source that fails is tried again at the next request."""
        assert self._images is not None
        decode, shape = _decoder(self._images, self._rows), (1, 1, max(SIDES) + 1, max(SIDES), 3)
        Image.init()  # in the parent, so that no worker has to load the readers of rarer formats
        while not self._closed:
            current: list[tuple[int, list[Future[Copy]]]] = []
            try:
                blocks = self._blocks(current)
                batches = decoded_batches(decode, blocks, shape, timeout=_TIMEOUT, workers=1, tries=1)
                with closing(batches):
                    for rows, pixels, bad in batches:
                        if rows:
                            number, futures = current.pop()
                            reason = bad.get(number)
                            copy: Copy = _encoded(pixels[0, 0]) if reason is None else str(reason)
                            self._finish(number, futures, copy, lasting=reason is None or not reason.passing)
            except HeadclustError as error:  # the source is gone, or no process can be started
                for number, futures in current:
                    self._finish(number, futures, one_line(error), lasting=False)

    def _blocks(self, current: list[tuple[int, list[Future[Copy]]]]) -> Iterator[range]:
        """A block per request, followed by as many empty ones as are decoded ahead, so that it comes out at once."""
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                number, futures = self._waiting.popitem()
                made = self._cache.get(number)  # another thread may have made it meanwhile
            # Several requests may wait for one copy: it is given up when all of them are.
            futures = [future for future in futures if future.set_running_or_notify_cancel()]
            if made is not None:
                for future in futures:
                    future.set_result(made)
            if not futures or made is not None:
                continue
            current.append((number, futures))
            yield range(number, number + 1)
            yield from (range(0) for _ in range(AHEAD))

    def _finish(self, number: int, futures: list[Future[Copy]], copy: Copy, *, lasting: bool = True) -> None:
        with self._changed:
            if lasting:
                self._n_bytes += len(copy) - len(self._cache.get(number, b""))
                self._cache[number] = copy
            self._reasons.pop(number // len(SIDES), None)
            if isinstance(copy, str):
                self._reasons[number // len(SIDES)] = copy
                if len(self._reasons) > _MOST_REASONS:
                    self._reasons.popitem(last=False)
            while self._n_bytes > _MAX_BYTES:
                self._n_bytes -= len(self._cache.popitem(last=False)[1])
        for future in futures:
            future.set_result(copy)


def _decoder(images: ImageSet, rows: NDArray[np.int64]) -> Callable[[int, NDArray[np.uint8]], None]:
    """A function that writes a copy to the upper left of its slot, and its size to the row below."""

    def decode(number: int, out: NDArray[np.uint8]) -> None:
        row, side = divmod(number, len(SIDES))
        image = images.read(int(rows[row]))
        image.thumbnail((SIDES[side], SIDES[side]), Image.Resampling.LANCZOS)
        out[0, : image.height, : image.width] = np.asarray(image)
        # Width and height as two bytes each: they may exceed 255.
        out[0, -1, 0, :2], out[0, -1, 1, :2] = divmod(image.width, 256), divmod(image.height, 256)

    return decode


def _encoded(pixels: NDArray[np.uint8]) -> bytes:
    width, height = (256 * int(pair[0]) + int(pair[1]) for pair in pixels[-1, :2, :2])
    return encode_webp(np.ascontiguousarray(pixels[:height, :width]))
