"""Worker processes that hang, crash, are killed or outlive their parent: what each costs, and what is left behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numbered import BATCH, SHAPE, Pixels, blocks, check, run, shared

from headclust.device import usable_cores
from headclust.errors import ConflictError, DataError, HeadclustError
from headclust.images.decoding import decoded_batches, n_workers, worker


def _all_children() -> set[int]:
    found = set()
    for task in Path("/proc/self/task").iterdir():  # each thread lists the processes that it forked
        with contextlib.suppress(OSError):  # the thread has ended
            found |= set(map(int, (task / "children").read_text().split()))
    return found


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children that other tests have left, as libraries' helpers are."""
    monkeypatch.setattr(sys.modules[__name__], "_OTHERS", _all_children())


_OTHERS: set[int] = set()


def _children() -> list[int]:
    """Processes of ours that are still there, dead ones not yet collected included."""
    return sorted(_all_children() - _OTHERS)


def _torn(row: int) -> None:
    if row in (0, 9, 10, 29):
        raise DataError(f"torn {row} \udce9")


def test_every_row_has_its_slot_and_what_is_bad_is_black() -> None:
    batches, bad = run(_torn)
    assert bad == {row: f"torn {row} \udce9" for row in (0, 9, 10, 29)}
    check(batches, 30, set(bad))
    assert _children() == []


def test_workers_are_as_many_as_cores_and_never_more_than_images() -> None:
    assert n_workers(10**6) == usable_cores()
    assert n_workers(1) == 1


def test_processes_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("headclust.images.decoding.pool.usable_cores", lambda: 9)
    for processes, workers in (("2", 4), ("9", 1), ("100", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert n_workers(64) == workers


def _block_alarm_and_sleep() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(600)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (lambda: time.sleep(600), "took more than 0.3 s to read: ended"),
        (lambda: sum(itertools.repeat(0)), "took more than 0.3 s to read: ended"),  # in C, holding the interpreter
        (_block_alarm_and_sleep, "took more than 0.3 s to read: ended"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "its decoder crashed (signal 11)"),
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "its decoder was killed (signal 9: perhaps the machine ran out of memory)",
        ),
        (lambda: os._exit(3), "its decoder ended by itself (exit code 3)"),
    ],
    ids=["hangs", "hangs in C", "hangs past its alarm", "crashes", "is killed", "exits"],
)
def test_a_worker_that_dies_costs_the_image_it_was_at(
    monkeypatch: pytest.MonkeyPatch, trouble: Callable[[], object], reason: str
) -> None:
    monkeypatch.setattr(worker, "_GRACE", 0.2)

    def before(row: int) -> None:
        _torn(row)
        if row == 12:
            trouble()

    batches, bad = run(before, timeout=0.3)
    assert bad.pop(12) == reason
    assert sorted(bad) == [0, 9, 10, 29]  # the reasons before the death are not lost with the worker
    check(batches, 30, {12, *bad})
    assert _children() == []


def test_one_that_even_sigkill_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a disk that does not answer. Not to be had in a test: so the parent's kill does nothing."""
    monkeypatch.setattr(worker, "_GRACE", 0.1)
    monkeypatch.setattr(worker, "_REAP_SECONDS", 0.1)
    pids, kill = shared(2), worker.Worker.kill

    def before(row: int) -> None:
        if row == 12:
            pids[np.flatnonzero(pids == 0)[0]] = os.getpid()
            _block_alarm_and_sleep()

    monkeypatch.setattr(worker.Worker, "kill", lambda self: None if self.pid in pids else kill(self))
    try:
        batches, bad = run(before, timeout=0.2)
        assert bad == {12: "took more than 0.2 s to read: ended"}
        check(batches, 30, {12})
    finally:
        for pid in pids.tolist():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_an_image_is_tried_twice_because_machines_are_suspended() -> None:
    met = shared(30)

    def before(row: int) -> None:
        met[row] += 1
        if row in (5, 6, 20) and met[row] == 1:
            os.kill(os.getpid(), signal.SIGALRM)

    batches, bad = run(before)
    assert bad == {}
    check(batches, 30, set())
    assert met[[5, 6, 20]].tolist() == [2, 2, 2]


