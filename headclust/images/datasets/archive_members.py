"""Common parts of the archive readers: checks of member names, members that replace others, reads at an offset."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from headclust.errors import DataError, SourceError, one_line, unreadable
from headclust.images.datasets.unchanged import CHANGED
from headclust.images.image_file import check_size

_DRIVE = re.compile(r"[A-Za-z]:/")


class Member(Protocol):
    """A member of any kind of archive."""

    @property
    def name(self) -> str:
        """Path inside the archive, with "/"."""

    @property
    def kind(self) -> str:
        """One of "file", "folder", "hardlink" (to the member named `target`) and "other", which is not followed."""

    @property
    def target(self) -> str:
        """Name of the member that a hard link points to."""


M = TypeVar("M", bound=Member)
T = TypeVar("T")


def checked_name(archive: Path, name: str) -> str:
    r"""A member's name with "/", without "." and empty parts; empty for the root itself.

    Raises:
        DataError: The name leads outside the archive (absolute, on a drive, ".."), or holds a backslash or a null
            character, which programs read differently.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or _DRIVE.match(name):
        raise DataError(
            f"{archive} holds a member {name[:200]!r}: expected names that stay inside the archive, with '/'. "
            "Refused as a whole; unpack it with a tool you trust and name the folder."
        )
    return "/".join(part for part in parts if part not in ("", "."))


def resolve_members(members: Iterable[M], take: Callable[[M], T]) -> tuple[dict[str, T], set[str], int]:
    """Files and folders as after unpacking: of several members with the same name the last counts, of any kind.

    Args:
        members: Members in the order of the archive.
        take: Function of a file member; called in the order of the archive, while the member can be read.

    Returns:
        The result of `take` per file (for a hard link, that of its target); the folders; the number of other members.
    """
    files, folders, left_out = dict[str, T](), set[str](), 0
    for member in members:
        linked = files.get(member.target) if member.kind == "hardlink" else None
        files.pop(member.name, None)
        folders.discard(member.name)
        if member.kind == "folder":
            folders.add(member.name)
        elif member.kind == "file":
            files[member.name] = take(member)
        elif linked is not None:
            files[member.name] = linked
        else:
            left_out += 1
    return files, folders, left_out


@dataclass(frozen=True)
class Container:
    """A file that is read at offsets. It is opened for each read, so that processes share no descriptor.

    Attributes:
        path: The file.
        size: Its size in bytes when it was listed.
        mtime_ns: Its modification time when it was listed.
    """

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Container:
        """The container of a file, with its current size and time.

        Raises:
            DataError: The file does not exist, cannot be read, or is no regular file.
        """
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{path} is a folder or a device: expected a file.")
            path.open("rb").close()
        except OSError as error:
            raise DataError(f"{path} cannot be opened: {one_line(error)}.") from None
        return cls(path, status.st_size, status.st_mtime_ns)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer at the end of the file.

        Raises:
            DataError: The bytes are too many for an image, or cannot be read. One line, without the path.
            SourceError: The file can no longer be opened, or has changed since it was listed.
        """
        check_size(size)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(
                f"{self.path} can no longer be opened: {one_line(error)}. Put it back, and repeat the same command."
            ) from None
        try:
            status = os.fstat(descriptor)
            if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
                raise SourceError(f"{self.path} {CHANGED}")
            return _pread(descriptor, offset, size)
        except OSError as error:
            raise unreadable(error, f"its bytes in {self.path.name} cannot be read: {one_line(error)}") from None
        finally:
            os.close(descriptor)


def _pread(descriptor: int, offset: int, size: int) -> bytes:
    content = os.pread(descriptor, size, offset)
    while len(content) < size and (more := os.pread(descriptor, size - len(content), offset + len(content))):
        content += more
    return content
