"""A process that decodes images and can be ended from outside if its decoder hangs, crashes or uses all memory.

It is forked: it starts in milliseconds, shares the parent's modules and data, and nothing has to be pickled. Row
numbers and reasons are sent as JSON through a pair of sockets; pixels are written into shared memory.
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

from headclust.errors import (
    ConflictError,
    DataError,
    FileFormatError,
    HeadclustError,
    PassingError,
    Reason,
    SourceError,
)

# States of a slot. After a bad image it is WAITING again: its reason is lost if the worker dies before it answers.
WAITING, WORKING, DONE = 0, 1, 2

# Seconds beyond the timeout after which the parent ends a worker that its own alarm has not ended.
_GRACE = 5.0
_REAP_SECONDS = 2.0
_PR_SET_PDEATHSIG = 1
_LONGEST_REASON = 300
_HANDLED = {signal.SIGINT, signal.SIGTERM, signal.SIGALRM}
# Signals of a decoder that fails at the content of an image; others come from the system, and may not come again.
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}

# Errors in a worker that are raised as the same error in the parent, by name.
_KINDS = {kind.__name__: kind for kind in (SourceError, ConflictError, FileFormatError, HeadclustError, MemoryError)}

Job = tuple[int, int]  # row, slot
Decode = Callable[[int, int], None]


@dataclass
class Worker:
    """The parent's handle of a worker process.

    Args:
        pid: Its process id.
        connection: The parent's end of the sockets.
        states: uint8 (slots,), in shared memory: WAITING, WORKING or DONE.
        timeout: Seconds that it may spend per image.
    """

    pid: int
    connection: Connection
    states: NDArray[np.uint8]
    timeout: float
    timed_out: bool = field(default=False, init=False)

    def decode(self, jobs: Sequence[Job]) -> dict[int, Reason] | None:
        """Decode rows into their slots in the worker; return the reasons of the bad rows, or None if the worker died.

        Raises:
            HeadclustError: The source of the images is gone or has changed.
            MemoryError: There was not enough memory.
            RuntimeError: Reading failed for another reason, which is a bug, not a bad image.
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
        return {int(row): Reason(text, passing) for row, (text, passing) in answer["bad"].items()}

    def _answers(self, slots: list[int]) -> bool:
        """Wait for its answer; False if it has finished no image for longer than its own alarm allows."""
        finished = -1
        while not self.connection.poll(self.timeout + _GRACE):
            before, finished = finished, int((self.states[slots] == DONE).sum())
            if finished == before:
                self.timed_out = True
                return False
        return True

    def kill(self) -> None:
        """Kill the process."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> Reason:
        """Wait for its end, or kill it; return why it ended, as the reason of the image that it was decoding."""
        self.connection.close()
        start = time.monotonic()
        while (waited := time.monotonic() - start) < _REAP_SECONDS:
            if self.timed_out or waited > _REAP_SECONDS / 2:
                self.kill()
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # already reaped: the parent may ignore SIGCHLD
                return self._reason(-signal.SIGALRM) if self.timed_out else Reason("its decoder died", True)
            if pid:
                return self._reason(os.waitstatus_to_exitcode(status))
            time.sleep(0.002)
        # It waits in the kernel for a disk that does not answer, and will never run user code again.
        return self._reason(-signal.SIGALRM)

    def _reason(self, code: int) -> Reason:
        if self.timed_out or code == -signal.SIGALRM:
            return timeout_reason(self.timeout)
        if code == -signal.SIGKILL:
            return Reason("its decoder was killed (signal 9: perhaps the machine ran out of memory)", True)
        if code < 0:
            return Reason(f"its decoder crashed (signal {-code})", -code not in _CRASHES)
        return Reason(f"its decoder ended by itself (exit code {code})", False)


def timeout_reason(timeout: float) -> Reason:
    """The reason of an image that took longer than `timeout` seconds."""
    return Reason(f"took more than {timeout:g} s to read: ended", True)


def start_worker(decode: Decode, states: NDArray[np.uint8], timeout: float) -> Worker:
    """Fork a worker.

    Args:
        decode: Function that writes the image of a row into a slot, or raises DataError; it must open the files that it
            reads itself.
        states: uint8 (slots,), in shared memory.
        timeout: Seconds that an image may take.

    Raises:
        HeadclustError: The system cannot fork, or allows no more processes.
    """
    if not hasattr(os, "fork"):
        raise HeadclustError("images are decoded in forked processes, which this system lacks: use Linux or macOS.")
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    parent_end, worker_end = map(_above_stderr, Pipe())
    parent = os.getpid()
    # Until the worker has set its own handlers, Ctrl-C would run those of the parent in it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        pid = _fork()
        if pid == 0:
            _worker_main(worker_end, decode, states, timeout, parent, prctl)
    except OSError as error:
        parent_end.close()
        raise HeadclustError(f"cannot start a process to decode images: {error.strerror}: end some others.") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        worker_end.close()
    return Worker(pid, parent_end, states, timeout)


def _above_stderr(connection: Connection) -> Connection:
    """The connection on a descriptor above 2: if the parent has closed stderr, C libraries would write into it."""
    with connection:
        return Connection(fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def _fork() -> int:
    with warnings.catch_warnings():
        # From 3.12 on, Python warns that a lock held by another thread would stay locked in the child. The worker uses
        # nothing that other threads of headclust lock: no torch, no HDF5, no logging.
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
        return os.fork()


def _worker_main(
    connection: Connection,
    decode: Decode,
    states: NDArray[np.uint8],
    timeout: float,
    parent: int,
    prctl: Callable[..., int] | None,
) -> None:
    """Run the worker; never return."""
    code = 1
    try:
        _detach(connection, parent, prctl)
        _serve(connection, decode, states, timeout)
        code = 0
    finally:
        os._exit(code)  # run no exit handlers of the parent, and flush none of its files


def _detach(connection: Connection, parent: int, prctl: Callable[..., int] | None) -> None:
    """Give up the parent's signal handlers and open files; end the worker when the parent dies."""
    if prctl:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    signal.set_wakeup_fd(-1)
    faulthandler.disable()  # it would write to a descriptor that is another file now
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Default action: the kernel ends the process, even in C code that never returns to the interpreter.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    gc.freeze()  # collecting an inherited object could close a descriptor that the worker has reused
    for descriptor in _descriptors():  # the lock of a feature file among them
        if descriptor > 2 and descriptor != connection.fileno():
            with suppress(OSError):  # closed already: the descriptor through which the list was read
                os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # hide warnings of C libraries; reasons are sent as answers
    with suppress(OSError):  # if memory runs out, the system should kill a worker, not the run
        Path("/proc/self/oom_score_adj").write_text("500")


