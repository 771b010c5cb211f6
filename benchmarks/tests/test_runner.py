import json
import os
from dataclasses import replace

import numpy as np
import pytest
from study import runner
from study.plan import plan
from study.results import append, read_lines, read_results
from study.runner import Tally, make

from headclust.errors import HeadclustError

from .conftest import TINY, write_place


@pytest.fixture
def fits(monkeypatch):
    """The ids of the fits that are made."""
    made, real = [], runner.make_fit

    def make_fit(cell, *more):
        made.append(cell.id)
        return real(cell, *more)

    monkeypatch.setattr(runner, "make_fit", make_fit)
    return made


def test_a_table_is_made_and_then_kept(cells, places, fits):
    assert make(cells, places) == Tally(made=4)
    assert [line["id"] for line in read_results(places.results)] == [cell.id for cell in cells]
    files = {path: path.read_bytes() for path in places.root.rglob("*") if path.is_file()}
    assert make(cells, places) == Tally(kept=4)
    assert {path: path.read_bytes() for path in places.root.rglob("*") if path.is_file()} == files
    assert len(fits) == 3
    assert not any((places.root / "claims").iterdir())
    assert len(list((places.root / "cells").glob("*.npz"))) == 3


def test_only_what_changed_is_made_again(cells, places, fits):
    make(cells, places)
    fits.clear()
    changed = [replace(cells[-1], settings={**cells[-1].settings, "beta": 0.9}), *cells[:-1]]
    assert make(changed, places) == Tally(made=1, kept=3)
    assert fits == [changed[0].id]


def test_other_features_make_everything_again(cells, places, fits):
    make(cells, places)
    write_place(places.root, seed=1)
    assert make(cells, places) == Tally(made=4)
    assert len(read_results(places.results)) == 4
    assert len(read_lines(places.results)) == 8
    write_place(places.root)  # as they were: what was made then is taken
    fits.clear()
    assert make(cells, places) == Tally(kept=4)
    assert fits == []
    keys = [line["key"] for line in read_lines(places.results)]
    assert [line["key"] for line in read_results(places.results)] == keys[:4]


def test_the_same_fit_under_another_name_is_taken(places, fits):
    cells = plan(TINY, ablations=True)
    make(cells, places)
    assert len(fits) == len(set(fits)) == 4  # of the two points of the curve one is the table's own fit
    lines = {line["id"]: line for line in read_results(places.results)}
    assert len(lines) == 5
    points = [line for line in lines.values() if line.get("role") == "ablation"]
    assert [(line["curve"], line["value"]) for line in points] == [("n_heads", 1)]


def test_a_failing_cell_is_recorded_and_the_table_goes_on(cells, places, fits):
    bad = replace(cells[-1], settings={**cells[-1].settings, "n_neighbors": 80})
    odd = replace(cells[1], settings={"nothing": 1})
    assert make([bad, odd, *cells], places) == Tally(made=4, failed=2)
    lines = {line["id"]: line for line in read_results(places.results)}
    assert lines[bad.id]["status"] == "failed"
    assert "n_neighbors is 80" in lines[bad.id]["error"]
    assert "unknown setting" in lines[odd.id]["error"]
    before = places.results.read_bytes()
    assert make([bad, odd, *cells], places) == Tally(kept=4, failed=2)
    assert places.results.read_bytes() == before


def test_a_fit_that_failed_is_tried_again_only_when_asked(cells, places, monkeypatch, capsys):
    def fail(*_):
        raise HeadclustError("the loss stopped being finite.")

    calls, real = [], runner.make_fit
    monkeypatch.setattr(runner, "make_fit", lambda *a: calls.append(1) or fail())
    assert make(cells[1:2], places) == make(cells[1:2], places) == Tally(failed=1)
    assert len(calls) == 1
    assert make(cells[1:2], places, retry=True) == Tally(failed=1)
    assert len(calls) == 2
    assert len(read_lines(places.results)) == 1
    monkeypatch.setattr(runner, "make_fit", real)
    assert make(cells[1:2], places, retry=True) == Tally(made=1)
    assert [line["status"] for line in read_results(places.results)] == ["done"]


