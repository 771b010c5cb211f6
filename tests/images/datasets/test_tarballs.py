"""The index of tar files, against Python's own reader."""

import io
import tarfile
from pathlib import Path

import pytest

from headclust.errors import FileFormatError
from headclust.images.datasets.tarballs import open_tar

NAMES = ("a", "b/c", "long/" * 40 + "name", "é" * 80, "empty")


def made(path: Path, form: int, mode: str = "w") -> Path:
    with tarfile.open(path, mode, format=form) as archive:
        for number, name in enumerate(NAMES):
            member = tarfile.TarInfo(name)
            member.size = 0 if name == "empty" else 100 * number + 7
            archive.addfile(member, io.BytesIO(bytes([number]) * member.size))
    return path


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_places_and_contents(tmp_path, form, mode):
    path = made(tmp_path / "x.tar", form, mode)
    with tarfile.open(path) as archive:
        expected = [(info.name, info.offset_data, info.size, archive.extractfile(info).read()) for info in archive]
    with open_tar(path) as (reader, compressed):
        found = [(member.name, member.offset, member.size, reader.data(member)) for member in reader]
    assert compressed == (mode != "w")
    assert found == expected


def header(size: int, kind: bytes, name: str = "a") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, 0
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (b"\x80" + size.to_bytes(11, "big")) if size >= 0 else b"\xff" + (size + 2**88).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_headers_that_would_fill_the_memory(tmp_path, kind):
    (tmp_path / "x.tar").write_bytes(header(2**40, kind) + bytes(10240))
    with open_tar(tmp_path / "x.tar") as (reader, _), pytest.raises(FileFormatError, match="a header of 1099511627776"):
        list(reader)


@pytest.mark.parametrize("size", [-1, -512, -1024, -(2**40)])
def test_sizes_below_zero_do_not_go_round_for_ever(tmp_path, size):
    (tmp_path / "x.tar").write_bytes(header(0, tarfile.REGTYPE) + header(size, tarfile.REGTYPE) + bytes(10240))
    with open_tar(tmp_path / "x.tar") as (reader, _), pytest.raises(FileFormatError, match="cannot be read as a tar"):
        list(reader)


def test_a_size_below_zero_in_an_attribute(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a")
        member.pax_headers = {"size": "-1024"}
        archive.addfile(member)
        archive.addfile(tarfile.TarInfo("b"))
    with open_tar(tmp_path / "x.tar") as (reader, _), pytest.raises(FileFormatError, match="cannot be read as a tar"):
        list(reader)


def test_a_member_that_reaches_beyond_the_end(tmp_path):
    (tmp_path / "x.tar").write_bytes(header(10**6, tarfile.REGTYPE) + bytes(10240))
    with open_tar(tmp_path / "x.tar") as (reader, _), pytest.raises(FileFormatError, match="reaches beyond the end"):
        list(reader)


def test_a_compressed_archive_of_endless_zeros(tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("zeros.txt")
        member.size = 10**7
        archive.addfile(member, io.BytesIO(bytes(10**7)))
    message = "'zeros.txt' of 10000000 bytes reaches beyond the 1000000 bytes it may unpack to"
    with (
        open_tar(tmp_path / "x.tar.gz", max_unpacked=10**6) as (reader, _),
        pytest.raises(FileFormatError, match=message),
    ):
        list(reader)


def test_zeros_behind_the_end_of_a_compressed_archive(tmp_path):
    import gzip

    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(header(0, tarfile.REGTYPE) + bytes(10**7)))
    with (
        open_tar(tmp_path / "x.tar.gz", max_unpacked=10**6) as (reader, _),
        pytest.raises(FileFormatError, match="it unpacks to more than 1000000 bytes"),
    ):
        list(reader)


def test_an_archive_without_its_end_mark(tmp_path):
    (tmp_path / "x.tar").write_bytes(header(0, tarfile.REGTYPE))
    with open_tar(tmp_path / "x.tar") as (reader, _), pytest.raises(FileFormatError, match="empty header at byte 512"):
        list(reader)


def test_errors_of_the_caller_stay_its_own(tmp_path):
    path = made(tmp_path / "x.tar", tarfile.PAX_FORMAT)
    with pytest.raises(ValueError, match="mine"), open_tar(path):
        raise ValueError("mine")
