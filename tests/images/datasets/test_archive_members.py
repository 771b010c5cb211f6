import os
from pathlib import Path

import pytest

from headclust.errors import ConflictError, DataError
from headclust.images.datasets.archive_members import Container, checked_name, resolve_members
from headclust.images.datasets.tarballs import TarMember


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b.png", "a/b.png"), ("./a//b/./c", "a/b/c"), ("a/", "a"), (".", ""), ("..a/b..", "..a/b.."), ("a:b", "a:b")],
)
def test_names_are_made_plain(name, expected):
    assert checked_name(Path("x.tar"), name) == expected


@pytest.mark.parametrize("name", ["/a", "..", "a/../b", "../a", "C:\\a", "c:/a", "a\\b", "a\0", "\\\\host\\a"])
def test_names_that_lead_outside(name):
    with pytest.raises(DataError, match=r"x\.tar holds a member .*: expected names that stay inside") as caught:
        checked_name(Path("x.tar"), name)
    assert "\n" not in str(caught.value)


def test_bytes_by_place(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(100)))
    container = Container.of(tmp_path / "x")
    assert container.read(10, 5) == bytes(range(10, 15))
    assert container.read(95, 50) == bytes(range(95, 100))
    assert container.read(1000, 5) == b""


def test_short_reads_go_on(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(bytes(range(100)))
    container, pread = Container.of(tmp_path / "x"), os.pread
    monkeypatch.setattr("os.pread", lambda descriptor, size, offset: pread(descriptor, min(size, 7), offset))
    assert container.read(3, 90) == bytes(range(3, 93))


def test_a_file_that_changed_or_went(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    container = Container.of(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"abcd")
    with pytest.raises(ConflictError, match=f"{tmp_path}/x has changed since its images were listed: start again"):
        container.read(0, 1)
    (tmp_path / "x").unlink()
    with pytest.raises(ConflictError, match=f"{tmp_path}/x can no longer be opened: No such file"):
        container.read(0, 1)
    with pytest.raises(DataError, match="x cannot be opened: No such file"):
        Container.of(tmp_path / "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "x").touch(0)
    with pytest.raises(DataError, match=f"{tmp_path}/x cannot be opened: Permission denied"):
        Container.of(tmp_path / "x")


def test_more_bytes_than_any_image_has_are_not_read(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(DataError, match="a file of 2147483648 bytes: more than the 1073741824 allowed"):
        Container.of(tmp_path / "x").read(0, 2**31)


def test_of_a_name_the_last_member_counts_whatever_its_kind():
    story = [
        ("a", "file", ""),
        ("b", "hardlink", "a"),
        ("a", "folder", ""),
        ("c", "file", ""),
        ("c", "other", ""),
        ("d", "folder", ""),
        ("d", "file", ""),
        ("e", "file", ""),
        ("e", "hardlink", "b"),
        ("f", "file", ""),
        ("f", "hardlink", "gone"),
        ("g", "file", ""),
        ("g", "hardlink", "g"),
    ]
    members = [TarMember(name, kind, number, 0, target) for number, (name, kind, target) in enumerate(story)]
    files, folders, left_out = resolve_members(members, lambda member: member.offset + 100)
    assert (files, folders, left_out) == ({"b": 100, "d": 106, "e": 100, "g": 111}, {"a"}, 2)
