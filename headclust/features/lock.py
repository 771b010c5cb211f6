"""One writer per folder: a lock file that names the process that holds it.

The lock is a system lock (flock) on `FOLDER/lock`, which the system releases when the process dies. The text of the
file, JSON with host and process id, is for messages, and for machines whose network file system shares no system locks:
there the lock is a lease. Its holder changes the time of the file every minute, and after ten minutes without a change
another machine may take the lock. A holder that was only suspended sees this in `Lease.check`, and stops.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from filelock import Timeout, UnixFileLock

from headclust.disk import write_errors
from headclust.errors import BusyError, ConflictError, HeadclustError, one_line
from headclust.progress import printable

_NAME = "lock"
_MOST_BYTES = 4_096  # of a lock file that are read
# Seconds: between two signs of life, without one until another machine may take the lock, and after which one of
# several machines that take it at once has it.
_BEAT, LEASE, _SETTLED = 60.0, 600.0, 3.0


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Args:
        host: Name of its machine.
        pid: Its process id on that machine.
        beats: True if it gives signs of life; older versions do not.
    """

    host: str
    pid: int
    beats: bool = True


@dataclass(frozen=True)
class Lease:
    """The lock that this process holds.

    Args:
        folder: Its folder.
        owner: This process.
    """

    folder: Path
    owner: Owner

    def check(self) -> None:
        """Raise unless the lock is still that of this process.

        Raises:
            ConflictError: Another process has taken it, or its file was deleted.
        """
        holder = _read_owner(self.folder / _NAME)
        if holder != self.owner:
            who = f"process {holder.pid} on {printable(holder.host)} took it" if holder else "its file is gone"
            raise ConflictError(
                f"{printable(str(self.folder))}: this process has lost its lock ({who}), as it was away for long: "
                "run the same command again when no other does."
            )

    def beat(self, end: threading.Event) -> None:
        """Give a sign of life from time to time until `end`: change the time of the lock file."""
        while not end.wait(_BEAT):
            with suppress(OSError):  # a disk that is away for a moment
                if _read_owner(self.folder / _NAME) == self.owner:
                    os.utime(self.folder / _NAME)


@contextmanager
def writer_lock(folder: Path) -> Iterator[Lease]:
    """Hold `folder/lock` for this process. The folder is created; at the end it is removed if it is empty.

    Raises:
        BusyError: Another process holds the lock. The lock file of another machine counts as held until it is deleted,
            or has not been touched for ten minutes.
        HeadclustError: The folder cannot be created or written, or its file system has no locks.
    """
    owner = Owner(socket.gethostname(), os.getpid())
    with write_errors(folder):
        lock = _acquire(folder, owner)
    lease, end = Lease(folder, owner), threading.Event()
    try:
        # A thread, as a block of work or writing the file at the end may take longer than a lease.
        threading.Thread(target=lease.beat, args=(end,), daemon=True, name="lock").start()
    except RuntimeError as error:
        _remove(folder, owner)
        lock.release()
        raise HeadclustError(f"cannot start a thread: {one_line(error)}: end some other processes.") from error
    try:
        yield lease
    finally:
        end.set()
        _remove(folder, owner)
        with suppress(OSError):  # a full or lost disk must not hide the error that ends the block
            lock.release()


def is_held_elsewhere(folder: Path) -> bool:
    """True if the lock file of a folder names a process on another machine, dead or alive."""
    holder = _read_owner(folder / _NAME)
    return holder is not None and holder.host != socket.gethostname()


def _acquire(folder: Path, owner: Owner) -> UnixFileLock:
    path = folder / _NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ConflictError(f"{printable(str(path))} is not a file of headclust: move or delete it.")
        holder = _read_owner(path)
        foreign = holder is not None and holder.host != owner.host
        if foreign and not _is_dead(path, holder):
            raise _busy(folder, holder)
        # Without flock a lock of another kind would outlive a killed process, so that is an error.
        lock = UnixFileLock(
            path, blocking=False, thread_local=False, fallback_to_soft=False, on_acquired=partial(_sign, folder, owner)
        )
        try:
            lock.acquire()
        except Timeout:
            if path.exists():
                raise _busy(folder, _read_owner(path)) from None
        except FileNotFoundError:
            continue  # the last holder has just removed the folder
        except PermissionError:
            if not path.exists():
                raise
            raise _busy(folder, _read_owner(path)) from None  # the lock of another user
        else:
            if foreign:  # on a file system that shares no system locks, others may take it in the same moment
                time.sleep(_SETTLED)
                if _read_owner(path) != owner:
                    lock.release()
                    raise _busy(folder, _read_owner(path))
            return lock


def _is_dead(path: Path, holder: Owner | None) -> bool:
    """True if the holder, on another machine, has given no sign of life for longer than a lease."""
    if holder is None or not holder.beats:
        return False
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:  # its time is that of the file server, as the lock's is
            return os.fstat(file.fileno()).st_mtime - path.stat().st_mtime > LEASE
    except FileNotFoundError:  # released meanwhile
        return True


def _sign(folder: Path, owner: Owner, descriptor: int) -> None:
    """Write the owner into the locked file; if that fails, remove file and folder."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(asdict(owner)).encode())
    except OSError:
        _remove(folder, None)
        raise


def _remove(folder: Path, owner: Owner | None) -> None:
    """Remove the lock file if it names `owner`, then the folder if it is empty. The caller holds the lock."""
    with suppress(OSError):
        if _read_owner(folder / _NAME) == owner:
            (folder / _NAME).unlink()
            folder.rmdir()


def _read_owner(path: Path) -> Owner | None:
    """The owner that a lock file names; None if there is no file, or its text is incomplete or something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe does not wait for a writer
        try:
            text = os.read(descriptor, _MOST_BYTES)
        finally:
            os.close(descriptor)
        content = json.loads(text)
        return Owner(str(content["host"]), int(content["pid"]), content.get("beats") is True)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        return None


def _busy(folder: Path, holder: Owner | None) -> BusyError:
    who = f"process {holder.pid} on {printable(holder.host)}" if holder else "another process"
    step = f"wait for it, or, if that process is gone, delete {printable(str(folder / _NAME))}"
    if holder and holder.beats and holder.host != socket.gethostname():
        step += f" (free {LEASE / 60:.0f} minutes after its last sign of life)"
    return BusyError(f"{printable(str(folder))} is being written by {who}: {step}.")
