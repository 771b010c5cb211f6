import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from headclust import disk
from headclust.disk import atomic_file, file_sha256, is_temporary, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for content in (b"one", b"the other", b""):
        write_atomically(tmp_path / "a", content)
        assert (tmp_path / "a").read_bytes() == content
        assert names(tmp_path) == ["a"]


def test_who_may_read_it_is_as_for_any_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_a_name_as_long_as_the_disk_takes(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("y" * 255), b"x")
    assert names(tmp_path) == ["y" * 255]


def test_files_called_like_a_temporary_one_are_the_users(tmp_path: Path) -> None:
    # Once a.tmp was overwritten, and a link of that name written through.
    (tmp_path / "a.tmp").write_text("precious")
    (tmp_path / "b.tmp").symlink_to("a.tmp")
    (tmp_path / f".{os.getpid()}.tmp").hardlink_to(tmp_path / "a.tmp")
    before = names(tmp_path)
    for name in ("a", "b"):
        write_atomically(tmp_path / name, b"new")
    assert names(tmp_path) == sorted([*before, "a", "b"])
    assert (tmp_path / "a.tmp").read_text() == "precious"
    assert (tmp_path / "b.tmp").is_symlink()


@pytest.mark.parametrize("kind", ["file", "link", "hard link", "broken link"])
def test_not_even_the_very_name_is_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(disk.secrets, "token_hex", lambda _: "00")
    mine, taken = tmp_path / "mine", tmp_path / ".headclust-00.tmp"
    mine.write_text("precious")
    if kind == "file":
        taken.write_text("precious")
    elif kind == "hard link":
        taken.hardlink_to(mine)
    else:
        taken.symlink_to(mine if kind == "link" else "nowhere")
    before = names(tmp_path)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a", b"new")
    assert names(tmp_path) == before
    assert mine.read_text() == "precious"


def test_no_two_names_are_the_same(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as one, atomic_file(tmp_path / "a") as other:
        assert one != other
        assert is_temporary(one)
        assert is_temporary(other)
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a").read_text() == "one"
    assert names(tmp_path) == ["a"]
    assert not any(map(is_temporary, (tmp_path / "a", tmp_path / "a.tmp", tmp_path / ".headclust-mine")))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), SystemExit(1)], ids=type)
@pytest.mark.parametrize("step", ["write", "fsync", "publish"])
def test_what_goes_wrong_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, step: str
) -> None:
    # Ctrl-C once left the other name behind.
    def fails(*_: object) -> None:
        raise error

    def make() -> None:
        with atomic_file(tmp_path / "a", publish=fails if step == "publish" else disk._replace) as temporary:
            temporary.write_text("new")
            if step == "write":
                fails()

    (tmp_path / "a").write_text("old")
    if step == "fsync":
        monkeypatch.setattr(disk.os, "fsync", fails)
    with pytest.raises(type(error)):
        make()
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_file_and_folder_are_synced_when_it_shall_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, synced = os.fsync, list[str]()

    def seen(descriptor: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(disk.os, "fsync", seen)
    with atomic_file(tmp_path / "a", lasting=False):
        pass
    assert synced == []
    write_atomically(tmp_path / "a", b"x")
    assert synced == ["file", "folder"]


def test_the_checksum_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_that_a_library_replaces_is_synced_and_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, synced = os.fsync, list[int]()

    def seen(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(disk.os, "fsync", seen)
    (tmp_path / "plain").write_text("")
    with disk.atomic_file(tmp_path / "file") as temporary:
        save_file({"tensor": torch.ones(3)}, temporary)
    made = (tmp_path / "file").stat()
    assert made.st_ino in synced
    assert made.st_mode == (tmp_path / "plain").stat().st_mode
    assert load_file(tmp_path / "file")["tensor"].tolist() == [1, 1, 1]
