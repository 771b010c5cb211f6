"""The groups under review, and fixes.csv, to which every change goes at once."""

import numpy as np
import pytest

from headclust import runs
from headclust.errors import HeadclustError
from headclust.review.actions import fixes_of
from headclust.review.session import Session
from headclust.runs.fixes import Fix, read_fixes
from headclust.runs.groups import read_groups


@pytest.fixture
def session(run):
    return Session(run)


def test_a_change_is_on_disk_and_in_the_groups_at_once(session, run):
    ids, before = session.fitted.assigned.sample_ids, session.groups()
    row = int(np.flatnonzero(before.clusters == 0)[0])
    session.add([Fix("move", image=ids[row], group=2), Fix("rename", group=1, name="bees, =1+1")])
    assert read_fixes(run / "fixes.csv") == session.fixes
    after, stored = session.groups(), read_groups(runs.read_record(run))
    assert after.clusters[row] == 2
    assert after.names[1] == "bees, =1+1"
    assert (after.clusters == stored.clusters).all()
    assert after.names == stored.names


def test_undo_takes_whole_actions_back_and_after_a_restart_single_fixes(session, run):
    ids = session.fitted.assigned.sample_ids
    session.add([Fix("right", group=3)])
    session.add([Fix("move", image=image, group=1) for image in ids[:5]])
    assert len(session.undo()) == 5
    assert session.fixes == (Fix("right", group=3),)
    session.add([Fix("move", image=image, group=1) for image in ids[:2]])
    again = Session(run)
    assert [len(again.undo()) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(HeadclustError, match="no change to undo"):
        again.undo()


def test_what_contradicts_is_not_written(session, run):
    ids = session.fitted.assigned.sample_ids
    session.add([Fix("together", image=ids[0], other=ids[1])])
    content, version = (run / "fixes.csv").read_bytes(), session.version
    with pytest.raises(HeadclustError, match="contradicts"):
        session.add([Fix("apart", image=ids[0], other=ids[1])])
    assert (run / "fixes.csv").read_bytes() == content
    assert session.version == version


def test_an_edit_of_the_file_by_another_program_is_seen(session, run):
    session.add([Fix("right", group=0)])
    version = session.version
    (run / "fixes.csv").write_text("fix,group,image,other,name\nrename,1,,,bees\n")
    session.refresh()
    assert session.groups().names[1] == "bees"
    assert session.version > version
    (run / "fixes.csv").write_text("fix,group,image,other,name\nfly,1,,,\n")
    with pytest.raises(HeadclustError, match=r"line 2.*fly"):
        session.refresh()
    assert session.groups().names[1] == "bees"  # what could be used last


def test_new_groups_follow_each_other(session):
    ids = session.fitted.assigned.sample_ids
    for row, group in ((0, 4), (1, 5)):
        (fix,) = fixes_of(session, {"action": "move", "rows": [row], "into": "new"})
        assert fix == Fix("move", image=ids[row], group=group)
        session.add([fix])
    assert session.groups().ids[-2:] == (4, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "action"),
        ({"action": "fly"}, "action 'fly': expected one of rename"),
        ({"action": "rename", "group": 1}, "name is needed"),
        ({"action": "rename", "group": 1, "name": " "}, "rename without its name"),
        ({"action": "rename", "group": True, "name": "a"}, "no such group"),
        ({"action": "merge", "groups": [1], "into": 1}, "with itself"),
        ({"action": "merge", "groups": 1, "into": 2}, "groups to merge"),
        ({"action": "move", "rows": [60], "into": 1}, "not those of this run"),
        ({"action": "move", "rows": [-1], "into": 1}, "not those of this run"),
        ({"action": "move", "rows": ["0"], "into": 1}, "not those of this run"),
        ({"action": "move", "rows": [], "into": 1}, "at least 1"),
        ({"action": "move", "rows": [0], "into": 99}, "group 99"),
        ({"action": "together", "rows": [1, 1]}, "at least 2"),
        ({"action": "apart", "rows": [1, 2, 3]}, "expected two"),
        ({"action": "split", "group": 1, "parts": "2"}, "number of groups"),
        ({"action": "split", "group": 1, "parts": 1}, "from 2 on"),
    ],
)
def test_impossible_actions_are_one_line(session, values, message):
    with pytest.raises(HeadclustError, match=message) as error:
        fixes_of(session, values)
    assert "\n" not in str(error.value)


def test_each_action_becomes_the_fixes_that_say_it(session):
    ids = session.fitted.assigned.sample_ids
    cases = {
        (("action", "rename"), ("group", 1), ("name", " a\n b ")): [Fix("rename", group=1, name="a b")],
        (("action", "merge"), ("groups", (1, 2)), ("into", 0)): [Fix("merge", group=g, other=0) for g in (1, 2)],
        (("action", "split"), ("group", 1), ("parts", 3)): [Fix("split", group=1, other=3)],
        (("action", "together"), ("rows", (0, 1, 2))): [Fix("together", image=ids[0], other=ids[n]) for n in (1, 2)],
        (("action", "apart"), ("rows", (0, 1))): [Fix("apart", image=ids[0], other=ids[1])],
        (("action", "right"), ("group", 2)): [Fix("right", group=2)],
    }
    for given, expected in cases.items():
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in given}
        assert fixes_of(session, values) == expected
