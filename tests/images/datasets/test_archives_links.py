"""Links, devices and replaced names in archives: what is there after unpacking, without following links."""

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from archive_files import MODES, assert_same, numbers, pack, png, tar, zipped

from headclust.images.datasets.archives import open_archive
from headclust.images.datasets.folder import open_folder


def test_links_and_devices_are_left_out_and_counted(tmp_path, capsys):
    made = tar(tmp_path / "x.tar", "a.png", "b.png")
    with tarfile.open(made, "a") as archive:
        for name, kind, target in [
            ("s.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("f.png", tarfile.FIFOTYPE, ""),
            ("c.png", tarfile.CHRTYPE, ""),
            ("hard.png", tarfile.LNKTYPE, "./b.png"),
            ("dead.png", tarfile.LNKTYPE, "gone.png"),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    images = open_archive(str(made), None)
    assert images.sample_ids == ("a.png", "b.png", "hard.png")
    assert numbers(images) == [0, 1, 1]
    assert "members left out, because they are links, devices or sparse: 4" in capsys.readouterr().err
    held = tmp_path / "x.tar.gz"
    with tarfile.open(held, "w:gz") as archive, tarfile.open(made) as source:
        for member in source:
            archive.addfile(member, source.extractfile(member) if member.isreg() else None)
    assert_same(open_archive(str(held), None), images)


@pytest.mark.skipif(shutil.which("tar") is None or sys.platform != "linux", reason="needs GNU tar")
def test_sparse_members_are_left_out(tmp_path, capsys):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(10**7)
    (tmp_path / "b.png").write_bytes(png(7))
    subprocess.run(["tar", "-S", "-cf", tmp_path / "x.tar", "-C", tmp_path, "a.png", "b.png"], check=True)
    assert open_archive(str(tmp_path / "x.tar"), None).sample_ids == ("b.png",)
    assert "members left out, because they are links, devices or sparse: 1" in capsys.readouterr().err


def test_links_in_a_zip_are_left_out(tmp_path, capsys):
    made = zipped(tmp_path / "x.zip", "a.png")
    with zipfile.ZipFile(made, "a") as archive:
        info = zipfile.ZipInfo("link.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert open_archive(str(made), None).sample_ids == ("a.png",)
    assert "members left out, because they are links, devices or sparse: 1" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_members_with_the_same_name_the_last_counts(tmp_path, suffix):
    images = open_archive(str(pack(tmp_path / f"x{suffix}", "a.png", "b.png", "./a.png", "a.png")), None)
    assert images.sample_ids == ("a.png", "b.png")
    assert numbers(images) == [3, 1]


def linked(path: Path, *members: tuple[str, str | int]) -> Path:
    """A tar file of images of a color, of hard links to "NAME", and of symbolic links to "@NAME"."""
    with tarfile.open(path, MODES["".join(path.suffixes)]) as archive:
        for name, content in members:
            member, data = tarfile.TarInfo(name), b""
            if isinstance(content, int):
                data = png(content)
            else:
                member.type = tarfile.SYMTYPE if content.startswith("@") else tarfile.LNKTYPE
                member.linkname = content.removeprefix("@")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([("c/blob", 5), ("c/a.png", "c/blob"), ("d/b.png", 6)], {"c/a.png": 5, "d/b.png": 6}),
        ([("c/.a.png", 5), ("c/a.png", "c/.a.png"), ("d/b.png", 6)], {"c/a.png": 5, "d/b.png": 6}),
        ([("c/blob", 5), ("c/two", "c/blob"), ("c/a.png", "c/two"), ("d/b.png", 6)], {"c/a.png": 5, "d/b.png": 6}),
        ([("c/blob", 5), ("c/a.png", 1), ("c/a.png", "c/blob"), ("d/b.png", 6)], {"c/a.png": 5, "d/b.png": 6}),
        ([("c/a.png", 1), ("c/l.png", "c/a.png"), ("c/a.png", 2)], {"a.png": 2, "l.png": 1}),
        ([("c/a.png", 1), ("c/a.png", "@c/z"), ("d/b.png", 6)], {"b.png": 6}),
        ([("c/a.png", "c/b.png"), ("c/b.png", 3)], {"b.png": 3}),
    ],
    ids=["no image", "hidden", "link to a link", "in place of a file", "replaced target", "symbolic", "forward"],
)
def test_hard_links_have_the_content_of_what_they_name(tmp_path, suffix, members, expected):
    images = open_archive(str(linked(tmp_path / f"x{suffix}", *members)), None)
    assert dict(zip(images.sample_ids, numbers(images), strict=True)) == expected
    assert all(stamp[0] == len(png(0)) for stamp in images.stamps)


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_replaced_names_are_as_unpacked(tmp_path, suffix):
    members = [("x/blob", 5), ("x/a.png", 1), ("x/a.png", "x/blob"), ("x/l.png", "x/a.png"), ("x/a.png", 7)]
    made = linked(tmp_path / f"x{suffix}", *members)
    subprocess.run(["tar", "-xf", made, "-C", tmp_path], check=True)
    assert_same(open_archive(str(made), None), open_folder(str(tmp_path / "x"), None))
