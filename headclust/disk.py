"""Writing so that it lasts: space taken up front, failures in one line, folders synced."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headclust.errors import HeadclustError
from headclust.progress import printable

_CHUNK = 1 << 24
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TEMPORARY = (".headclust-", ".tmp")  # how a name to write under starts and ends


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turns an OSError while writing `path` (or beside it) into the one line a user can act on.

    Raises:
        HeadclustError: The disk is full, read-only or failing, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        step = "free some space, then run it again" if error.errno in _FULL else "choose another place for the output"
        reason = error.strerror or str(error).splitlines()[0]
        raise HeadclustError(f"cannot write {printable(str(path))}: {reason}: {step}.") from error


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` last: a rename is atomic without this, but not durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    temporary.replace(path)


@contextmanager
def made_whole(path: Path, *, publish: Callable[[Path, Path], None] = _replace, lasting: bool = True) -> Iterator[Path]:
    """An empty file of another name beside `path`, to write to; what it holds in the end gets the name `path`.

    The other name is nobody's: it is made up, short whatever `path` is called, and taken only where nothing has it.
    Whatever goes wrong, it is gone again; only a killed process leaves it, and no other one writes to it.

    Args:
        path: What to make; its folder is there.
        publish: Gives the file of the first path the name of the second one; replaces what is there by default.
        lasting: Sync the file and its folder.

    Raises:
        OSError: The disk does not take it.
    """
    start, end = _TEMPORARY
    temporary = path.parent / f"{start}{secrets.token_hex(8)}{end}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            yield temporary
            if lasting:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        publish(temporary, path)
        if lasting:
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # what went wrong is told already
            temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether `path` has a name that `made_whole` makes up: what a killed process left, or one writes just now."""
    start, end = _TEMPORARY
    return path.name.startswith(start) and path.name.endswith(end)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a small file so that it is either whole or absent."""
    with made_whole(path) as temporary:
        temporary.write_bytes(content)


def check_space(folder: Path, wanted: int) -> None:
    """Refuses to start what cannot end: `wanted` bytes must be free where `folder` is.

    Raises:
        OSError: ENOSPC, saying how much is missing.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted:
        text = f"{os.strerror(errno.ENOSPC)} ({wanted / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free)"
        raise OSError(errno.ENOSPC, text)


def allocate(descriptor: int, size: int) -> None:
    """Takes `size` bytes of disk for an open file and makes it exactly that long; what it held stays.

    Raises:
        OSError: The disk does not have them.
    """
    held = os.fstat(descriptor).st_size
    if held > size:
        os.ftruncate(descriptor, size)
    elif hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS: writing zeros is the only way to be sure of the space
        for offset in range(held, size, _CHUNK):
            write_at(descriptor, bytes(min(_CHUNK, size - offset)), offset)


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Writes all of `content` at `offset`; the system may take it in pieces."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
