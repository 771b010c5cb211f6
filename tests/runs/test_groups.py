"""The groups of a run as a person sees them: fixes, then a level, then names."""

import shutil

import numpy as np
import pytest

from headclust import runs, verbs, write_features
from headclust.errors import SettingError
from headclust.runs.fixes import Fix, append_fixes
from headclust.runs.groups import describe_groups
from headclust.runs.levels import Join, Levels, levels_bytes
from headclust.runs.names import Name, Names, write_names

# Clusters 0 and 1 join, then 2 and 3, then all.
TREE = Levels((Join(1, 0, 0.1), Join(2, 3, 0.2), Join(2, 1, 0.5)))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, blobs):
    folder = tmp_path_factory.mktemp("groups")
    ids = [f"{row}.png" for row in range(len(blobs.labels))]
    features = write_features(
        folder / "blobs.h5", blobs.features, labels=blobs.labels, sample_ids=ids, dataset="blobs", backbone="gauss"
    )
    path = verbs.fit([features], method="kmeans", clusters=4, heads=2, output=folder / "run")
    (path / "levels.json").write_bytes(levels_bytes(TREE))
    from headclust.runs.checksums import checksum_lines

    (path / "checksums.sha256").write_bytes(checksum_lines(path))
    return path


@pytest.fixture
def run(fitted, tmp_path):
    return shutil.copytree(fitted, tmp_path / "run")


def groups(run, level=None):
    return runs.read_groups(runs.read_record(run), level=level)


def fix(run, *fixes):
    append_fixes(run / "fixes.csv", fixes)


def test_without_fixes_they_are_the_clusters(run, capfd):
    assigned, made = runs.read_assigned(runs.read_record(run)), groups(run)
    assert made.clusters.tolist() == assigned.clusters.tolist()
    assert made.ids == (0, 1, 2, 3)
    assert (made.names, made.is_changed) == ({}, False)
    assert made.of_cluster.tolist() == [0, 1, 2, 3]
    assert made.label(3) == "cluster-3"
    assert [union[:2] for union in made.unions] == [(1, 0), (2, 3), (2, 1)]
    assert not capfd.readouterr().err


def test_a_level_joins_them_and_the_rest_of_the_tree_stays(run):
    finest, made = groups(run), groups(run, 2)
    assert made.ids == (1, 2)
    assert made.of_cluster.tolist() == [1, 1, 2, 2]
    assert made.clusters.tolist() == made.of_cluster[finest.clusters].tolist()
    assert made.is_changed
    assert [union[:2] for union in made.unions] == [(2, 1)]
    assert groups(run, 1).ids == (2,)
    assert not groups(run, 4).is_changed


def test_fixes_come_before_the_level(run, capfd):
    row = int(np.flatnonzero(groups(run).clusters == 3)[0])
    fix(run, Fix("merge", group=1, other=0), Fix("move", image=f"{row}.png", group=4))
    made = groups(run)
    assert capfd.readouterr().err.strip() == f"2 fixes of {run}/fixes.csv applied."
    assert made.ids == (0, 2, 3, 4)
    assert made.clusters[row] == 4
    assert made.label(4) == "cluster-4"
    assert made.of(np.array([0, 1, 2, 4])).tolist() == [0, 0, 2, 4]
    # The first join is done already, and the new group stays apart at every level.
    assert groups(run, 3).ids == (0, 2, 4)
    assert groups(run, 2).ids == (2, 4)
    assert groups(run, 2).of(np.array([0, 1, 3])).tolist() == [2, 2, 2]
    with pytest.raises(SettingError, match="level 1: expected 2 to 4, the numbers of groups of this run"):
        groups(run, 1)


def test_a_fix_that_only_names_changes_no_group(run):
    fix(run, Fix("rename", group=3, name="cats"))
    assert groups(run).names == {3: "cats"}
    assert not groups(run).is_changed


