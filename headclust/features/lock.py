"""One writer at a time: a lock file that says who holds it, taken over when that process is gone."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from headclust.disk import write_errors
from headclust.errors import BusyError
from headclust.progress import printable

_NAME = "lock"


@dataclass(frozen=True)
class Owner:
    """A process, told apart from a later one with the same pid by when it started.

    Args:
        host: The machine's name.
        pid: The process id there.
        start: Clock ticks from boot to the process's start; 0 where the system does not say (no /proc).
    """

    host: str
    pid: int
    start: int

    @staticmethod
    def current() -> Owner:
        """This process."""
        return Owner(socket.gethostname(), os.getpid(), _start(os.getpid()) or 0)

    def is_alive(self) -> bool:
        """Whether the process still runs. One on another machine cannot be asked, so it counts as alive."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it runs, as another user
        start = _start(self.pid)
        return start is not None and start == self.start


def _start(pid: int) -> int | None:
    """A process's start time, None when it is gone (or dead and not yet reaped), 0 when there is no /proc to ask."""
    if not Path("/proc/self/stat").exists():
        return 0
    try:
        # The second field, the command in parentheses, may hold spaces and parentheses of its own.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Holds `folder/lock` for this process, making the folder; removes both at the end, the folder if it is empty.

    Raises:
        BusyError: A process that is alive, or on another machine, holds it.
        HeadclustError: The folder cannot be made or written.
    """
    owner = Owner.current()
    with write_errors(folder):
        while not _acquire(folder, owner):
            pass  # its last writer removed the folder, or another machine was faster: look again
    try:
        yield
    finally:
        with suppress(OSError):  # a full or vanished disk must not hide the reason why we are leaving
            _release(folder, owner)


@contextmanager
def _guarded(folder: Path) -> Iterator[bool]:
    """Lets the processes of this machine in one by one; False when the folder went away meanwhile.

    Between judging a lock dead and replacing it, another process could do the same and remove our new one. The lock
    file itself cannot prevent that; a system lock on the folder can, and the system lets go of it when a process dies.
    """
    try:
        guard = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield folder.exists() and os.path.samestat(os.fstat(guard), folder.stat())
    finally:
        os.close(guard)


def _acquire(folder: Path, owner: Owner) -> bool:
    """Creates the lock file, in a dead process's place if need be. False: nothing was decided, try again."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / _NAME
    with _guarded(folder) as inside:
        if not inside:
            return False
        holder = _read_owner(lock)
        if holder is not None and holder.is_alive():
            raise _conflict(folder, holder)
        lock.unlink(missing_ok=True)
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, json.dumps(asdict(owner)).encode())
            os.fsync(descriptor)
        except OSError:  # the disk is full: leave things as they were
            lock.unlink()
            with suppress(OSError):
                folder.rmdir()
            raise
        finally:
            os.close(descriptor)
        return True


def _release(folder: Path, owner: Owner) -> None:
    with _guarded(folder) as inside:
        if inside and _read_owner(folder / _NAME) == owner:
            (folder / _NAME).unlink()
            folder.rmdir()


def _read_owner(lock: Path) -> Owner | None:
    """Who holds the lock; None when there is none, or its writer died before it said who it was."""
    try:
        return Owner(**json.loads(lock.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _conflict(folder: Path, holder: Owner) -> BusyError:
    who = f"process {holder.pid} on {printable(holder.host)}"
    step = f"wait for it, or, if that process is gone, delete {printable(str(folder / _NAME))}"
    return BusyError(f"{printable(str(folder))} is being written by {who}: {step}.")
