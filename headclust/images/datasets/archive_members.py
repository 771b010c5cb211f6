"""What members of archives have in common: names that stay inside, the last of a name, and bytes read by place."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from headclust.errors import ConflictError, DataError, one_line
from headclust.images.image_file import check_size

_DRIVE = re.compile(r"[A-Za-z]:/")


class Member(Protocol):
    """What every kind of archive says of a member."""

    @property
    def name(self) -> str:
        """Path inside the archive, with "/"."""

    @property
    def kind(self) -> str:
        """ "file", "folder", "hardlink" (to the member called `target`), or "other": whatever is not followed."""

    @property
    def target(self) -> str:
        """Of a hard link."""


M = TypeVar("M", bound=Member)
T = TypeVar("T")


def checked_name(archive: Path, name: str) -> str:
    r"""A member's name with "/", without "." and empty parts; empty for the root itself.

    Raises:
        DataError: It names a path outside (absolute, on a drive, ".."), or holds a backslash or a null character, which
            mean different paths to different programs.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or _DRIVE.match(name):
        raise DataError(
            f"{archive} holds a member {name[:200]!r}: expected names that stay inside the archive, with '/'. "
            "Refused as a whole; unpack it with a tool you trust and name the folder."
        )
    return "/".join(part for part in parts if part not in ("", "."))


def fold(members: Iterable[M], take: Callable[[M], T]) -> tuple[dict[str, T], set[str], int]:
    """What is there after unpacking: of members with the same name the last one counts, whatever its kind.

    Args:
        members: In the order of the archive.
        take: What to keep of a file; called as soon as it is reached.

    Returns:
        What was kept of each file, a hard link having its target's; the folders; how many members are neither.
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
    """A file whose parts are read by place; opened anew for each, so that no descriptor is shared between processes.

    Attributes:
        path: The file.
        size: Its bytes when it was listed.
        mtime_ns: Its modification time then.
    """

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Container:
        """The file as it is now.

        Raises:
            DataError: There is none, it may not be read, or it is no regular file.
        """
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise DataError(f"{path} is a folder or a device: expected a file.")
            path.open("rb").close()
        except OSError as error:
            raise DataError(f"{path} cannot be opened: {one_line(error)}.") from None
        return cls(path, found.st_size, found.st_mtime_ns)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer at the end of the file.

        Raises:
            DataError: These bytes are too many for an image, or cannot be read. One line, without the path.
            ConflictError: The file cannot be opened any more, or has changed since it was listed.
        """
        check_size(size)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ConflictError(
                f"{self.path} could be opened before, and now it cannot: {one_line(error)}. Put it back, and go on "
                "with the same command."
            ) from None
        try:
            found = os.fstat(descriptor)
            if (found.st_size, found.st_mtime_ns) != (self.size, self.mtime_ns):
                raise ConflictError(f"{self.path} has changed since its images were listed: start again.")
            return _pread(descriptor, offset, size)
        except OSError as error:
            raise DataError(f"its bytes in {self.path.name} cannot be read: {one_line(error)}") from None
        finally:
            os.close(descriptor)


def _pread(descriptor: int, offset: int, size: int) -> bytes:
    content = os.pread(descriptor, size, offset)
    while len(content) < size and (more := os.pread(descriptor, size - len(content), offset + len(content))):
        content += more
    return content