def test_a_worker_may_be_idle_for_longer_than_an_image_may_take() -> None:
    """The model is slower than the time-out: no alarm may go off while a worker waits for more."""
    pids = shared(5 * BATCH)

    def note(row: int, out: Pixels) -> None:
        pids[row] = os.getpid()

    with closing(decoded_batches(note, blocks(5 * BATCH), SHAPE, workers=1, timeout=0.2)) as batches:
        for _ in batches:
            time.sleep(0.5 if not pids[-1] else 0)
    assert len(set(pids.tolist())) == 1


def test_how_often_is_tried_can_be_chosen() -> None:
    met = shared(30)

    def before(row: int) -> None:
        met[row] += 1
        if row == 5:
            os._exit(3)

    assert run(before, tries=1)[1] == {5: "its decoder ended by itself (exit code 3)"}
    assert met[5] == 1


def test_a_reason_has_bounded_length() -> None:
    def before(row: int) -> None:
        if row < 2:
            raise DataError("x" * (300 + row))

    assert run(before)[1] == {0: "x" * 300, 1: "x" * 297 + "..."}


def test_too_little_memory_for_an_image_is_no_bug() -> None:
    def before(row: int) -> None:
        if row == 17:
            raise MemoryError("x")

    with pytest.raises(MemoryError, match=r"^image 17: not enough memory$"):
        run(before)
    assert _children() == []


def test_a_bug_is_told_with_its_text_and_leaves_nothing() -> None:
    error = KeyError("x")

    def before(row: int) -> None:
        if row == 17:
            raise error

    with pytest.raises(RuntimeError, match=r"(?s)reading image 17 failed, which is a bug:.*in before.*x"):
        run(before)
    assert _children() == []


def test_a_source_that_has_gone_is_told_as_it_is() -> None:
    def before(row: int) -> None:
        if row == 17:
            raise ConflictError("photos.zip has changed: start again.")

    with pytest.raises(ConflictError, match=r"^photos\.zip has changed: start again\.$"):
        run(before)
    assert _children() == []


def test_what_c_libraries_say_of_images_is_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    run(lambda row: os.write(2, b"ZIPDecode: Decoding error at scanline 0\n"))
    assert capfd.readouterr().err == ""


def test_a_worker_holds_nothing_of_its_parents() -> None:
    reader, writer = os.pipe()
    found = shared(1)

    def before(row: int) -> None:
        if row == 3:
            open_ = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
            found[0] = 1 + len(open_ & {reader, writer})
            os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C reaches every process at a terminal: the parent handles it

    try:
        assert run(before)[1] == {}
    finally:
        os.close(reader)
        os.close(writer)
    assert found[0] == 1


def test_closing_early_ends_all_workers_at_once() -> None:
    def slow(row: int, out: Pixels) -> None:
        time.sleep(0 if row < BATCH else 600)

    with closing(decoded_batches(slow, blocks(1000), SHAPE, workers=3)) as batches:
        next(batches)
        assert len(_children()) == 3
        start = time.monotonic()
    assert time.monotonic() - start < 5
    assert _children() == []


def test_workers_that_cannot_live_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_detach", lambda *_: os._exit(7))
    with pytest.raises(HeadclustError, match=r"die at once \(its decoder ended by itself \(exit code 7\)\): check"):
        run()
    assert _children() == []


def _no_fork() -> int:
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_a_system_without_processes_to_spare_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", _no_fork)
    with pytest.raises(HeadclustError, match=r"^cannot start a process to decode images: Resource temp.*: end some"):
        run()
    monkeypatch.delattr(os, "fork")
    with pytest.raises(HeadclustError, match=r"which this system lacks: use Linux or macOS\.$"):
        run()


def test_no_memory_is_one_line() -> None:
    with pytest.raises(
        HeadclustError, match=r"no memory for \d+ MB of pixels: choose a smaller batch size, or fewer views"
    ):
        next(decoded_batches(lambda row, out: None, blocks(8), (1 << 30, 1 << 10, 224, 224, 3)))


def test_pythons_warning_about_threads_is_the_only_one_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 and later say this; here warnings are errors."""
    fork = os.fork

    def warning_fork() -> int:
        text = f"This process (pid={os.getpid()}) is multi-threaded, use of fork() may lead to deadlocks in the child."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return fork()

    monkeypatch.setattr(os, "fork", warning_fork)
    assert run()[1] == {}
    monkeypatch.setattr(os, "fork", lambda: warnings.warn("something else", DeprecationWarning, stacklevel=2))
    with pytest.raises(DeprecationWarning, match="something else"):
        run()
