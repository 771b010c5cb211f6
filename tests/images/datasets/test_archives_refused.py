"""Archives that are hostile, damaged, cut short, changed or too large: images, or a reason in one line."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from archive_files import CLASSES, numbers, pack, png, refusal, tar, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError
from headclust.images.datasets.archives import open_archive


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
def test_archives_without_images(tmp_path, suffix):
    assert "holds no images, no files at all: expected files named .jpg" in refusal(pack(tmp_path / f"x{suffix}"))
    found = refusal(pack(tmp_path / f"y{suffix}", "a.txt"))
    assert "holds no images, only 1 file that is not an image by name: 1 .txt: expected" in found


HOSTILE = (
    "/etc/a.png",
    "../a.png",
    "a/../../b.png",
    "a/..",
    "C:\\a.png",
    "C:/a.png",
    "a\\b.png",
    "..\\a.png",
    "//x/a.png",
    "c:/x/a.png",
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("suffix", [".tar", ".tar.xz", ".zip"])
def test_names_that_lead_outside_refuse_the_archive(tmp_path, name, suffix):
    found = refusal(pack(tmp_path / f"x{suffix}", "good.png", name))
    assert repr(name) in found
    assert "expected names that stay inside the archive" in found


def test_names_with_a_null_character(tmp_path):
    made = zipped(tmp_path / "x.zip", "aXb.png")
    made.write_bytes(made.read_bytes().replace(b"aXb.png", b"a\0b.png"))
    assert r"a\x00b.png" in refusal(made)
    made = tar(tmp_path / "x.tar", "y.png", format=tarfile.PAX_FORMAT, pax_headers={})
    with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("y.png")
        member.pax_headers = {"path": "a\0b.png"}
        archive.addfile(member)
    assert r"a\x00b.png" in refusal(made)


def test_a_large_compressed_tar_is_refused(tmp_path, monkeypatch):
    made = tar(tmp_path / "x.tar.gz", *CLASSES, mode="w:gz")
    monkeypatch.setattr("headclust.images.datasets.archives.MAX_HELD", 3 * len(png(0)) - 1)
    assert "decompress it to a .tar, which is read in place, or pack it as .zip" in refusal(made)
    monkeypatch.setattr("headclust.images.datasets.archives.MAX_HELD", 3 * len(png(0)))
    assert len(open_archive(str(made), None)) == 3


def test_a_member_too_large_to_be_an_image(tmp_path, monkeypatch):
    made = tar(tmp_path / "x.tar", "a.png")
    monkeypatch.setattr("headclust.images.image_file.MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"a file of \d+ bytes: more than the 10 allowed"):
        open_archive(str(made), None).read(0)


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_an_archive_that_changes_while_it_is_read(tmp_path, suffix):
    made = pack(tmp_path / f"x{suffix}", *CLASSES)
    images = open_archive(str(made), None)
    pack(made, "other/9.png", *CLASSES)
    with pytest.raises(ConflictError, match=f"{made} has changed since its images were listed: start again"):
        images.read(0)
    made.unlink()
    with pytest.raises(ConflictError, match=f"{made} can no longer be opened: No such file .* Put"):
        images.read(0)


def test_a_folder_called_like_an_archive(tmp_path):
    (tmp_path / "x.tar").mkdir()
    assert "is a folder or a device: expected a file" in refusal(tmp_path / "x.tar")


def test_a_pipe_called_like_an_archive_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    assert "is a folder or a device: expected a file" in refusal(tmp_path / "x.tar")


def test_a_missing_archive(tmp_path):
    assert "x.tar" in refusal(tmp_path / "x.tar")


@pytest.mark.parametrize(
    "content", [b"", b"x", b"x" * 2000, b"\x1f\x8b\x08 no", b"BZh no", b"\xfd7zXZ\0 no", b"PK\3\4 no"]
)
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_foreign_files(tmp_path, content, suffix):
    (tmp_path / f"x{suffix}").write_bytes(content)
    assert "cannot be read as a" in refusal(tmp_path / f"x{suffix}")


def test_a_zstandard_archive(tmp_path):
    (tmp_path / "x.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd and so on")
    assert "compressed with zstd, which is not supported: decompress it to .tar" in refusal(tmp_path / "x.tar.zst")


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".tar.xz", ".tar.bz2", ".zip"])
def test_cut_short_at_any_length(tmp_path, suffix):
    whole = pack(tmp_path / f"x{suffix}", *CLASSES).read_bytes()
    content = len(whole) if suffix != ".tar" else 6 * 512 + 1  # up to the first zero block, an archive's end mark
    for length in np.linspace(0, content - 1, 60).astype(int):
        (tmp_path / f"y{suffix}").write_bytes(whole[:length])
        with pytest.raises(FileFormatError) as caught:
            open_archive(str(tmp_path / f"y{suffix}"), None)
        assert "\n" not in str(caught.value)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    # tarfile stops quietly there, which would lose the rest of the images.
    made = tar(tmp_path / "x.tar", *CLASSES)
    data = bytearray(made.read_bytes())
    data[1024 + 3] ^= 1
    made.write_bytes(data)
    with tarfile.open(made) as archive:
        assert len(archive.getmembers()) == 1
    assert "cannot be read as a tar file: bad checksum at byte 1024" in refusal(made)


@given(st.sampled_from([".tar", ".tgz", ".zip"]), st.data())
@settings(max_examples=120)
def test_damaged_archives_give_images_or_a_reason(tmp_path_factory, suffix, data):
    folder = tmp_path_factory.mktemp("damaged")
    damaged = bytearray(pack(folder / f"x{suffix}", *CLASSES).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    (folder / f"x{suffix}").write_bytes(damaged)
    try:
        images = open_archive(str(folder / f"x{suffix}"), None)
        for row in range(len(images)):
            images.read(row)
    except HeadclustError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_no_file_stays_open(tmp_path, suffix):
    made = pack(tmp_path / f"x{suffix}", *CLASSES)
    before = len(list(Path("/proc/self/fd").iterdir()))
    numbers(open_archive(str(made), None))
    made.write_bytes(made.read_bytes()[:150])
    refusal(made)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
