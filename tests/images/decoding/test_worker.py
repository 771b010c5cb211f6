"""Workers and what is around them: descriptors that are closed, parents that are killed.

Run as a script it is the parent: `python test_worker.py closed FILE`, or `sleep`, or `loop`.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from numbered import Pixels, run, shared

from headclust.images.decoding import decoded_batches, pool


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_workers_answer_where_standard_descriptors_are_closed(tmp_path: Path, closed: str) -> None:
    """Then a socket would be given one of their numbers, which C libraries write to."""
    told = tmp_path / "told"
    command = f'exec "$0" "$1" closed "$2" {closed}'
    subprocess.run(["sh", "-c", command, sys.executable, __file__, told], check=True, timeout=60)
    assert told.read_text() == "30 rows, 0 bad"


@pytest.mark.parametrize("behaviour", ["sleep", "loop"])
def test_workers_die_with_a_parent_that_is_killed(behaviour: str) -> None:
    command = [sys.executable, __file__, behaviour]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = json.loads(parent.stdout.readline())
        assert len(pids) == 2
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 2
        while any(map(_runs, pids)):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _parent(behaviour: str) -> None:
    """Says who its workers are once all of them are busy."""

    def stay(row: int, out: Pixels) -> None:
        started[row // pool._CHUNK] = os.getpid()
        if behaviour == "loop":
            sum(itertools.repeat(0))
        time.sleep(600)

    started = shared(2)
    batch = 2 * pool._CHUNK
    batches = decoded_batches(stay, [range(batch)], (1, batch, 3, 3, 3), workers=2)

    def tell() -> None:
        while not started.all():
            time.sleep(0.01)
        print(json.dumps(started.tolist()), flush=True)

    threading.Thread(target=tell).start()
    next(batches)


def _closed(told: str) -> None:
    """Decodes with a library that complains, and says in a file how many rows there were."""

    def complain(row: int) -> None:
        with suppress(OSError):
            os.write(2, b"ZIPDecode: Decoding error at scanline 0\n")

    batches, bad = run(complain, timeout=5)
    n = int(sum((batch[0, :, 0, 0, 0] > 0).sum() for batch in batches))
    Path(told).write_text(f"{n} rows, {len(bad)} bad")


if __name__ == "__main__":
    _closed(sys.argv[2]) if sys.argv[1] == "closed" else _parent(sys.argv[1])
