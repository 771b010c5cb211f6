"""One process that decodes images, and is ended from outside when its decoder hangs, crashes or eats all memory.

It is forked: it starts in milliseconds, shares what the parent has loaded, and nothing has to be pickled. Row numbers
and reasons travel as JSON through a pair of sockets, pixels through memory that both processes see.
"""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import gc
import json
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError

# States of a slot. A bad image goes back to WAITING: its reason is lost if the worker dies before it answers.
WAITING, WORKING, DONE = 0, 1, 2

# Seconds after which the parent ends a worker itself, should the worker's own alarm not have ended it.
_GRACE = 5.0
_BURIAL = 2.0
_PR_SET_PDEATHSIG = 1
_LONGEST_REASON = 300
_HANDLED = {signal.SIGINT, signal.SIGTERM, signal.SIGALRM}

# What a failure in a worker is raised as in the parent, by its name.
_KINDS = {kind.__name__: kind for kind in (ConflictError, FileFormatError, HeadclustError, MemoryError)}

Job = tuple[int, int]  # row, slot
Decode = Callable[[int, int], None]


@dataclass
class Worker:
    """A running worker process, as its parent sees it.

    Args:
        pid: Its process id.
        connection: The parent's end of the sockets.
        states: uint8 (slots,), shared with it: WAITING, WORKING or DONE.
        timeout: Seconds it may spend on an image.
    """

    pid: int
    connection: Connection
    states: NDArray[np.uint8]
    timeout: float
    gave_up: bool = field(default=False, init=False)

    def ask(self, jobs: Sequence[Job]) -> dict[int, str] | None:
        """Has it decode some rows into their slots: the reasons of the bad ones, or None when it died on the way.

        Raises:
            HeadclustError: The source of the images has gone or changed.
            MemoryError: There was not enough memory.
            RuntimeError: Reading failed in another way, which is a bug and not the image's fault.
        """
        try:
            self.connection.send_bytes(json.dumps(jobs).encode())
            if not self._answers([slot for _, slot in jobs]):
                return None
            answer = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            return None
        if answer["failed"]:
            kind, text = answer["failed"]
            raise _KINDS.get(kind, RuntimeError)(text)
        return {int(row): reason for row, reason in answer["bad"].items()}

    def _answers(self, slots: list[int]) -> bool:
        """Waits for its answer; False when no image was finished for longer than its own alarm can explain."""
        finished = -1
        while not self.connection.poll(self.timeout + _GRACE):
            before, finished = finished, int((self.states[slots] == DONE).sum())
            if finished == before:
                self.gave_up = True
                return False
        return True

    def kill(self) -> None:
        """Ends it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def bury(self) -> str:
        """Makes sure it is gone; returns why it went, as the reason of the image it was at."""
        self.connection.close()
        start = time.monotonic()
        while (waited := time.monotonic() - start) < _BURIAL:
            if self.gave_up or waited > _BURIAL / 2:
                self.kill()
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # someone else has collected it: the parent may ignore SIGCHLD
                return self._reason(-signal.SIGALRM) if self.gave_up else "its decoder died"
            if pid:
                return self._reason(os.waitstatus_to_exitcode(status))
            time.sleep(0.002)
        # Stuck in the kernel, on a disk that does not answer: it will never run a line of ours again.
        return self._reason(-signal.SIGALRM)

    def _reason(self, code: int) -> str:
        if self.gave_up or code == -signal.SIGALRM:
            return took_too_long(self.timeout)
        if code == -signal.SIGKILL:
            return "its decoder was killed (signal 9: perhaps the machine ran out of memory)"
        return (
            f"its decoder crashed (signal {-code})" if code < 0 else f"its decoder ended by itself (exit code {code})"
        )


def took_too_long(timeout: float) -> str:
    """The reason of an image that took longer than `timeout` seconds."""
    return f"took more than {timeout:g} s to read: ended"


def start_worker(decode: Decode, states: NDArray[np.uint8], timeout: float) -> Worker:
    """Forks a worker that decodes what it is asked for.

    Args:
        decode: Puts the image of a row into a slot, or raises DataError; opens itself whatever it reads from.
        states: uint8 (slots,), in shared memory.
        timeout: Seconds an image may take.

    Raises:
        HeadclustError: The system cannot fork, or has no process left.
    """
    if not hasattr(os, "fork"):
        raise HeadclustError("images are decoded in forked processes, which this system has not: use Linux or macOS.")
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    ours, theirs = map(_moved, Pipe())
    parent = os.getpid()
    # Until the worker has handlers of its own, Ctrl-C would make it run the parent's code.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        pid = _fork()
        if pid == 0:
            _live(theirs, decode, states, timeout, parent, prctl)
    except OSError as error:
        ours.close()
        raise HeadclustError(f"cannot start a process to decode images: {error.strerror}: end some others.") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
    return Worker(pid, ours, states, timeout)


def _moved(connection: Connection) -> Connection:
    """The same away from 0, 1 and 2: where the parent has closed those, complaints of C libraries would end here."""
    with connection:
        return Connection(fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def _fork() -> int:
    with warnings.catch_warnings():
        # From 3.12 on, Python warns that a lock held by another thread would stay locked in the child. The worker uses
        # nothing that our other threads lock: no torch, no HDF5, no logging.
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
        return os.fork()


def _live(
    connection: Connection,
    decode: Decode,
    states: NDArray[np.uint8],
    timeout: float,
    parent: int,
    prctl: Callable[..., int] | None,
) -> None:
    """A worker's whole life; never returns."""
    code = 1
    try:
        _detach(connection, parent, prctl)
        _serve(connection, decode, states, timeout)
        code = 0
    finally:
        os._exit(code)  # the parent's exit handlers and open files are not ours to finish


