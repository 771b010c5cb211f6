"""One writer per folder, whatever ends it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from headclust.errors import BusyError, ConflictError, DataError, HeadclustError
from headclust.features.lock import Owner, writer_lock
from headclust.images.decoding.worker import start_worker

# Takes the lock of each folder that it reads, prints the result, and releases the lock at the next line.
TAKER = """
import sys
from pathlib import Path
from headclust.features.lock import writer_lock
from headclust.errors import ConflictError
print("ready", flush=True)
for line in sys.stdin:
    try:
        with writer_lock(Path(line.strip())):
            print("got it", flush=True)
            sys.stdin.readline()
    except ConflictError:
        print("refused", flush=True)
        sys.stdin.readline()
    print("done", flush=True)
"""


def _write(folder: Path, owner: Owner) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "lock").write_text(json.dumps(asdict(owner)))


@contextmanager
def _takers(count: int) -> Iterator[list[subprocess.Popen[str]]]:
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        assert [taker.stdout.readline() for taker in takers] == ["ready\n"] * count
        yield takers
    finally:
        for taker in takers:
            taker.communicate()


def _send(takers: list[subprocess.Popen[str]], line: str) -> None:
    for taker in takers:
        taker.stdin.write(line + "\n")
        taker.stdin.flush()


def test_held_then_removed(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "a.h5.partial"
    with writer_lock(folder):
        assert Owner(**json.loads((folder / "lock").read_text())) == Owner(socket.gethostname(), os.getpid())
        with pytest.raises(BusyError, match=f"process {os.getpid()} on {socket.gethostname()}.*delete .*lock"):
            writer_lock(folder).__enter__()
        assert (folder / "lock").exists()
    assert not folder.exists()


def test_released_on_interrupt_and_what_is_in_the_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "a.h5.partial"
    with pytest.raises(KeyboardInterrupt), writer_lock(folder):  # noqa: PT012
        (folder / "data.bin").touch()
        raise KeyboardInterrupt
    assert [file.name for file in folder.iterdir()] == ["data.bin"]


@pytest.mark.parametrize(
    "content",
    [
        *("", '{"host": "x"', "[]", '{"host": "x"}', "null", "7", '"text"', "\0" * 100, "[" * 100_000),
        *('{"host": "x", "pid": 1e999}', '{"host": "x", "pid": null}', '{"host": [], "pid": "one"}'),
    ],
)
def test_a_lock_whose_writer_died_while_writing_it_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content)
    with writer_lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_lock_file_of_this_machine_that_no_process_holds_is_taken_over(tmp_path: Path) -> None:
    """The process may be dead, or another one may have its id: here this process itself has it."""
    _write(tmp_path, Owner(socket.gethostname(), os.getpid()))
    with writer_lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_the_lock_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(json.dumps({"host": "elsewhere.example", "pid": 1, "start": 1}))
    with pytest.raises(BusyError, match=r"process 1 on elsewhere\.example"):
        writer_lock(tmp_path).__enter__()


def test_a_killed_process_loses_its_lock_before_anyone_has_waited_for_it(tmp_path: Path) -> None:
    with _takers(1) as (taker,):
        _send([taker], str(tmp_path))
        assert taker.stdout.readline() == "got it\n"
        with pytest.raises(BusyError, match=f"process {taker.pid} on "):
            writer_lock(tmp_path).__enter__()
        taker.kill()
        os.waitid(os.P_PID, taker.pid, os.WEXITED | os.WNOWAIT)  # dead, but not reaped
        with writer_lock(tmp_path):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_another_machine_counts_as_alive(tmp_path: Path) -> None:
    other = Owner("elsewhere.example", 1)
    _write(tmp_path, other)
    with pytest.raises(ConflictError, match=r"process 1 on elsewhere\.example"), writer_lock(tmp_path):
        pass
    assert Owner(**json.loads((tmp_path / "lock").read_text())) == other


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_BEAT", 0.01), ("_SETTLED", 0.0)):
        monkeypatch.setattr(f"headclust.features.lock.{name}", seconds)


def _last_beat(folder: Path, seconds_ago: float) -> None:
    when = (folder / "lock").stat().st_mtime - seconds_ago
    os.utime(folder / "lock", (when, when))


@pytest.mark.usefixtures("quick_lease")
def test_the_lease_of_a_dead_machine_ends_after_ten_minutes(tmp_path: Path) -> None:
    _write(tmp_path, Owner("elsewhere.example", 1))
    _last_beat(tmp_path, 590)
    with pytest.raises(BusyError, match="free 10 minutes after its last sign of life"), writer_lock(tmp_path):
        pass
    _last_beat(tmp_path, 20)
    with writer_lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["host"] == socket.gethostname()


def test_a_lock_of_a_version_without_leases_is_held_until_it_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(json.dumps({"host": "elsewhere.example", "pid": 1}))
    _last_beat(tmp_path, 10**6)
    with pytest.raises(BusyError), writer_lock(tmp_path):
        pass


@pytest.mark.usefixtures("quick_lease")
def test_the_holder_gives_signs_of_life(tmp_path: Path) -> None:
    with writer_lock(tmp_path):
        for _ in range(2):
            _last_beat(tmp_path, 1000)
            before, deadline = (tmp_path / "lock").stat().st_mtime, time.monotonic() + 10
            while (tmp_path / "lock").stat().st_mtime == before:
                assert time.monotonic() < deadline
                time.sleep(0.005)


@pytest.mark.usefixtures("quick_lease")
def test_a_holder_that_was_suspended_finds_its_lock_taken_and_leaves_it_alone(tmp_path: Path) -> None:
    with writer_lock(tmp_path) as lease:
        lease.check()
        _write(tmp_path, Owner("elsewhere.example", 1))
        _last_beat(tmp_path, 1000)
        before = (tmp_path / "lock").stat().st_mtime
        with pytest.raises(ConflictError, match=r"lost its lock \(process 1 on elsewhere.example took it\)"):
            lease.check()
        time.sleep(0.05)
        assert (tmp_path / "lock").stat().st_mtime == before  # no sign of life for another's lock
        (tmp_path / "lock").unlink()
        with pytest.raises(ConflictError, match="its file is gone"):
            lease.check()


@pytest.mark.usefixtures("quick_lease")
def test_of_two_machines_that_take_a_dead_lock_at_once_one_has_it(tmp_path: Path, monkeypatch) -> None:
    _write(tmp_path, Owner("elsewhere.example", 1))
    _last_beat(tmp_path, 1000)
    other = Owner("third.example", 3)
    monkeypatch.setattr("headclust.features.lock.time.sleep", lambda seconds: _write(tmp_path, other))
    with pytest.raises(BusyError, match=r"process 3 on third\.example"), writer_lock(tmp_path):
        pass
    assert Owner(**json.loads((tmp_path / "lock").read_text())) == other


def test_a_lock_that_is_no_longer_ours_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a.h5.partial"
    other = Owner("elsewhere.example", 1)
    with writer_lock(folder):
        _write(folder, other)
    assert Owner(**json.loads((folder / "lock").read_text())) == other


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not stop root, so the refusal is played."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(HeadclustError, match=r"cannot write .*: Permission denied: choose another place"):
        writer_lock(tmp_path / "a.h5.partial").__enter__()


def test_the_lock_of_another_user_is_held_by_its_owner(tmp_path, monkeypatch):
    # Its file can be read and not written, so flock cannot even be tried.
    (tmp_path / "lock").write_text(json.dumps({"host": socket.gethostname(), "pid": 1}))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("headclust.features.lock.UnixFileLock.acquire", refuse)
    with pytest.raises(BusyError, match="is being written by process 1 on "), writer_lock(tmp_path):
        pass
    assert (tmp_path / "lock").exists()


def test_a_system_without_room_for_a_thread_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(HeadclustError, match="cannot start a thread: can't start new thread: end some other processes"):
        writer_lock(tmp_path / "a.h5.partial").__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(HeadclustError, match=rf"cannot write .*: {os.strerror(code)}: choose another place"):
        writer_lock(tmp_path / "a.h5.partial").__enter__()


def test_a_disk_too_full_for_a_lock_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(HeadclustError, match="No space left on device: free some space"):
        writer_lock(tmp_path / "a.h5.partial").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_of_several_takers_of_a_dead_lock_one_wins(tmp_path: Path) -> None:
    with _takers(3) as takers:
        for turn in range(20):
            folder = tmp_path / str(turn)
            _write(folder, Owner(socket.gethostname(), 1))
            _send(takers, str(folder))
            assert sorted(taker.stdout.readline() for taker in takers) == ["got it\n", "refused\n", "refused\n"]
            _send(takers, "go on")
            assert [taker.stdout.readline() for taker in takers] == ["done\n"] * 3
            assert not folder.exists()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed in /proc")
def test_a_decoding_worker_does_not_hold_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"

    def decode(row: int, slot: int) -> None:
        files = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
        if lock in files:
            raise DataError("the lock is open")

    with writer_lock(tmp_path):
        worker = start_worker(decode, np.zeros(1, dtype=np.uint8), 10)
        try:
            assert worker.decode([(0, 0)]) == {}
        finally:
            worker.kill()
            worker.reap()


def test_something_else_in_the_place_of_the_lock_is_one_line_and_stays(tmp_path):
    (tmp_path / "lock").mkdir()
    with (
        pytest.raises(ConflictError, match="lock is not a file of headclust: move or delete it"),
        writer_lock(tmp_path),
    ):
        pass
    (tmp_path / "lock").rmdir()
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(ConflictError, match="lock is not a file of headclust"), writer_lock(tmp_path):
        pass
    (tmp_path / "lock").unlink()
    (tmp_path / "mine.txt").write_text("my own")
    (tmp_path / "lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(ConflictError, match="lock is not a file of headclust"), writer_lock(tmp_path):
        pass
    assert (tmp_path / "mine.txt").read_text() == "my own"
