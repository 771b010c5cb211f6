"""One writer per folder: a lock file that names the process that holds it.

The lock is a system lock (flock) on `FOLDER/lock`, which the system releases when the process dies. The text of the
file, JSON with host and process id, is for messages, and for machines whose network file system shares no system locks.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from filelock import Timeout, UnixFileLock

from headclust.disk import write_errors
from headclust.errors import BusyError, ConflictError
from headclust.progress import printable

_NAME = "lock"
_MOST_BYTES = 4_096  # of a lock file that are read


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Args:
        host: Name of its machine.
        pid: Its process id on that machine.
    """

    host: str
    pid: int


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold `folder/lock` for this process. The folder is created; at the end it is removed if it is empty.

    Raises:
        BusyError: Another process holds the lock. The lock file of another machine counts as held until it is deleted.
        HeadclustError: The folder cannot be created or written, or its file system has no locks.
    """
    owner = Owner(socket.gethostname(), os.getpid())
    with write_errors(folder):
        lock = _acquire(folder, owner)
    try:
        yield
    finally:
        _remove(folder, owner)
        with suppress(OSError):  # a full or lost disk must not hide the error that ends the block
            lock.release()


def _acquire(folder: Path, owner: Owner) -> UnixFileLock:
    path = folder / _NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ConflictError(f"{printable(str(path))} is not a file of headclust: move or delete it.")
        holder = _read_owner(path)
        if holder is not None and holder.host != owner.host:
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
            return lock


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
        return Owner(str(content["host"]), int(content["pid"]))
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None


def _busy(folder: Path, holder: Owner | None) -> BusyError:
    who = f"process {holder.pid} on {printable(holder.host)}" if holder else "another process"
    step = f"wait for it, or, if that process is gone, delete {printable(str(folder / _NAME))}"
    return BusyError(f"{printable(str(folder))} is being written by {who}: {step}.")