def _detach(connection: Connection, parent: int, prctl: Callable[..., int] | None) -> None:
    """Lets go of everything that is the parent's: its death is ours, its Ctrl-C and its open files are not."""
    if prctl:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        os._exit(1)
    signal.set_wakeup_fd(-1)
    faulthandler.disable()  # it would write to a descriptor that is another file by then
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Default action: the kernel ends us, even in a loop that never lets go of the interpreter.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    gc.freeze()  # an inherited object that was collected here would close a descriptor that is ours by now
    for descriptor in _descriptors():
        if descriptor > 2 and descriptor != connection.fileno():
            with suppress(OSError):  # the one the list was read through
                os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries complain there of images; reasons come as answers
    with suppress(OSError):  # when memory runs out, better a worker than the run
        Path("/proc/self/oom_score_adj").write_text("500")


def _descriptors() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    except OSError:  # a container without /dev and /proc
        return list(range(min(os.sysconf("SC_OPEN_MAX"), 65_536)))


def _serve(connection: Connection, decode: Decode, states: NDArray[np.uint8], timeout: float) -> None:
    """Decodes what it is asked for until the parent closes its end."""
    while True:
        try:
            jobs = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        bad: dict[int, str] = {}
        failed: list[str] = []
        for row, slot in jobs:
            states[slot] = WORKING
            signal.setitimer(signal.ITIMER_REAL, timeout)
            try:
                decode(row, slot)
                state = DONE
            except DataError as error:
                bad[row], state = _shortened(str(error)), WAITING
            except BaseException as error:
                failed, state = _failure(row, error), WAITING
            signal.setitimer(signal.ITIMER_REAL, 0)
            states[slot] = state
            if failed:
                break
        connection.send_bytes(json.dumps({"bad": bad, "failed": failed}).encode())


def _shortened(reason: str) -> str:
    """A reason of bounded length: it may quote what the image holds, and the longest sets the width of all."""
    return reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 3] + "..."


def _failure(row: int, error: BaseException) -> list[str]:
    if isinstance(error, MemoryError):
        return [MemoryError.__name__, f"image {row}: not enough memory"]
    if isinstance(error, HeadclustError):  # but no DataError: the source is to blame, not the image
        return [type(error).__name__, str(error)]
    text = "".join(traceback.format_exception(error, limit=-8)).strip()
    return [type(error).__name__, f"reading image {row} failed, which is a bug:\n{text}"]
