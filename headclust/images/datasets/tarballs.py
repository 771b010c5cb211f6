"""Members of tar files and the offsets of their data, listed without unpacking."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

from headclust.errors import FileFormatError, one_line
from headclust.images.datasets.archive_members import checked_name

# Extra headers with long names and attributes of a member; tarfile reads each of them into memory.
_MAX_HEADER = 2**20
_LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
# Largest uncompressed size of a compressed archive that is read.
MAX_UNPACKED = 2**36
_DAMAGED = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, zlib.error, lzma.LZMAError)

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_OPENERS: dict[str, Callable[[BinaryIO], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}


class TarMember(NamedTuple):
    """A member, with its data at `offset` of the uncompressed archive.

    Attributes:
        name: Path inside the archive, with "/".
        kind: "file", "folder", "hardlink" (to the member named `target`), or "other", which is not followed.
        offset: Start of the data, in bytes.
        size: Size of the data, in bytes.
        target: Name of the member that a hard link points to.
    """

    name: str
    kind: Literal["file", "folder", "hardlink", "other"]
    offset: int
    size: int
    target: str


class TarReader:
    """Iterator over the members of an open tar file; `data` reads the content of the current member."""

    def __init__(self, path: Path, stream: BinaryIO, *, max_unpacked: int | None) -> None:
        self._path = path
        self._stream = stream
        self._max_unpacked = max_unpacked
        self._end = path.stat().st_size if max_unpacked is None else max_unpacked

    def __iter__(self) -> Iterator[TarMember]:
        """All members in the order of the archive.

        Raises:
            FileFormatError: The archive is damaged, cut short or no tar file.
            DataError: A member's name leads outside the archive.
        """
        with _damage(self._path), tarfile.TarFile(fileobj=self._stream, tarinfo=_Header) as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps a kilobyte per member otherwise
                if info.offset_data + info.size > self._end and not info.issparse():
                    beyond = "the end" if self._max_unpacked is None else f"the {self._end} bytes it may unpack to"
                    raise tarfile.ReadError(f"{info.name!r} of {info.size} bytes reaches beyond {beyond}")
                yield _member(self._path, info)
            if self._max_unpacked is not None:
                self._drain()

    def data(self, member: TarMember) -> bytes:
        """The content of the current member of the iteration."""
        with _damage(self._path):
            self._stream.seek(member.offset)
            content = self._stream.read(member.size)
            if len(content) != member.size:
                raise tarfile.ReadError("unexpected end of data")
            return content

    def _drain(self) -> None:
        """Read to the end, where a compressed file has its checksum."""
        while self._stream.read(2**20):
            if self._stream.tell() > self._end:
                raise tarfile.ReadError(f"it unpacks to more than {self._end} bytes")


@contextmanager
def open_tar(path: Path, *, max_unpacked: int = MAX_UNPACKED) -> Iterator[tuple[TarReader, bool]]:
    """A reader of a tar file, and whether the file is compressed (gzip, bzip2 or xz, whatever its name).

    Args:
        path: The file.
        max_unpacked: Largest uncompressed size of a compressed file, in bytes.

    Raises:
        FileFormatError: The file cannot be opened, or has another compression.
    """
    with _damage(path):
        file = path.open("rb")
    with file:
        with _damage(path):
            start = file.peek(8)
        how = _compression(start)
        if how is None:
            yield TarReader(path, file, max_unpacked=None), False
        elif how in _OPENERS:
            with _OPENERS[how](file) as stream:
                yield TarReader(path, cast("BinaryIO", stream), max_unpacked=max_unpacked), True
        else:
            raise FileFormatError(f"{path} is compressed with {how}, which is not supported: decompress it to .tar.")


def looks_like_tar(start: bytes) -> bool:
    """True if a file with these first 512 bytes is a tar file, or a compressed file that may hold one."""
    return start[257:262] == b"ustar" or _compression(start) is not None


def _compression(start: bytes) -> str | None:
    return next((how for magic, how in _MAGIC.items() if start.startswith(magic)), None)


class _Header(tarfile.TarInfo):
    """A header whose damage is an error; tarfile takes damage after the first member for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {tarfile_.offset}") from None

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _LONG_HEADERS and header.size > _MAX_HEADER):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _member(path: Path, info: tarfile.TarInfo) -> TarMember:
    if info.size < 0:
        raise tarfile.ReadError(f"a member of {info.size} bytes")
    name = checked_name(path, info.name)
    if info.isdir():
        return TarMember(name, "folder", info.offset_data, 0, "")
    if info.islnk():
        return TarMember(name, "hardlink", info.offset_data, 0, checked_name(path, info.linkname))
    kind: Literal["file", "other"] = "file" if info.isreg() and not info.issparse() else "other"
    return TarMember(name, kind, info.offset_data, info.size, "")


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Convert errors of the libraries to a one-line FileFormatError about the archive."""
    try:
        yield
    except _DAMAGED as error:
        reason = one_line(error)
        raise FileFormatError(f"{path} cannot be read as a tar file: {reason}. Download or make it again.") from None
