import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from headclust import load_features, verbs
from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError, SettingError
from headclust.methods import METHODS
from headclust.report import read_data
from headclust.report.layouts import HEIGHT, WIDTH, make_layouts, sample_rows
from headclust.verbs.export import FORMATS
from verbs.conftest import rows


@pytest.fixture
def photos(tmp_path):
    """120 images in two folders, as many as there are blobs."""
    for row in range(120):
        path = tmp_path / "photos" / ("cats", "dogs")[row % 2] / f"{row // 2:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), (row, 0, 0)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def run(fit, write, blobs, photos):
    """A run on these images."""
    ids = [f"{('cats', 'dogs')[row % 2]}/{row // 2:03d}.png" for row in range(120)]
    labels = np.where(np.arange(120) < 3, -1, np.arange(120) % 2)
    described = {"class_names": ["cats", "dogs"], "attributes": {"source": str(photos), "split": "all"}}
    return fit(write("photos.h5", blobs.features, labels, sample_ids=ids, **described), method="kmeans", clusters=4)


@pytest.mark.parametrize("to", FORMATS)
def test_default_places(run, here, to):
    made = verbs.export(run, to=to)
    ends = {"csv": ".csv", "parquet": ".parquet", "folders": "-folders", "fiftyone": "-fiftyone", "coco": "-coco.json"}
    assert (here / made).samefile(here / f"exports/run{ends[to]}")
    assert verbs.export(run, to=to) == made


def test_every_image_is_in_the_folder_of_its_cluster(run, photos):
    made = verbs.export(run, to="folders")
    found = {path.resolve(): path.parent.name for path in made.glob("*/*")}
    assert found == {photos / row["sample_id"]: f"cluster-{row['cluster']}" for row in rows(run / "assignments.csv")}


def test_a_table_says_what_the_run_says(run, photos):
    told, fitted = rows(verbs.export(run, to="csv")), rows(run / "assignments.csv")
    for name in ("sample_id", "cluster", "confidence"):
        assert [row[name] for row in told] == [row[name] for row in fitted]
    assert [row["path"] for row in told] == [str(photos / row["sample_id"]) for row in fitted]
    assert [row["label"] for row in told[:5]] == ["", "", "", "dogs", "cats"]
    assert "novelty" not in told[0]


@pytest.fixture
def without_umap(monkeypatch):
    """UMAP takes seconds; tests/report has its tests."""
    monkeypatch.setattr("headclust.graph.umap.has_umap", lambda: False)


def test_vectors_and_positions_for_embedding_atlas(run, blobs, without_umap):
    made = verbs.export(run, to="parquet", vectors=True, positions=True)
    table = pq.read_table(made)
    assert str(table.schema.field("vector").type) in ("list<item: float>", "list<element: float>")
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), blobs.features)
    x, y = np.array(table["projection_x"]), np.array(table["projection_y"])
    assert x.min() >= 0 <= y.min()
    assert x.max() <= 1 >= y.max()
    # The blobs are apart on the map too: the nearest other point is mostly of the same cluster.
    distances = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 + 9 * np.eye(len(x))
    clusters = np.array(table["cluster"])
    assert (clusters[distances.argmin(1)] == clusters).mean() > 0.9
    assert set(rows(verbs.export(run, to="csv", positions=True))[0]) == set(table.column_names) - {"vector"}
    back = verbs.import_array(made)  # and it can be read again
    assert np.array_equal(load_features(back).all().numpy(), blobs.features)


def test_positions_are_those_of_the_map(run, without_umap):
    data = read_data(run)
    order = sample_rows(data.clusters)
    layout = make_layouts(data.model, data.spaces, order, ("umap", "pca"))[0]
    told = rows(verbs.export(run, to="csv", positions=True))
    x = np.array([float(row["projection_x"]) for row in told])
    y = np.array([float(row["projection_y"]) for row in told])
    np.testing.assert_allclose(x[order] * WIDTH, layout.positions[:, 0], atol=0.01)
    np.testing.assert_allclose((1 - y[order]) * HEIGHT, layout.positions[:, 1], atol=0.01)


def test_vectors_of_predicted_images(run, write, here):
    other = write(run / "predicted/new.h5", np.eye(3, 12, dtype=np.float32), sample_ids=["a", "b", "c"])
    verbs.predict(run, features=[other], output=run / "predicted/new.csv")
    made = verbs.export(run, to="parquet", predicted="new", vectors=True)
    assert np.array_equal(np.array(pq.read_table(made)["vector"].to_pylist()), np.eye(3, 12))
    other.unlink()
    with pytest.raises(DataError, match="no such file"):
        verbs.export(run, to="parquet", predicted="new", vectors=True, overwrite=True)