def _descriptors() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    except OSError:  # a container without /dev and /proc
        return list(range(min(os.sysconf("SC_OPEN_MAX"), 65_536)))


def _serve(connection: Connection, decode: Decode, states: NDArray[np.uint8], timeout: float) -> None:
    """Decode rows on request until the parent closes its end."""
    while True:
        try:
            jobs = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        bad: dict[int, tuple[str, bool]] = {}
        failed: list[str] = []
        for row, slot in jobs:
            states[slot] = WORKING
            signal.setitimer(signal.ITIMER_REAL, timeout)
            try:
                decode(row, slot)
                state = DONE
            except DataError as error:
                bad[row], state = (_shortened(str(error)), isinstance(error, PassingError)), WAITING
            except BaseException as error:
                failed, state = _failure(row, error), WAITING
            signal.setitimer(signal.ITIMER_REAL, 0)
            states[slot] = state
            if failed:
                break
        connection.send_bytes(json.dumps({"bad": bad, "failed": failed}).encode())


def _shortened(reason: str) -> str:
    """The reason, cut to a bounded length: it may quote the image, and the longest sets the width of them all."""
    return reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 3] + "..."


def _failure(row: int, error: BaseException) -> list[str]:
    if isinstance(error, MemoryError):
        return [MemoryError.__name__, f"image {row}: not enough memory"]
    if isinstance(error, HeadclustError):  # never a DataError: the problem is the source, not the image
        return [type(error).__name__, str(error)]
    text = "".join(traceback.format_exception(error, limit=-8)).strip()
    return [type(error).__name__, f"reading image {row} failed, which is a bug:\n{text}"]
