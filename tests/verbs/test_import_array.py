import numpy as np
import pytest
from PIL import Image

from headclust import load_features, verbs
from headclust.errors import HeadclustError


def test_import_array(here, blobs):
    np.save("my data.npy", blobs.features)
    (here / "ids.txt").write_bytes(b"".join(b"caf\xe9-%d\n" % row for row in range(120)))
    (here / "labels.txt").write_text("\n".join(map(str, blobs.labels)))
    path = verbs.import_array(here / "my data.npy", ids=here / "ids.txt", labels=here / "labels.txt", backbone="a/b")
    assert path.as_posix() == "features/my-data-all/a-b.h5"
    features = load_features(path)
    assert np.array_equal(features.all().numpy(), blobs.features)
    assert features.sample_ids[3] == "caf\udce9-3"
    assert features.labels.tolist() == blobs.labels.tolist()
    assert (features.attributes["dataset"], features.attributes["backbone"]) == ("my data", "a/b")
    assert verbs.verify(path) == []


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((3, 2), np.nan), "0: its features hold NaN or infinity"),
        (np.full((3, 2), np.inf), "0: its features hold NaN or infinity"),
        (np.zeros((0, 4)), "features are float64 of shape"),
        (np.zeros((3, 2, 2)), "features are float64 of shape"),
        (np.float32(3), r"features are float32 of shape \(\)"),  # once a TypeError
        (np.array(["a", "b"]), "features are <U1"),
    ],
)
def test_arrays_that_are_no_features(here, array, message):
    np.save("x.npy", array)
    with pytest.raises(HeadclustError, match=message):
        verbs.import_array(here / "x.npy")
    assert list(here.rglob("*.h5")) == []


def test_ids_as_windows_writes_them(here, blobs):
    # The first id once began with the byte order mark.
    np.save("x.npy", blobs.features)
    for encoding in ("utf-8-sig", "utf-16"):
        (here / "ids.txt").write_bytes("".join(f"{row}.jpg\r\n" for row in range(120)).encode(encoding))
        path = verbs.import_array(here / "x.npy", ids=here / "ids.txt", overwrite=True)
        assert load_features(path).sample_ids == tuple(f"{row}.jpg" for row in range(120))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n\nb\n", "line 2 is blank"),
        ("a\nb\na\n", "line 3: 'a' is in line 1 already"),
        ("a\nb\n", "120 rows of features but 2 sample ids"),
        ("a\nb\0\n", "line 2: a null character"),
    ],
)
def test_ids_that_are_refused(here, blobs, content, message):
    np.save("x.npy", blobs.features)
    (here / "ids.txt").write_text(content)
    with pytest.raises(HeadclustError, match=message):
        verbs.import_array(here / "x.npy", ids=here / "ids.txt")
    assert list(here.rglob("*.h5")) == []


def test_a_table_with_class_names(here, capsys):
    (here / "x.csv").write_text("path,label,f0,f1\na.jpg,dog,1,2\nb.jpg,,3,4\nc.jpg,cat,5,6\n")
    features = load_features(verbs.import_array(here / "x.csv", backbone="mine"))
    assert features.sample_ids == ("a.jpg", "b.jpg", "c.jpg")
    assert (features.labels.tolist(), features.class_names) == ([1, -1, 0], ("cat", "dog"))
    assert "x.csv: 2 columns, f0 to f1; ids from path; labels from label." in capsys.readouterr().err


@pytest.fixture
def photos(here):
    for number in range(3):
        path = here / "photos" / f"{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 * number).save(path)
    return here / "photos"


def test_images_of_imported_rows_are_in_the_report(here, photos, capsys):
    (here / "x.csv").write_text("file,f0,f1\nphotos/a/0.png,0,1\n1.png,1,1\na/2.png,3,1\nnone.png,4,1\n")
    path = verbs.import_array(here / "x.csv", images="photos", output=here / "x.h5")
    features = load_features(path)
    assert features.sample_ids == ("a/0.png", "b/1.png", "a/2.png", "none.png")
    assert features.attributes["source"] == str(photos)
    assert "images of 3 of 4 rows are in" in capsys.readouterr().err
    run = verbs.fit([path], method="kmeans", clusters=2, output=here / "run")
    assert "data:image/" in verbs.report(run, umap=False).read_text()
    exported = verbs.export(run, to="csv").read_text()
    assert str(photos / "b/1.png") in exported


def test_images_need_ids(here, photos, blobs):
    np.save("x.npy", blobs.features[:3])
    with pytest.raises(HeadclustError, match="--images needs ids"):
        verbs.import_array(here / "x.npy", images="photos")
    with pytest.raises(HeadclustError, match="--split is for --images"):
        verbs.import_array(here / "x.npy", split="train")
