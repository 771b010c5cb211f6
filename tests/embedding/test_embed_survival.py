"""Stage 1 under images and processes that die: row i stays sample_ids[i], and no bytes differ afterwards.

Run as a script it is the process that gets killed: `python test_embed_survival.py FILE SECONDS_AN_IMAGE`.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from gray import (
    FakeBackbone,
    FakeImages,
    Interrupted,
    Marked,
    N,
    embed,
    mark,
    rows_read,
    views_drawn,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headclust.errors import DataError, HeadclustError
from headclust.features import load_features, staging_folder, verify_features
from headclust.features.lock import writer_lock
from headclust.images.augment import AUGMENTATIONS


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AUGMENTATIONS, "standard", Marked())


# --- row i is sample_ids[i], whatever happens


@dataclass(frozen=True)
class Fate:
    """What happens to an image: which way it cannot be read."""

    torn: frozenset[int]
    killed: frozenset[int]
    ended: frozenset[int]
    hung: frozenset[int]

    def before(self, row: int) -> None:
        if row in self.torn:
            raise DataError(f"torn after {row} bytes")
        if row in self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if row in self.ended:
            os._exit(1)
        if row in self.hung:
            time.sleep(600)

    def reasons(self, n: int) -> dict[int, str]:
        listed = [
            (self.torn, "torn after {} bytes"),
            (self.killed, "its decoder was killed (signal 9: perhaps the machine ran out of memory)"),
            (self.ended, "its decoder ended by itself (exit code 1)"),
            (self.hung, "took more than 0.3 s to read: ended"),
        ]
        found: dict[int, str] = {}
        for rows, reason in listed:  # an image has the first of its fates
            found.update({row: reason.format(row) for row in rows if row < n and row not in found})
        return found


ROWS = st.frozensets(st.integers(0, 99), max_size=6)
FATES = st.builds(Fate, torn=ROWS, killed=ROWS, ended=ROWS, hung=st.frozensets(st.integers(0, 99), max_size=1))


# Each example embeds up to four times, and an image that hangs costs two timeouts each time.
EXAMPLES = 12 if os.environ.get("CI") else 5


@pytest.mark.usefixtures("marked")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=EXAMPLES)
@given(
    n=st.integers(1, 100),
    fate=FATES,
    batch_size=st.integers(3, 40),
    n_views=st.integers(0, 2),
    seed=st.integers(0, 5),
    stops=st.lists(st.integers(0, 6), max_size=3),
)
def test_rows_stay_with_their_samples_whatever_happens(
    tmp_path: Path, n: int, fate: Fate, batch_size: int, n_views: int, seed: int, stops: list[int]
) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    images, expected = FakeImages(n, before=fate.before), fate.reasons(n)
    options = {"batch_size": batch_size, "n_views": n_views, "augmentation": "standard", "seed": seed}
    options |= {"on_error": "skip", "timeout": 0.3}
    if len(expected) == n:
        with pytest.raises(DataError, match=f"none of {n} images can be read"):
            embed(folder / "a.h5", images, **options)
        return
    for stop in stops:
        with contextlib.suppress(KeyboardInterrupt):
            embed(folder / "a.h5", images, FakeBackbone(Interrupted(stop)), **options)
    features = load_features(embed(folder / "a.h5", images, **options))
    kept = [row for row in range(n) if row not in expected]
    assert features.sample_ids == tuple(f"{row}.png" for row in kept)
    assert features.skipped == tuple((f"{row}.png", expected[row]) for row in sorted(expected))
    assert rows_read(folder / "a.h5") == kept
    for view in range(n_views):
        assert views_drawn(folder / "a.h5", view) == [mark(seed, row, view) for row in kept]
    assert verify_features(folder / "a.h5") == []


# A process that dies for real.


@pytest.mark.slow  # three processes that load torch; the tests below kill one each
def test_killed_three_times_the_file_is_the_same(tmp_path: Path) -> None:
    whole = embed(tmp_path / "whole.h5", n_views=1).read_bytes()
    path, moments, blocks = tmp_path / "a.h5", random.Random(0), []
    for least in (3, 7, 11):
        _kill_after(path, least, moments.uniform(0, 0.03))
        assert (staging_folder(path) / "lock").exists()
        assert not path.exists()
        blocks.append(_n_journaled(path))
    assert blocks == sorted(set(blocks))  # every life got further than the one before
    assert embed(path, n_views=1).read_bytes() == whole
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "whole.h5"]


def test_killed_while_finishing(tmp_path: Path) -> None:
    """The moment after the last block: whatever is there then, the next run makes the same file of it."""
    whole = embed(tmp_path / "whole.h5", n_views=1).read_bytes()
    path = tmp_path / "a.h5"
    _kill_after(path, -(-N // 8), 0)
    assert embed(path, n_views=1).read_bytes() == whole
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "whole.h5"]


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with _started(path, 0.05) as process:
        _wait_for(process, lambda: _n_journaled(path) >= 1)
        with pytest.raises(HeadclustError, match=f"is being written by process {process.pid} on "):
            embed(path)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert process.returncode != 0
    embed(path, n_views=1)
    assert verify_features(path) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_leaves_no_process_and_no_lock_that_counts(tmp_path: Path, end: signal.Signals) -> None:
    path = tmp_path / "a.h5"
    with _started(path, 600) as process:
        _wait_for(process, lambda: len(_group(process.pid)) > 1)
        if end == signal.SIGINT:  # Ctrl-C at a terminal reaches the workers too
            _wait_for(process, lambda: (staging_folder(path) / "data.bin").exists())
            os.killpg(process.pid, end)
        else:
            process.send_signal(end)
        process.wait(60)
        deadline = time.monotonic() + 2
        while _group(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with writer_lock(staging_folder(path)):
        pass


def _group(leader: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(group) == leader and state not in "ZX":
                found.append(int(entry.name))
    return found


def _started(path: Path, seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, str(path), str(seconds)]
    imports = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": imports}
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, env=environment)


def _kill_after(path: Path, n_blocks: int, delay: float) -> None:
    with _started(path, 0.004) as process:
        _wait_for(process, lambda: _n_journaled(path) >= n_blocks)
        time.sleep(delay)  # not for order: so that death comes at any point of a block
        process.kill()


def _n_journaled(path: Path) -> int:
    try:
        return (staging_folder(path) / "journal.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 10**9 if path.exists() else 0


def _wait_for(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the process ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.002)


if __name__ == "__main__":
    pause = float(sys.argv[2])
    embed(Path(sys.argv[1]), FakeImages(before=lambda row: time.sleep(pause)), n_views=1)
