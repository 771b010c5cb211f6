"""Names of rows made elsewhere against the images of a source."""

import numpy as np
import pytest

from headclust.errors import DataError
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.matching import matched_ids


def images(*ids):
    stamps = tuple((0, 0) for _ in ids)
    return ImageSet("photos", "all", "/data/my/photos", ids, None, (), stamps, lambda row: np.zeros(row))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat/1.jpg", "cat/1.jpg"),
        ("./cat/1.jpg", "cat/1.jpg"),
        ("/data/my/photos/cat/1.jpg", "cat/1.jpg"),
        ("photos/cat/1.jpg", "cat/1.jpg"),
        ("my/photos/cat/1.jpg", "cat/1.jpg"),
        ("C:\\photos\\cat\\3.JPG", "cat/3.jpg"),
        ("cat\\1.jpg", "cat/1.jpg"),
        ("3.jpg", "cat/3.jpg"),
        ("3", "cat/3.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),  # as macOS writes it
        ("1.jpg", None),  # there are two
        ("4.jpg", None),
    ],
)
def test_names(name, expected, capsys):
    source = images("a.jpg", "cat/1.jpg", "cat/3.jpg", "caf\u00e9.jpg", "dog/1.jpg")
    assert matched_ids(source, ["a.jpg", name]) == ["a.jpg", expected or name]
    line = capsys.readouterr().err
    assert f"images of {1 + bool(expected)} of 2 rows are in /data/my/photos" in line
    assert (f"no image for {name!r}" in line) is (expected is None)
    assert ("1 ids were replaced by the path there" in line) is (expected not in (None, name))


def test_images_without_a_row_are_counted(capsys):
    matched_ids(images("a.jpg", "b.jpg", "c.jpg"), ["b.jpg"])
    assert "2 of its images have no row" in capsys.readouterr().err


def test_two_names_of_one_image():
    # The exact one wins; an image has one row at most.
    assert matched_ids(images("a.jpg", "b.jpg"), ["./a.jpg", "a.jpg"]) == ["./a.jpg", "a.jpg"]


def test_another_folder():
    with pytest.raises(DataError, match=r"no id is the name of an image in /data/my/photos: the first are '0' and 'a"):
        matched_ids(images("a.jpg"), ["0", "1"])