def test_vectors_of_several_spaces(fit, write, blobs, without_umap):
    second = blobs.features[:, :5] * 2
    run = fit(write("a.h5", blobs.features), write("b.h5", second, backbone="other"), method="kmeans", clusters=4)
    table = pq.read_table(verbs.export(run, to="parquet", vectors=True, positions=True))
    assert np.array_equal(np.array(table["vector_1"].to_pylist(), np.float32), blobs.features)
    assert np.array_equal(np.array(table["vector_2"].to_pylist(), np.float32), second)
    with pytest.raises(SettingError, match="has 2 feature spaces, and --features names one"):
        verbs.export(run, to="parquet", vectors=True, features=Path("a.h5"), overwrite=True)


def test_predicted_images(run, write, photos, here):
    other = write("other.h5", np.eye(3, 12, dtype=np.float32), [0, 1, -1], sample_ids=["a", "b", "cats/000.png"])
    verbs.predict(run, features=[other])
    name = "blobs-all-gauss"
    made = verbs.export(run, to="csv", predicted=name)
    assert made.name == f"run-{name}.csv"
    told = rows(made)
    assert [row["sample_id"] for row in told] == ["a", "b", "cats/000.png"]
    assert [row["novelty"] for row in told] == [row["novelty"] for row in rows(run / f"predicted/{name}.csv")]
    assert {row["path"] for row in told} == {""}  # nobody said where they are
    told = rows(
        verbs.export(run, to="csv", predicted=str(run / f"predicted/{name}.csv"), features=other, overwrite=True)
    )
    assert [row["label"] for row in told] == ["0", "1", ""]


def test_predicted_images_whose_features_lie_beside(run, write, photos):
    beside = write(
        run / "predicted/new.h5",
        np.eye(2, 12),
        sample_ids=["cats/001.png", "dogs/001.png"],
        attributes={"source": str(photos)},
    )
    verbs.predict(run, features=[beside], output=run / "predicted/new.csv")
    made = verbs.export(run, to="folders", predicted="new", how="copy")
    assert sorted(path.name for path in made.glob("*/*")) in (["001-2.png", "001.png"], ["001.png", "001.png"])


@pytest.mark.parametrize("predicted", ["nothing", "../assignments", "", "/etc/passwd"])
def test_predicted_files_that_are_none(run, predicted):
    with pytest.raises(DataError, match="has no predictions: make some with headclust predict"):
        verbs.export(run, to="csv", predicted=predicted)
    (run / "predicted").mkdir()
    shutil.copy(run / "assignments.csv", run / "predicted/photos-all.csv")
    with pytest.raises(SettingError, match=r"unknown predicted file .*known: photos-all|did you mean photos-all"):
        verbs.export(run, to="csv", predicted=predicted)


def test_names_for_clusters(run, here):
    (here / "names.csv").write_text("cluster,name\n0,pets\n1,pets\n2,../else\n")
    made = verbs.export(run, to="folders", names=here / "names.csv")
    assert sorted(path.name for path in made.iterdir()) == ["_..-else", "cluster-3", "headclust-export.json", "pets"]
    told = rows(verbs.export(run, to="csv", names=here / "names.csv"))
    assert {row["group"] for row in told if row["cluster"] in "01"} == {"pets"}


def test_features_that_are_gone(run, here, photos, capsys):
    (here / "photos.h5").unlink()
    told = rows(verbs.export(run, to="csv"))
    assert told[7]["path"] == str(photos / told[7]["sample_id"])
    assert "label" not in told[0]
    assert "exported without labels: " in capsys.readouterr().err


def test_a_folder_of_groups_that_moved(fit, run, here, capsys):
    # Labels and the report's map were once lost with the old path.
    groups = here / "groups"
    groups.mkdir()
    (groups / "headclust.json").write_text("{}")
    (here / "photos.h5").rename(groups / "features.h5")
    inner = fit(groups / "features.h5", method="kmeans", clusters=4, output="groups/run")
    groups.rename(here / "moved-groups")
    told = rows(verbs.export(here / "moved-groups", to="csv"))
    assert [row["label"] for row in told[:5]] == ["", "", "", "dogs", "cats"]
    assert "exported without labels" not in capsys.readouterr().err
    assert not inner.exists()


def test_exports_of_two_folders_of_groups_do_not_meet(run, here):
    # Both were once exports/run.csv.
    made = []
    for name in ("pets-groups", "photos-groups"):
        shutil.copytree(run, here / name / "run")
        (here / name / "headclust.json").write_text("{}")
        made += [verbs.export(here / name / "run", to="csv"), verbs.export(here / name, to="csv")]
    assert [path.name for path in made] == ["pets-groups.csv"] * 2 + ["photos-groups.csv"] * 2
    shutil.copytree(run, here / "photos-groups" / "run-30")
    assert verbs.export(here / "photos-groups" / "run-30", to="csv").name == "run-30.csv"


