"""Another fit with the fixes, from the page: what it moves, and the place of the old run."""

import shutil
import time

import numpy as np
import pytest
from conftest import short

from headclust import runs, verbs
from headclust.runs.groups import read_groups
from review.conftest import Page

SECONDS = 240


@pytest.fixture(scope="module")
def fitted(reviewed, tmp_path_factory):
    """A run of the default method."""
    place = tmp_path_factory.mktemp("fitted") / "run"
    changes = {"n_heads": 2, **{name: value for name, value in short("consensus").items() if name != "n_heads"}}
    return verbs.fit([reviewed.features], clusters=4, changes=changes, output=place)


@pytest.fixture
def page(fitted, tmp_path):
    made = Page(shutil.copytree(fitted, tmp_path / "run"))
    yield made
    made.desk.close()


def wait_for(page, *stages):
    end = time.monotonic() + SECONDS
    while (answer := page.read("refit"))["stage"] not in stages:
        assert time.monotonic() < end, answer
        time.sleep(0.05)
    return answer


def test_fit_again_keep_and_go_on(page, tmp_path):
    run, ids = tmp_path / "run", page.desk.session.fitted.assigned.sample_ids
    clusters = page.desk.session.groups().clusters
    rows = np.flatnonzero(clusters == 0)[:2].tolist()
    page.change("fix", action="move", rows=rows, into=2)
    page.change("fix", action="rename", group=1, name="bees")
    assert "no new groups" in page.change("refit", 400, step="keep")["error"]
    page.change("refit", step="start")
    assert "running" in page.change("refit", 400, step="start")["error"]
    page.change("fix", action="rename", group=3, name="meanwhile")  # goes along
    answer = wait_for(page, "done", "failed")
    assert answer["stage"] == "done", answer["lines"]
    assert (answer["fitted"], answer["method"], answer["images"]) == (3, "", 60)
    assert answer["step"] is not None  # the bar of the fit
    new = read_groups(runs.read_record(tmp_path / "run-refit"))
    moved = {row for row in range(60) if new.clusters[row] != page.desk.session.groups().clusters[row]}
    assert answer["moved"] == len(moved) == sum(count for *_, count in answer["moves"])
    listed = [page.read("images", moved=f"{before}-{after}")["images"] for before, after, _ in answer["moves"]]
    assert {image[0] for images in listed for image in images} == moved
    page.change("fix", action="right", group=2)  # after the fit: goes along too
    old = page.change("refit", step="keep")["old"]
    assert old == str(tmp_path / "run-before")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-before"]
    groups = read_groups(runs.read_record(run))
    assert [groups.clusters[row] for row in rows] == [2, 2]
    assert (groups.names[1], groups.names[3]) == ("bees", "meanwhile")
    assert runs.verify_run(run) == []
    assert page.lines[-1] == "right,2,,,"
    assert page.read("groups")["groups"][2]["right"]
    assert (page.desk.session.groups().clusters == groups.clusters).all()
    page.change("fix", action="move", rows=[5], into=3)  # the page goes on with the new run
    assert page.lines[-1] == f"move,3,{ids[5]},,"
    assert runs.read_record(tmp_path / "run-before")


def test_stop_and_drop_leave_nothing(page, tmp_path):
    page.change("fix", action="right", group=0)
    page.change("refit", step="start")
    page.change("refit", step="stop")
    wait_for(page, "none")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert page.lines == ["right,0,,,"]
    assert "step" in page.change("refit", 400, step="jump")["error"]


def test_a_failed_fit_says_why(page, tmp_path):
    page.change("fix", action="right", group=0)
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")  # not needed for a fit
    (tmp_path / "run" / "config.json").write_text("{}")
    page.change("refit", step="start")
    answer = wait_for(page, "failed")
    assert "config.json" in answer["lines"][-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