def test_a_mistake_of_ours_costs_one_cell_and_is_shown(cells, places, monkeypatch, capsys):
    real = runner.make_fit

    def break_(cell, *more):
        if cell.seed == 1:
            raise TypeError("two\nlines")
        return real(cell, *more)

    monkeypatch.setattr(runner, "make_fit", break_)
    assert make(cells, places) == Tally(made=3, failed=1)
    (line,) = [line for line in read_results(places.results) if line["status"] == "failed"]
    assert line["error"] == "TypeError: two lines"
    assert "Traceback" in capsys.readouterr().err


def test_features_that_cannot_be_made_fail_their_cells_alone(places, fits):
    study = replace(TINY, datasets=("digits", "cifar10"))
    assert make(plan(study), places) == Tally(made=4, failed=4)
    failed = [line for line in read_results(places.results) if line["status"] == "failed"]
    assert {line["dataset"] for line in failed} == {"cifar10"}
    assert all("there is no" in line["error"] and line["key"] is None for line in failed)
    write_place(places.root, dataset="cifar10", seed=3)  # once they are there, nothing has to be asked for
    assert make(plan(study), places) == Tally(made=4, kept=4)


def test_features_of_another_backbone_are_no_test_of_these(cells, places):
    write_place(places.root, backbone="efficientnet_lite1")
    folder = places.root / "features" / "digits-test"
    (folder / "efficientnet_lite1.h5").replace(folder / "efficientnet_lite0.h5")
    assert make(cells, places).failed == 4
    assert "its backbone is efficientnet_lite1" in read_results(places.results)[0]["error"]


def test_labels_never_reach_a_method(cells, places, monkeypatch):
    from headclust.methods import METHODS

    seen, real = [], METHODS["kmeans"]
    monkeypatch.setitem(
        METHODS, "kmeans", lambda spaces, *a, **k: seen.append(spaces[0].labels) or real(spaces, *a, **k)
    )
    monkeypatch.setattr(runner, "code_of", lambda cell: "")
    monkeypatch.setattr("study.cells._modules", lambda cell: ["headclust.runs.scored_fit"])
    make(cells[1:3], places)
    assert seen == [None, None]


def test_a_results_file_with_a_torn_line_goes_on(cells, places, capsys):
    make(cells, places)
    content = places.results.read_bytes()
    places.results.write_bytes(content[:-20])
    assert make(cells, places) == Tally(made=1, kept=3)
    assert len(read_results(places.results)) == 4
    assert "unfinished line" in capsys.readouterr().err


def test_a_disk_that_takes_nothing_stops_the_table(cells, places):
    append(places.results, {**json.loads(json.dumps(LINE))})
    places.results.unlink()
    places.results.mkdir()
    with pytest.raises(HeadclustError):
        make(cells, places)


LINE = {"format": "headclust-results", "version": 1, "kind": "fit", "status": "done", "id": "x", "key": "0"}


def test_what_is_told(cells, places, capsys):
    make(cells, places)
    told = capsys.readouterr().err
    assert "[1/4] efficientnet_lite0/digits/probes: knn_accuracy" in told
    assert "[2/4] efficientnet_lite0/digits/kmeans/ours/s0/n_heads=2: ACC" in told


def test_assignments_are_those_that_were_scored(cells, places):
    make(cells, places)
    for line in read_results(places.results)[1:]:
        arrays = np.load(places.root / line["assignments"], allow_pickle=False)
        assert len(np.unique(arrays["eval"])) == line["scores"]["clusters_used"]