def test_features_that_changed(run, write, blobs, capsys):
    other = write("photos.h5", blobs.features, sample_ids=[f"x{row}" for row in range(120)], overwrite=True)
    assert "label" not in rows(verbs.export(run, to="csv"))[0]
    assert "holds other samples than the assignments" in capsys.readouterr().err
    with pytest.raises(DataError, match="holds other samples than the assignments"):
        verbs.export(run, to="csv", features=other, overwrite=True)


def test_images_that_are_gone(run, photos, capsys):
    shutil.rmtree(photos)
    assert {row["path"] for row in rows(verbs.export(run, to="csv"))} == {""}
    assert "the images cannot be found" in capsys.readouterr().err
    with pytest.raises(DataError, match="none of the 120 images is found"):
        verbs.export(run, to="folders")
    with pytest.raises(DataError, match="none of the 120 images is a file"):
        verbs.export(run, to="fiftyone")
    assert json.loads(verbs.export(run, to="coco").read_text())["images"][0]["id"] == 1


def test_a_move_and_then_the_rest(run, photos):
    made = verbs.export(run, to="folders", how="move")
    assert not list(photos.glob("*/*.png"))
    assert len(list(made.glob("*/*.png"))) == 120
    assert verbs.export(run, to="folders", how="move") == made


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"to": "xml"}, SettingError, "unknown format 'xml'"),
        ({"to": "csv", "how": "move"}, SettingError, "--move is for --to folders"),
        ({"to": "csv", "vectors": True}, SettingError, "--vectors is for --to parquet"),
        ({"to": "coco", "positions": True}, SettingError, "--positions is for --to csv or parquet"),
        ({"to": "folders", "how": "hard"}, SettingError, "unknown way"),
        ({"to": "folders", "overwrite": True}, SettingError, "folders are never replaced"),
        ({"to": "csv", "output": "run/x.csv"}, ConflictError, "lies in the run folder"),
        ({"to": "csv", "output": "run/assignments.csv", "overwrite": True}, ConflictError, "lies in the run folder"),
        ({"to": "folders", "output": "run"}, ConflictError, "lies in the run folder"),
        ({"to": "folders", "output": "photos/groups"}, ConflictError, "lies in the image folder"),
        ({"to": "folders", "output": "circle/x"}, HeadclustError, "circle"),
        ({"to": "csv", "output": "circle"}, HeadclustError, "circle"),
        ({"to": "csv", "output": "photos.h5/x"}, HeadclustError, "cannot write .*choose another place"),
        ({"to": "folders", "output": "photos.h5/x"}, HeadclustError, "cannot write .*choose another place"),
        ({"to": "csv", "names": "photos.h5"}, FileFormatError, "photos.h5"),
        ({"to": "csv", "features": "none.h5"}, DataError, "no such file"),
    ],
)
def test_what_is_refused(run, here, options, error, told):
    (here / "circle").symlink_to("circle")
    before = {path: path.lstat().st_mtime_ns for path in here.rglob("*")}
    paths = {name: here / options[name] for name in ("output", "names", "features") if name in options}
    with pytest.raises(error, match=told) as caught:
        verbs.export(run, **{**options, **paths})
    assert str(caught.value).isprintable()
    assert {path: path.lstat().st_mtime_ns for path in here.rglob("*")} == before


@pytest.mark.parametrize("content", ["a,4,0.5", "a,0", "", None])
def test_a_damaged_run(run, content):
    if content is None:
        (run / "assignments.csv").unlink()
    else:
        (run / "assignments.csv").write_text(f"sample_id,cluster,confidence\n{content}\n".rstrip("\n") + "\n")
    with pytest.raises(HeadclustError) as caught:
        verbs.export(run, to="csv")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("method", METHODS)
def test_every_method(fit, blob_file, method):
    told = rows(verbs.export(fit(blob_file, method=method), to="csv"))
    assert len(told) == 120


def test_hostile_ids_from_a_file_of_another(fit, write, blobs, photos, here):
    ids = ["../secret.png", str(here / "secret.png"), "=1+1", "\x1b[2J", "new\nline", "\udce9", "\ud800"]
    Image.new("RGB", (2, 2)).save(here / "secret.png")
    ids += [f"cats/{row:03d}.png" for row in range(60)]
    run = fit(
        write("bad.h5", blobs.features[: len(ids)], sample_ids=ids, attributes={"source": str(photos)}), clusters=2
    )
    made = verbs.export(run, to="folders", how="move")
    assert (here / "secret.png").exists()
    assert len(list(made.glob("*/*"))) == 60
    with verbs.export(run, to="csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        told = list(csv.DictReader(file))
    assert [row["sample_id"] for row in told[:6]] == ids[:6]
    for to in ("parquet", "coco"):
        assert verbs.export(run, to=to).stat().st_size > 0
