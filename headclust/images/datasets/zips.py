"""Members of zip files, listed by the standard library, and the reading of one member.

`zipfile` reads the directory only. Its `ZipFile.open` is not used for the members, because it needs an open file, which
forked workers cannot share, or the whole directory again per process; does not notice that the archive has changed
since it was listed; and decompresses bzip2 without a limit, so that a small member can use up all memory.
"""

from __future__ import annotations

import bz2
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from headclust.errors import DataError, FileFormatError, one_line
from headclust.images.datasets.archive_members import Container, checked_name
from headclust.images.image_file import check_size

_ENCRYPTED, _UTF8 = 0x1, 0x800
# The local header before each member's data, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT section 4.3.7:
# its last two fields are the lengths of the name and of the extra field that follow.
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_DAMAGED = (zipfile.BadZipFile, OSError, EOFError, ValueError, OverflowError, NotImplementedError, struct.error)

_UNPACK: dict[int, Callable[[bytes, int], bytes]] = {
    zipfile.ZIP_STORED: lambda packed, size: packed[: size + 1],
    zipfile.ZIP_DEFLATED: lambda packed, size: zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1),
    zipfile.ZIP_BZIP2: lambda packed, size: bz2.BZ2Decompressor().decompress(packed, size + 1),
}


class ZipMember(NamedTuple):
    """A member as described by the directory.

    Attributes:
        name: Path inside the archive, with "/".
        kind: "file", "folder", or "other" (links, which are not followed).
        header: Offset of its local header, in bytes.
        packed: Compressed size, in bytes.
        size: Uncompressed size, in bytes.
        crc: CRC-32 of the content.
        method: Number of the compression method.
        encrypted: True if it is encrypted.
        target: Always empty: a zip file has no hard links.
    """

    name: str
    kind: Literal["file", "folder", "other"]
    header: int
    packed: int
    size: int
    crc: int
    method: int
    encrypted: bool
    target: str = ""


def zip_members(path: Path) -> Iterator[ZipMember]:
    """All members in the order of the directory.

    Raises:
        FileFormatError: The archive is damaged, cut short or no zip file.
        DataError: A member's name leads outside the archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except _DAMAGED as error:
        reason = one_line(error)
        raise FileFormatError(f"{path} cannot be read as a zip file: {reason}. Download or make it again.") from None
    for info in infos:
        yield ZipMember(
            name=checked_name(path, _name(info)),
            kind=_kind(info),
            header=info.header_offset,
            packed=info.compress_size,
            size=info.file_size,
            crc=info.CRC,
            method=info.compress_type,
            encrypted=bool(info.flag_bits & _ENCRYPTED),
        )


def read_member(container: Container, member: ZipMember) -> bytes:
    """A member's content.

    Raises:
        DataError: It is encrypted, too large, damaged, or has an unsupported compression. One line, without names.
        SourceError: The archive is gone or has changed.
    """
    if member.encrypted:
        raise DataError("encrypted: unpack the archive and name the folder")
    if member.method not in _UNPACK:
        how = zipfile.compressor_names.get(member.method, f"method {member.method}")  # type: ignore[attr-defined]
        raise DataError(f"compressed with {how}, which is not supported: pack the archive again with deflate")
    check_size(member.size)
    header = container.read(member.header, _LOCAL_HEADER.size)
    if len(header) != _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
        raise DataError("damaged: it is not at the offset given by the archive's directory")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    packed = container.read(member.header + _LOCAL_HEADER.size + name_length + extra_length, member.packed)
    try:
        content = _UNPACK[member.method](packed, member.size)
    except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"damaged: {one_line(error)}") from None
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise DataError("damaged: its content does not match the archive's checksum")
    return content


def _name(info: zipfile.ZipInfo) -> str:
    """The name as written; bytes that are not UTF-8 become surrogate escapes."""
    name = info.orig_filename  # `filename` is cut at a null character
    if info.flag_bits & _UTF8:
        return name
    if info.filename != name.partition("\0")[0]:  # taken from an extra field with the name in Unicode
        return info.filename
    # Without the flag, zipfile decodes the bytes as code page 437; encoding gives them back.
    return name.encode("cp437").decode("utf-8", "surrogateescape")


def _kind(info: zipfile.ZipInfo) -> Literal["file", "folder", "other"]:
    if info.is_dir():
        return "folder"
    form = stat.S_IFMT(info.external_attr >> 16)  # zero if the archive was not made on Unix
    return "file" if form in (0, stat.S_IFREG) else "other"