def test_a_full_disk_ends_the_run_and_is_no_failure_of_the_fit(cells, places, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("study.results.write_atomically", full)
        with pytest.raises(HeadclustError, match=r"cannot write .*No space left on device") as error:
            make(cells, places)
    assert "\n" not in str(error.value)
    assert [line["status"] for line in read_results(places.results)] == ["done"]  # the probes
    assert make(cells, places) == Tally(kept=1, made=3)


def test_a_failed_line_does_not_hide_the_same_fit_under_another_name(places, monkeypatch, fits):
    cells = plan(TINY)
    temi = next(cell for cell in cells if cell.method == "temi")
    same = replace(temi, settings={**temi.settings, "beta": 0.6})  # what its recipe says already
    with monkeypatch.context() as patch:
        patch.setattr(runner, "make_fit", lambda *_: (_ for _ in ()).throw(HeadclustError("no memory.")))
        assert make([same], places) == Tally(failed=1)
    assert make([temi], places, retry=True) == Tally(made=1)
    assert make([same], places) == Tally(kept=1)
    assert {line["status"] for line in read_results(places.results)} == {"done"}


def test_features_that_are_gone_hide_no_fit(cells, places, capsys):
    make(cells, places)
    before = places.results.read_bytes()
    path = places.features(cells[0].fit)
    content = path.read_bytes()
    path.write_bytes(b"damaged")
    assert make(cells, places) == Tally(failed=4)
    assert "failed: " in capsys.readouterr().err
    assert places.results.read_bytes() == before
    path.write_bytes(content)
    assert make(cells, places) == Tally(kept=4)


def test_a_fit_whose_assignments_are_gone_is_made_again(cells, places, fits):
    make(cells, places)
    line = read_results(places.results)[-1]
    (places.root / line["assignments"]).unlink()
    fits.clear()
    assert make(cells, places) == Tally(kept=3, made=1)
    assert fits == [line["id"]]
    assert (places.root / line["assignments"]).is_file()


def test_a_claim_that_nobody_lets_go_of_is_left_in_the_end(cells, places, capsys):
    make(cells[:1], places)
    line = read_results(places.results)[0]
    places.results.unlink()
    with places.claim(line["key"]):
        assert make(cells, places, poll=0.01, patience=0.05) == Tally(made=3, left=1)
    told = capsys.readouterr().err
    assert "1 cells of other processes are left" in told
    assert str(places.root / "claims" / line["key"]) in told


def hold_elsewhere(places, key, *, silent):
    """Hold the claim of a cell as a process of another machine, whose last sign of life was so many seconds ago."""
    lock = places.claim_folder(key) / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({"host": "elsewhere.example", "pid": 1, "beats": True}))
    when = lock.stat().st_mtime - silent
    os.utime(lock, (when, when))


@pytest.fixture
def key(cells, places):
    """The key of the study's first fit of k-means."""
    make(cells[1:2], places)
    (line,) = read_results(places.results)
    places.results.unlink()
    return line["key"]


def test_the_cell_of_a_machine_that_died_is_made_ten_minutes_later(cells, places, key, monkeypatch):
    monkeypatch.setattr("headclust.features.lock._SETTLED", 0.0)
    hold_elsewhere(places, key, silent=500)
    assert make(cells[1:2], places, poll=0.01, patience=0.05) == Tally(left=1)
    hold_elsewhere(places, key, silent=700)
    assert make(cells[1:2], places) == Tally(made=1)
    assert not any((places.root / "claims").iterdir())


def test_a_process_that_lost_its_claim_while_it_was_suspended_adds_no_second_result(cells, places, key, monkeypatch):
    def suspended(cell, *more, make_it=runner.make_fit):
        line, content = make_it(cell, *more)
        hold_elsewhere(places, key, silent=0)
        append(places.results, line)  # that process has finished first
        return line, content

    monkeypatch.setattr(runner, "make_fit", suspended)
    assert make(cells[1:2], places, poll=0.01) == Tally(kept=1)
    assert len(read_lines(places.results)) == 1
