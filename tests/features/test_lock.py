"""One writer at a time, whoever dies when."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from headclust.errors import ConflictError, HeadclustError
from headclust.features.lock import Owner, writer_lock

# Takes the lock of the folder it is told of, says how that went, and lets go when told to.
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


def _dead() -> Owner:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return Owner(socket.gethostname(), process.pid, 1)


def test_held_then_gone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "a.h5.partial"
    with writer_lock(folder):
        assert Owner(**json.loads((folder / "lock").read_text())) == Owner.current()
        with pytest.raises(ConflictError, match=f"process {os.getpid()} on {socket.gethostname()}.*delete .*lock"):
            writer_lock(folder).__enter__()
        assert (folder / "lock").exists()
    assert not folder.exists()


def test_released_on_interrupt_and_what_is_in_the_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "a.h5.partial"
    with pytest.raises(KeyboardInterrupt), writer_lock(folder):  # noqa: PT012
        (folder / "data.bin").touch()
        raise KeyboardInterrupt
    assert [file.name for file in folder.iterdir()] == ["data.bin"]


@pytest.mark.parametrize("content", ["", '{"host": "x"', "[]", '{"host": "x"}'])
def test_a_lock_whose_writer_died_while_writing_it_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content)
    with writer_lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_dead_process_loses_its_lock(tmp_path: Path) -> None:
    _write(tmp_path, _dead())
    with writer_lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times come from /proc")
def test_another_process_with_the_same_pid_is_not_the_owner(tmp_path: Path) -> None:
    own = Owner.current()
    _write(tmp_path, Owner(own.host, own.pid, own.start - 1))
    with writer_lock(tmp_path):
        pass


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="process states come from /proc")
def test_a_killed_process_nobody_has_waited_for_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with process:
        start = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
        owner = Owner(socket.gethostname(), process.pid, start)
        assert owner.is_alive()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but not reaped
        assert not owner.is_alive()


def test_another_machine_counts_as_alive(tmp_path: Path) -> None:
    _write(tmp_path, Owner("elsewhere.example", 1, 1))
    with pytest.raises(ConflictError, match=r"process 1 on elsewhere\.example"), writer_lock(tmp_path):
        pass


def test_a_lock_that_is_no_longer_ours_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a.h5.partial"
    other = Owner("elsewhere.example", 1, 1)
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


def test_a_disk_too_full_for_a_lock_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(HeadclustError, match="No space left on device: free some space"):
        writer_lock(tmp_path / "a.h5.partial").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_of_several_takers_of_a_dead_lock_one_wins(tmp_path: Path) -> None:
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        assert [taker.stdout.readline() for taker in takers] == ["ready\n"] * 3
        dead = _dead()
        for turn in range(20):
            folder = tmp_path / str(turn)
            _write(folder, dead)
            _tell(takers, str(folder))
            assert sorted(taker.stdout.readline() for taker in takers) == ["got it\n", "refused\n", "refused\n"]
            _tell(takers, "go on")
            assert [taker.stdout.readline() for taker in takers] == ["done\n"] * 3
            assert not folder.exists()
    finally:
        for taker in takers:
            taker.communicate()


def _tell(takers: list[subprocess.Popen[str]], line: str) -> None:
    for taker in takers:
        taker.stdin.write(line + "\n")
        taker.stdin.flush()
