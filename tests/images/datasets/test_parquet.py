"""Parquet lists, written by pyarrow."""

import sys

import pytest
from PIL import Image

from headclust.errors import DataError, FileFormatError, SettingError
from headclust.images.datasets.lists import open_list


def test_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingError, match=r"pyarrow, which reads these, is not installed: pip install 'headclust\["):
        open_list(str(tmp_path / "x.parquet"), None)


@pytest.fixture
def write(tmp_path):
    """write(columns) -> path of a Parquet file."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def made(columns: dict) -> str:
        pq.write_table(pa.table(columns), tmp_path / "x.parquet")
        return str(tmp_path / "x.parquet")

    return made


def test_the_same_rules_as_csv(tmp_path, write):
    Image.new("RGB", (1, 1), (9, 0, 0)).save(tmp_path / "b.png")
    path = write({"Path": ["b.png", "c.png", "d.png"], "label": ["dog", None, "cat"], "score": [0.5, 1.5, 2.5]})
    images = open_list(path, None)
    assert images.sample_ids == ("b.png", "c.png", "d.png")
    assert (images.labels.tolist(), images.class_names) == ([1, -1, 0], ("cat", "dog"))
    assert images.read(0).getpixel((0, 0))[0] == 9
    assert (images.dataset, images.source) == ("x", path)


def test_whole_numbers_and_categories(write):
    import pyarrow as pa

    images = open_list(write({"file": ["a", "b"], "label": pa.array([3, None], pa.uint8())}), None)
    assert (images.labels.tolist(), images.class_names) == ([3, -1], ())
    categories = pa.array(["x", "y", "x"]).dictionary_encode()
    images = open_list(write({"file": ["a", "b", "c"], "label": categories}), None)
    assert (images.labels.tolist(), images.class_names) == ([0, 1, 0], ("x", "y"))


def test_texts_of_every_type(write):
    import pyarrow as pa

    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        images = open_list(write({"file": pa.array(["a", "b"], kind), "label": pa.array(["x", None], kind)}), None)
        assert (images.sample_ids, images.labels.tolist(), images.class_names) == (("a", "b"), [0, -1], ("x",))


def test_whole_numbers_kept_as_floats(write):
    images = open_list(write({"file": ["a", "b", "c", "d"], "label": [2.0, None, float("nan"), 0.0]}), None)
    assert (images.labels.tolist(), images.class_names) == ([2, -1, -1, 0], ())


def test_splits(write):
    path = write({"path": ["a", "b"], "split": ["train", "test"]})
    assert open_list(path, "test").sample_ids == ("b",)
    with pytest.raises(SettingError, match="no split was named"):
        open_list(path, None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [{"bytes": b"x", "path": "a"}]}, r"column 'image' is of type struct.*use hf:PATH"),
        ({"path": [["a"]]}, "column 'path' is of type list"),
        ({"path": ["a"], "label": [0.5]}, "label '0.5': expected whole numbers of at most 18 digits, or names"),
        ({"path": ["a"], "label": [1e300]}, r"label '1e\+300': expected whole numbers"),
        ({"path": ["a"], "label": [True]}, "column 'label' is of type bool: expected text or numbers"),
        ({"path": [b"a"]}, "column 'path' is of type binary"),
        ({"x": ["a"]}, "has the columns x: expected a header with one of path"),
        ({"path": ["a", None]}, "a row has no path"),
        ({"path": ["a", "a"]}, "names 'a' 2 times"),
        ({"path": ["a"], "Path": ["b"]}, "has 2 columns 'path'"),
    ],
)
def test_refusals(write, columns, message):
    with pytest.raises(DataError, match=message) as caught:
        open_list(write(columns), None)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_parquet(tmp_path, write):
    whole = (tmp_path / write({"path": ["a", "b"]})).read_bytes()
    for content in (b"", b"path\na\n", whole[:-20], b"PAR1" + bytes(50) + b"PAR1"):
        (tmp_path / "y.parquet").write_bytes(content)
        with pytest.raises(FileFormatError, match="cannot be read as a Parquet file") as caught:
            open_list(str(tmp_path / "y.parquet"), None)
        assert "\n" not in str(caught.value)


def test_a_null_character_in_a_path_fails_when_read(write):
    images = open_list(write({"path": ["a\0b"]}), None)
    with pytest.raises(DataError, match="null"):
        images.read(0)
