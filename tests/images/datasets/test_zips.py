"""Zip members read by place, against Python's own writer and reader."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from headclust.errors import DataError, FileFormatError
from headclust.images.datasets.archive_members import Container
from headclust.images.datasets.zips import read_member, zip_members

CONTENT = bytes(np.random.default_rng(0).integers(0, 20, 5000, dtype=np.uint8))


def made(path: Path, method: int = zipfile.ZIP_DEFLATED, content: bytes = CONTENT) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("first.txt", b"first")
        archive.writestr("a.png", content)
    return path


def read(path: Path, name: str = "a.png") -> bytes:
    (member,) = (member for member in zip_members(path) if member.name == name)
    return read_member(Container.of(path), member)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("content", [CONTENT, b"", b"x"])
def test_content_is_what_was_written(tmp_path, method, content):
    path = made(tmp_path / "x.zip", method, content)
    assert read(path) == content
    assert read(path, "first.txt") == b"first"


def test_an_archive_behind_other_bytes(tmp_path):
    # As self-extracting archives are.
    path = made(tmp_path / "x.zip")
    path.write_bytes(b"#!/bin/sh\n" * 100 + path.read_bytes())
    assert read(path) == CONTENT


def test_members_as_streams_write_them(tmp_path):
    # Sizes and checksum stand behind the data instead of before them.
    class Pipe:
        def __init__(self, file):
            self.write, self.flush = file.write, file.flush

    with (tmp_path / "x.zip").open("wb") as file, zipfile.ZipFile(Pipe(file), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", CONTENT)
    assert read(tmp_path / "x.zip") == CONTENT


def test_folders_and_links(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a.png", b"x")
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "a.png")
    kinds = {member.name: member.kind for member in zip_members(tmp_path / "x.zip")}
    assert kinds == {"folder": "folder", "folder/a.png": "file", "link.png": "other"}


@pytest.mark.parametrize(
    ("raw", "flag", "name"),
    [
        ("é.png".encode(), False, "é.png"),  # as Unix tools write names
        ("é.png".encode(), True, "é.png"),
        (b"caf\xe9.png", False, "caf\udce9.png"),
    ],
)
def test_names_in_any_encoding(tmp_path, raw, flag, name):
    path = made(tmp_path / "x.zip")
    stand_in = b"X" * len(raw)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(stand_in.decode(), CONTENT)
    data = path.read_bytes().replace(stand_in, raw)
    if flag:
        data = patched(data, b"PK\3\4", 7, 0x08)
        data = patched(data, b"PK\1\2", 9, 0x08)
    path.write_bytes(data)
    assert [member.name for member in zip_members(path)] == [name]
    assert read(path, name) == CONTENT


def patched(data: bytes, signature: bytes, offset: int, value: int, count: int = 1) -> bytes:
    """With a byte of the last header of a kind replaced, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT."""
    place = data.rfind(signature) + offset
    return data[:place] + bytes([value]) * count + data[place + count :]


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert path.name not in str(caught.value)
    return str(caught.value)


def test_encrypted_members(tmp_path):
    data = patched(made(tmp_path / "x.zip").read_bytes(), b"PK\1\2", 8, 1)
    assert refused(tmp_path / "x.zip", data) == "encrypted: unpack the archive and name the folder"


@pytest.mark.parametrize(("method", "name"), [(9, "deflate64"), (93, "zstd|method 93"), (200, "method 200")])
def test_other_compression(tmp_path, method, name):
    data = patched(made(tmp_path / "x.zip").read_bytes(), b"PK\1\2", 10, method)
    found = refused(tmp_path / "x.zip", data)
    assert any(f"compressed with {one}, which is not supported" in found for one in name.split("|"))


def test_content_that_does_not_match_its_checksum(tmp_path):
    data = bytearray(made(tmp_path / "x.zip", zipfile.ZIP_STORED).read_bytes())
    data[data.find(CONTENT) + 100] ^= 1
    assert refused(tmp_path / "x.zip", bytes(data)) == "damaged: its content does not match the archive's checksum"


def test_content_that_does_not_decompress(tmp_path):
    data = bytearray(made(tmp_path / "x.zip").read_bytes())
    start = data.find(b"a.png") + len(b"a.png")
    data[start : start + 50] = b"\xff" * 50
    assert refused(tmp_path / "x.zip", bytes(data)).startswith("damaged: ")


def test_a_member_that_inflates_beyond_what_it_says(tmp_path):
    # Never more than a byte beyond the size in the directory is decompressed.
    path = made(tmp_path / "x.zip", content=bytes(50_000_000))
    data = path.read_bytes()
    place = data.rfind(b"PK\1\2") + 24
    data = data[:place] + (1000).to_bytes(4, "little") + data[place + 4 :]
    assert refused(path, data) == "damaged: its content does not match the archive's checksum"


def test_a_declared_size_beyond_any_image(tmp_path):
    data = made(tmp_path / "x.zip").read_bytes()
    place = data.rfind(b"PK\1\2") + 24
    data = data[:place] + (2**31).to_bytes(4, "little") + data[place + 4 :]
    assert refused(tmp_path / "x.zip", data) == "a file of 2147483648 bytes: more than the 1073741824 allowed"


def test_a_directory_that_points_nowhere(tmp_path):
    data = made(tmp_path / "x.zip").read_bytes()
    data = patched(data, b"PK\1\2", 42, 0x7F, 2)
    assert refused(tmp_path / "x.zip", data) == "damaged: it is not at the offset given by the archive's directory"


def test_stamps_are_the_checksums_of_the_content(tmp_path):
    (member,) = (member for member in zip_members(made(tmp_path / "x.zip")) if member.name == "a.png")
    assert (member.size, member.crc) == (len(CONTENT), zlib.crc32(CONTENT))


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"PK\5\6" + bytes(10)])
def test_files_that_are_no_zip(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(FileFormatError, match="cannot be read as a zip file"):
        list(zip_members(tmp_path / "x.zip"))
