"""levels.json: cuts of the joins, and files that are no tree."""

import json

import pytest

from headclust import runs, verbs
from headclust.errors import FileFormatError, SettingError
from headclust.runs import Join, Levels
from headclust.runs.levels import levels_bytes

TREE = Levels((Join(0, 1, 0.1), Join(2, 3, 0.2), Join(2, 0, 0.5)))


def test_cuts_apply_the_first_joins():
    assert TREE.clusters == (0, 1, 2, 3)
    assert TREE.cut(4) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert TREE.cut(3) == {0: 0, 1: 0, 2: 2, 3: 3}
    assert TREE.cut(2) == {0: 0, 1: 0, 2: 2, 3: 2}
    assert set(TREE.cut(1).values()) == {2}
    assert Levels().cut(0) == {}


def test_groups_that_a_person_ended_or_made():
    # Cluster 1 has no samples left, and 9 is new: the first join joins nothing, and 9 stays apart at every level.
    assert TREE.among([0, 2, 3, 9]) == [(2, Join(2, 3, 0.2)), (3, Join(2, 0, 0.5))]
    assert TREE.cut(3, [0, 2, 3, 9]) == {0: 0, 1: 0, 2: 2, 3: 2, 9: 9}
    # Cluster 2, whose id the union would have, has no samples left: the union has that of the next one.
    assert TREE.among([0, 1, 3]) == [(1, Join(0, 1, 0.1)), (3, Join(3, 0, 0.5))]
    assert TREE.cut(1, [0, 1, 3]) == {0: 3, 1: 3, 2: 3, 3: 3}


@pytest.mark.parametrize(
    ("level", "ids", "message"),
    [
        (0, None, "level 0: expected 1 to 4, the numbers of groups of this run"),
        (5, None, "level 5: expected 1 to 4,"),
        (1, [0, 2, 9], "level 1: expected 2 to 3,"),
        (1, [8, 9], "level 1: expected 2, the number of groups of this run"),
    ],
)
def test_levels_out_of_range(level, ids, message):
    with pytest.raises(SettingError, match=message):
        TREE.cut(level, ids)


@pytest.fixture(scope="module")
def run(tmp_path_factory, blobs):
    from headclust import write_features

    folder = tmp_path_factory.mktemp("levels")
    features = write_features(
        folder / "blobs.h5",
        blobs.features,
        labels=blobs.labels,
        sample_ids=[f"{row}.png" for row in range(len(blobs.labels))],
        dataset="blobs",
        backbone="gauss",
    )
    return verbs.fit([features], method="kmeans", clusters=6, heads=2, output=folder / "run")


@pytest.fixture
def copy(run, tmp_path):
    import shutil

    return shutil.copytree(run, tmp_path / "run")


def test_a_fit_writes_its_levels(run):
    record = runs.read_record(run)
    levels = runs.read_levels(record)
    assert levels.clusters == (0, 1, 2, 3, 4, 5)
    heights = [join.height for join in levels.joins]
    assert heights == sorted(heights)
    assert levels_bytes(levels) == (run / "levels.json").read_bytes()
    assert "levels.json" in (run / "checksums.sha256").read_text()
    assert runs.verify_run(run) == []


def without_checksums(run, joins):
    """A run of format version 3, whose levels.json is only checked for its contents."""
    from conftest import as_version_3

    (run / "levels.json").write_text(json.dumps({"joins": joins}))
    return runs.read_record(as_version_3(run))


@pytest.mark.parametrize(
    "change",
    [
        lambda joins: joins[:-1],
        lambda joins: [*joins[:-1], joins[0]],
        lambda joins: [[joins[0][0], joins[0][0], 0.1], *joins[1:]],
        lambda joins: [[6, *joins[0][1:]], *joins[1:]],
        lambda joins: [[*joins[0][:2], -1.0], *joins[1:]],
        lambda joins: [[*joins[0][:2], "1"], *joins[1:]],
        lambda joins: [[True, *joins[0][1:]], *joins[1:]],
        lambda joins: [joins[0][:2], *joins[1:]],
        lambda joins: 3,
    ],
)
def test_files_that_are_no_tree_are_one_line(copy, change):
    joins = json.loads((copy / "levels.json").read_text())["joins"]
    record = without_checksums(copy, change(joins))
    with pytest.raises(FileFormatError, match=r"levels\.json cannot be read \(.*fit again\.$"):
        runs.read_levels(record)
    assert len(runs.verify_run(copy)) == 1


def test_a_changed_file_is_one_line(copy):
    (copy / "levels.json").write_text('{"joins": []}')
    with pytest.raises(FileFormatError, match=r"levels\.json has changed since the fit"):
        runs.read_groups(runs.read_record(copy))


def test_runs_without_levels_are_read(copy):
    from conftest import as_version_3

    (as_version_3(copy) / "levels.json").unlink()
    record = runs.read_record(copy)
    assert runs.read_levels(record) == Levels()
    assert len(runs.read_groups(record).ids) == 6
    assert runs.read_groups(record, level=6).unions == ()
    with pytest.raises(SettingError, match=r"level 3: .* has no levels\.json, as an older version made it.* fit again"):
        runs.read_groups(record, level=3)
