"""Durable writing: space allocated before, files written atomically, folders synced, errors in one line; checksums."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headclust.errors import ConflictError, HeadclustError, one_line
from headclust.progress import printable

_CHUNK = 1 << 24
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TEMPORARY = (".headclust-", ".tmp")  # start and end of temporary names


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Convert an OSError while writing `path` (or beside it) to a one-line HeadclustError.

    Raises:
        HeadclustError: The disk is full, read-only or failing, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        step = "free some space, then run it again" if error.errno in _FULL else "choose another place for the output"
        raise HeadclustError(f"cannot write {printable(str(path))}: {one_line(error)}: {step}.") from error


def real_place(path: Path) -> Path:
    """`path` without links: where a result is written, so that a link stays and the place it leads to gets the result.

    Raises:
        ConflictError: `path` is a circular link or lies in one, or is a link to a place that does not exist.
    """
    place = Path(os.path.realpath(path))
    try:
        place.parent.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConflictError(
                f"{printable(str(path))} lies in a circular link: choose another place with -o."
            ) from None
    # pathlib would raise for names that are too long, which whatever opens them reports.
    if os.path.islink(path) and not os.path.exists(place):  # noqa: PTH110, PTH114
        raise ConflictError(
            f"{printable(str(path))} is a link to {printable(str(path.readlink()))}, which does not exist: "
            "make that first, delete the link, or choose another place with -o."
        )
    return place


def sync_folder(folder: Path) -> None:
    """Sync the names in `folder` to disk; without this, a rename is atomic but not durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    temporary.replace(path)


@contextmanager
def atomic_file(
    path: Path, *, publish: Callable[[Path, Path], None] = _replace, lasting: bool = True
) -> Iterator[Path]:
    """An empty temporary file beside `path` to write to; at the end it is renamed to `path`.

    If `path` is a link to a file, it stays, and that file is replaced.

    The temporary name is random, short for any name of `path`, and exclusively created. After an error the file is
    removed; it remains only if the process is killed, and no other process writes to it.

    Args:
        path: The file to write; its folder exists.
        publish: Function that renames the file at the first path to the second; by default an existing file is
            replaced.
        lasting: Sync the file and its folder to disk.

    Raises:
        ConflictError: `path` is a circular link, or one to a place that does not exist.
        OSError: The file cannot be written.
    """
    path = real_place(path)
    start, end = _TEMPORARY
    temporary = path.parent / f"{start}{secrets.token_hex(8)}{end}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            yield temporary
            if not os.path.samestat(os.fstat(descriptor), temporary.stat()):
                descriptor = _opened_again(temporary, descriptor)
            if lasting:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        publish(temporary, path)
        if lasting:
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # the first error matters more
            temporary.unlink(missing_ok=True)


def _opened_again(path: Path, descriptor: int) -> int:
    """A descriptor of the file that a library has put in the place of an open one; it gets the latter's mode.

    safetensors does so, with a file that only its owner may read.
    """
    path.chmod(stat.S_IMODE(os.fstat(descriptor).st_mode))
    replacing = os.open(path, os.O_RDONLY)
    os.close(descriptor)
    return replacing


def is_temporary(path: Path) -> bool:
    """True if `path` has a temporary name of `atomic_file`: of a killed process, or of a process that is writing."""
    start, end = _TEMPORARY
    return path.name.startswith(start) and path.name.endswith(end)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a small file such that it is either complete or absent."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_space(folder: Path, needed: int) -> None:
    """Raise unless `needed` bytes are free on the disk of `folder`.

    Raises:
        OSError: ENOSPC, with the bytes that are needed and free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        text = f"{os.strerror(errno.ENOSPC)} ({needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free)"
        raise OSError(errno.ENOSPC, text)


def allocate(descriptor: int, size: int) -> None:
    """Allocate disk space for an open file and set its length to exactly `size` bytes; its content stays.

    Raises:
        OSError: The disk is full.
    """
    held = os.fstat(descriptor).st_size
    if held > size:
        os.ftruncate(descriptor, size)
    elif hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS: only writing zeros reserves the space
        for offset in range(held, size, _CHUNK):
            write_at(descriptor, bytes(min(_CHUNK, size - offset)), offset)


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of `content` at `offset`, in several calls if the system writes only a part."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
