import csv

import numpy as np
import pytest
from conftest import as_version_3, make_blobs

from headclust import load_features, verbs, write_features
from headclust.errors import DataError, FileFormatError
from headclust.report import read_data
from headclust.runs.scored_fit import assign


def test_a_run_and_its_features(world):
    data = read_data(world.run)
    features = load_features(world.features)
    assert data.sample_ids == features.sample_ids
    assigned = assign(data.model, [features])
    assert np.array_equal(data.clusters, assigned.clusters)
    assert np.allclose(data.confidence, assigned.confidence, atol=1e-6)
    assert (data.is_fitted, data.problem, data.name) == (True, "", "run")
    assert np.array_equal(data.labels, world.blobs.labels)


def test_rows_are_matched_by_sample_id_and_never_by_position(world):
    path = as_version_3(world.run) / "assignments.csv"
    before = read_data(world.run)
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file, lineterminator="\n").writerows([rows[0], *rows[:0:-1]])
    after = read_data(world.run)
    assert after.sample_ids == before.sample_ids
    assert np.array_equal(after.clusters, before.clusters)
    assert np.array_equal(after.confidence, before.confidence)


def test_features_that_are_gone_or_have_changed(world):
    before = read_data(world.run)
    moved_file = world.features.rename(world.root / "moved.h5")
    data = read_data(world.run)
    assert (data.spaces, data.labels, data.is_fitted) == ((), None, True)
    assert "photos.h5: no such file" in data.problem
    assert dict(zip(data.sample_ids, data.clusters, strict=True)) == dict(
        zip(before.sample_ids, before.clusters, strict=True)
    )
    assert data.provenance["source"] == str(world.folder)
    moved = read_data(world.run, [moved_file])
    assert (moved.is_fitted, moved.problem, len(moved.spaces)) == (True, "", 1)
    assert np.array_equal(moved.clusters, before.clusters)
    write_features(world.features, np.eye(60, 12), sample_ids=map(str, range(60)), dataset="photos", backbone="gauss")
    assert "has changed since" in read_data(world.run).problem


def test_features_that_moved_with_the_run(world):
    before = read_data(world.run)
    groups = world.root / "moved"
    groups.mkdir()
    world.features.rename(groups / world.features.name)
    data = read_data(world.run.rename(groups / "run"))
    assert (data.problem, data.is_fitted, len(data.spaces)) == ("", True, 1)
    assert np.array_equal(data.clusters, before.clusters)


def test_other_samples_are_assigned_by_the_model(world):
    features, labels = make_blobs(50, seed=3)
    other = write_features(
        world.root / "other.h5",
        features,
        sample_ids=[f"o{row}" for row in range(50)],
        labels=labels,
        dataset="others",
        backbone="gauss",
    )
    data = read_data(world.run, [other])
    assigned = assign(data.model, [load_features(other)])
    assert not data.is_fitted
    assert np.array_equal(data.clusters, assigned.clusters)
    assert {**data.metrics, "seconds": 0} == {**assigned.report, "seconds": 0}


def test_features_of_another_space_are_refused(world):
    ids = [f"o{row}" for row in range(50)]
    other = write_features(world.root / "o.h5", np.eye(50, 9), sample_ids=ids, dataset="o", backbone="gauss")
    with pytest.raises(DataError, match="its feature_dim is 9"):
        read_data(world.run, [other])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(b",3,", b",4,", 1), "holds cluster 4, expected 60 samples in clusters 0 to 3"),
        (lambda text: text.rsplit(b"\n", 2)[0] + b"\n", "holds 59 samples, expected 60"),
        (lambda text: text.replace(b"photo 040", b"photo 04X"), "holds 60 samples, 59 of them among the 60"),
        (lambda text: text.split(b"\n")[0] + b"\n", "holds 0 samples"),
    ],
)
def test_assignments_that_are_not_of_this_run(world, change, message):
    path = as_version_3(world.run) / "assignments.csv"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FileFormatError, match=message):
        read_data(world.run)


def test_ids_that_no_file_name_can_have(world):
    # Surrogates that represent no byte: the CSV holds their UTF-8 bytes.
    ids = ["a\ud800", "b\udc80", "c", "d"]
    features = write_features(world.root / "odd.h5", np.eye(4), sample_ids=ids, dataset="odd", backbone="none")
    run = verbs.fit([features], method="kmeans", clusters=2, output=world.root / "odd")
    assert read_data(run).sample_ids == tuple(ids)