def test_names_of_groups_and_of_unions(run):
    write_names(run, Names("a list", {0: Name("tabby"), 2: Name("truck")}, (None, Name("vehicle"), None)))
    assert groups(run).names == {0: "tabby", 2: "truck"}
    assert groups(run, 3).names == {2: "truck"}  # nothing is proposed for 1 and 0 together
    assert groups(run, 2).names == {2: "vehicle"}
    fix(run, Fix("rename", group=0, name="our cat"), Fix("rename", group=1, name="cats"))
    fix(run, Fix("rename", group=2, name="lorries"))
    assert groups(run).names == {0: "our cat", 1: "cats", 2: "lorries"}
    assert groups(run, 3).names == {1: "cats and 1 more", 2: "lorries"}
    assert groups(run, 2).names == {1: "cats and 1 more", 2: "vehicle"}
    assert groups(run, 1).names == {2: "lorries and 3 more"}
    assert [union.name for union in groups(run).unions] == ["cats and 1 more", "vehicle", "lorries and 3 more"]
    assert groups(run, 2).label(2) == "vehicle"


def test_metrics_of_groups_by_any_ids():
    clusters, labels = np.array([7, 7, 2, 2]), np.array([0, 0, 1, -1])
    made = describe_groups(clusters, labels)
    assert (made["n_clusters"], made["clusters_used"], made["entropy"], made["accuracy"]) == (2, 2, 1.0, 1.0)
    assert "accuracy" not in describe_groups(clusters, np.full(4, -1))


@pytest.fixture
def scores(run):
    return lambda **given: verbs.evaluate(run, **given)


def test_evaluate_scores_the_groups_of_a_level(run, scores, fitted, capfd):
    assert scores() == runs.read_record(run).metrics
    joined = scores(level=2)
    assert joined["n_clusters"] == 2
    assert joined["largest_share"] == pytest.approx(0.5)
    assert joined["accuracy"] == pytest.approx(0.5)
    assert joined["accuracy"] <= joined.get("accuracy_majority", 1)
    assert "agreement" not in joined
    assert scores(features=[fitted.parent / "blobs.h5"], level=2) == joined
    config = run / "config.json"
    config.write_text(config.read_text().replace("blobs.h5", "gone.h5"))
    (run / "checksums.sha256").unlink()
    config.write_text(config.read_text().replace('"format_version": 4', '"format_version": 3'))
    capfd.readouterr()
    assert "accuracy" not in scores(level=2)
    assert capfd.readouterr().err.startswith("without scores: ")


def test_predict_gives_ids_and_names_of_the_level(run, fitted, tmp_path, capfd):
    features = [fitted.parent / "blobs.h5"]
    plain = verbs.predict(run, features=features, output=tmp_path / "plain.csv").read_text()
    assert plain.startswith("sample_id,cluster,confidence,novelty\n")
    write_names(run, Names("a list", {}, (Name("=pets"), None, None)))
    capfd.readouterr()
    named = verbs.predict(run, features=features, level=2, output=tmp_path / "named.csv").read_text()
    header, *rows = named.splitlines()
    assert header == "sample_id,cluster,confidence,novelty,name"
    assert {tuple(row.split(",")[index] for index in (1, 4)) for row in rows} == {("1", "=pets"), ("2", "cluster-2")}
    before = [row.split(",") for row in plain.splitlines()[1:]]
    after = [row.split(",") for row in rows]
    assert [row[2:4] for row in before] == [row[2:4] for row in after]
    joined = {"0": "1", "1": "1", "2": "2", "3": "2"}
    assert [joined[row[1]] for row in before] == [row[1] for row in after]
    assert "for cluster 1 (=pets)" in capfd.readouterr().err or "for cluster 2)" in named
    # The file is read again, by export, with the names of the level that it asks for.
    table = verbs.export(run, to="csv", predicted=str(tmp_path / "named.csv"), level=1, output=tmp_path / "one.csv")
    assert {row.split(",")[2] for row in table.read_text().splitlines()[1:]} == {"2"}


def test_export_calls_groups_by_their_names(run, tmp_path):
    fix(run, Fix("rename", group=1, name="cats"), Fix("merge", group=0, other=1))
    path = verbs.export(run, to="csv", output=tmp_path / "all.csv")
    columns = [row.split(",") for row in path.read_text().splitlines()]
    place = columns[0].index("cluster")
    assert {(row[place], row[place + 1]) for row in columns[1:]} == {
        ("1", "cats"),
        ("2", "cluster-2"),
        ("3", "cluster-3"),
    }
    names = tmp_path / "names.csv"
    names.write_text("cluster,name\n2,dogs\n")
    path = verbs.export(run, to="csv", level=2, names=names, output=tmp_path / "two.csv")
    assert {tuple(row.split(",")[place : place + 2]) for row in path.read_text().splitlines()[1:]} == {
        ("1", "cats"),
        ("2", "dogs"),
    }
