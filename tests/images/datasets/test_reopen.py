import numpy as np
import pytest
from PIL import Image

from headclust.images.datasets.reopen import reopen


@pytest.fixture
def photos(tmp_path):
    for name in ("b.png", "a.png", "in/c.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2), (len(name), 0, 0)).save(path)
    return tmp_path / "photos"


def test_samples_are_found_by_name_wherever_they_are(photos):
    found = reopen(str(photos), "all", ("in/c.png", "gone.png", "a.png", "../photos/b.png"))
    assert found.rows.dtype == np.int64
    assert [found.images.sample_ids[row] if row >= 0 else None for row in found.rows] == [
        "in/c.png",
        None,
        "a.png",
        None,
    ]
    assert found.images.read(found.rows[0]).getpixel((0, 0)) == (8, 0, 0)
    assert found.problem == ""


@pytest.mark.parametrize(
    ("source", "problem"),
    [(None, "do not record where the images are"), (3, "do not record where"), ("/nowhere/at/all", "/nowhere/at/all")],
)
def test_what_cannot_be_opened_is_told(source, problem):
    found = reopen(source, "all", ("a", "b"))
    assert found.images is None
    assert found.rows.tolist() == [-1, -1]
    assert problem in found.problem
    assert "\n" not in found.problem


def test_nothing_is_downloaded():
    assert "offline" in reopen("hf:some/data", "train", ("a",)).problem


def test_with_the_rows_and_labels_of_the_feature_file(tmp_path, capsys):
    for name in ("cat/a.png", "dog/b.png", "raw/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (1, 1)).save(tmp_path / name, format="PNG")
    ids = ("cat/a.png", "dog/b.png")
    images = reopen(str(tmp_path), "all", ids, {"exclude": ["raw"], "labels": "none"}).images
    assert (images.sample_ids, images.labels) == (ids, None)
    assert reopen(str(tmp_path), "all", ids, {"exclude": 3}).images.class_names == ("cat", "dog", "raw")
    assert capsys.readouterr().err == ""
