"""Processes that are killed, and several at one table."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from study import runner
from study.places import Places
from study.results import read_lines, read_results
from study.runner import Tally, make

ROOT = Path(__file__).resolve().parent.parent.parent
IMPORTS = os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks", ROOT / "tests")))
# Makes the tiny study with more seeds; in one cell it waits forever where a test asks for that.
SCRIPT = """
import json, sys, time
from pathlib import Path
from tests.conftest import TINY
from study import runner
from study.places import Places
from study.plan import plan

real = runner.make_fit

def make_fit(cell, *more):
    if {hang!r} == cell.seed:
        print("in it", flush=True)
        time.sleep(600)
    time.sleep({pause!r})
    return real(cell, *more)

runner.make_fit = make_fit
print("ready", flush=True)
sys.stdin.readline()
tally = runner.make(plan(TINY, seeds=3), Places(Path({root!r})), device="cpu", poll=0.05)
print(json.dumps([tally.kept, tally.made, tally.failed]))
"""


def start(root, *, hang=None, pause=0.0):
    script = SCRIPT.format(root=str(root), hang=hang, pause=pause)
    # Of as many threads as this process has now, whatever ran in it before: they are part of the keys of cells.
    environment = {**os.environ, "PYTHONPATH": IMPORTS, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def more_cells():
    from study.plan import plan

    from .conftest import TINY

    return plan(TINY, seeds=3)


def test_a_killed_table_goes_on_where_it_was(places, more_cells):
    process = start(places.root, hang=1)
    go(process)
    assert process.stdout.readline() == "in it\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = read_results(places.results)
    assert [line["id"] for line in before] == [cell.id for cell in more_cells[:2]]
    assert len(list((places.root / "claims").iterdir())) == 1  # the dead process's
    assert make(more_cells, places) == Tally(kept=2, made=5)
    assert read_lines(places.results)[:2] == before
    assert [line["id"] for line in read_lines(places.results)] == [cell.id for cell in more_cells]
    assert not any((places.root / "claims").iterdir())
    for line in read_results(places.results)[1:]:
        assert np.load(places.root / line["assignments"], allow_pickle=False)["eval"].shape == (40,)


def test_two_processes_make_each_cell_once(places, more_cells, monkeypatch):
    def make_fit(cell, *more, make_it=runner.make_fit):
        time.sleep(0.3)  # so that both get their turn
        return make_it(cell, *more)

    monkeypatch.setattr(runner, "make_fit", make_fit)
    process = start(places.root, pause=0.3)
    go(process)
    own = make(more_cells, places, device="cpu", poll=0.05)
    tallies = [json.loads(process.communicate()[0]), [own.kept, own.made, own.failed]]
    assert all(made for _, made, _ in tallies)
    assert [sum(tally) for tally in tallies] == [7, 7]  # each waits until all is there
    assert sum(made for _, made, _ in tallies) == 7
    assert sorted(line["id"] for line in read_lines(places.results)) == sorted(cell.id for cell in more_cells)
    assert make(more_cells, Places(places.root)) == Tally(kept=7)
