"""Ids and fixes of an earlier run, for the fit of the same images or others."""

from pathlib import Path

import numpy as np
import pytest

from headclust.errors import DataError
from headclust.runs import Record
from headclust.runs.assignments import Assignments
from headclust.runs.earlier import Earlier, aligned_ids, constraints_of, fixes_to_keep
from headclust.runs.fixes import Fix, resolve_fixes


def earlier(groups, fixes=(), n_clusters=None):
    """A run of images a, b, c ... in the groups of these digits, with fixes."""
    clusters = np.array([int(group) for group in groups])
    n_clusters = n_clusters or int(clusters.max()) + 1
    assigned = Assignments(tuple("abcdefghijkl"[: len(groups)]), clusters, np.full(len(groups), 0.5), None)
    record = Record(Path("run"), {}, {"n_samples": len(groups), "n_clusters": n_clusters})
    return Earlier(record, assigned, resolve_fixes(assigned, fixes, n_clusters), tuple(fixes), None, is_kept=True)


def aligned(before, ids, clusters):
    found = np.array([int(cluster) for cluster in clusters])
    new = aligned_ids(before, tuple(ids), found, int(found.max()) + 1)
    return "".join(map(str, np.array(new.of)[found])), new.count


def test_clusters_get_the_ids_of_the_groups_that_they_share_most_with():
    assert aligned(earlier("001122"), "abcdef", "220011") == ("001122", 3)
    # Of two clusters of one group, the second has an id of its own.
    assert aligned(earlier("00001122"), "abcdefgh", "11220000") == ("00331111", 4)


def test_a_grown_folder_keeps_ids_and_new_clusters_get_new_ones():
    ids, count = aligned(earlier("001122"), "xabcdefy", "30011223")
    assert (ids, count) == ("30011223", 4)
    # A cluster of new images only has an id that the run does not use, even if a group has ended.
    ids, count = aligned(earlier("001122"), "abcdxy", "001122")
    assert (ids, count) == ("001133", 4)


def test_ids_of_a_run_with_fewer_clusters_stay():
    assert aligned(earlier("001122"), "abcdef", "000011") == ("000022", 3)


def test_runs_without_a_shared_image():
    with pytest.raises(DataError, match="none of the 2 images is in run: name features of its images"):
        aligned(earlier("01"), "xy", "01")


def test_constraints_are_those_of_the_shared_images(capsys):
    fixes = [
        Fix("move", image="a", group=2),
        Fix("move", image="b", group=3),
        Fix("merge", group=1, other=2),
        Fix("together", image="c", other="e"),
        Fix("apart", image="d", other="f"),
        Fix("split", group=2, other=3),
        Fix("rename", group=2, name="Cats"),
    ]
    before = earlier("001122", fixes)
    constraints, ids = constraints_of(before, ("x", "f", "e", "d", "c", "b"))
    # The groups 2 and 3 are left: numbers 0 and 1; the split adds the ids 4 and 5.
    assert (ids.of, ids.count) == ((2, 3, 4, 5), 6)
    assert constraints.n_groups == 4
    assert constraints.groups.tolist() == [-1, 0, 0, 0, 0, 1]
    assert constraints.pinned.tolist() == [-1, -1, -1, -1, -1, 1]
    assert (constraints.together.tolist(), constraints.apart.tolist()) == ([[4, 2]], [[3, 1]])
    assert constraints.splits == {0: (0, 2, 3)}
    assert "1 images with a fix are not in these features" in capsys.readouterr().err
    assert fixes_to_keep(before, constraints, ids, ("x", "f", "e", "d", "c", "b")) == (
        Fix("merge", group=1, other=2),
        Fix("move", image="b", group=3),
        Fix("together", image="c", other="e"),
        Fix("apart", image="d", other="f"),
        Fix("rename", group=2, name="Cats"),
    )


def test_a_confirmed_group_becomes_moves_and_pairs_that_follow_are_left_out():
    pairs = [Fix("together", image="a", other="b"), Fix("apart", image="a", other="c")]
    before = earlier("0011", [Fix("right", group=0), *pairs, Fix("move", image="c", group=1)])
    constraints, ids = constraints_of(before, tuple("abcd"))
    kept = fixes_to_keep(before, constraints, ids, tuple("abcd"))
    assert kept == tuple(Fix("move", image=image, group=group) for image, group in (("a", 0), ("b", 0), ("c", 1)))
    # Kept fixes are fixes of the new run, which has the same ids.
    again = earlier("0011", kept)
    assert again.resolved.pinned.tolist() == before.resolved.pinned.tolist()
