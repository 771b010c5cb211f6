import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError, SettingError
from headclust.images.datasets.lists import open_list

TEXT = "path,label,note\nb.png,dog,x\nsub/a.png,cat,\nc.png,,\n"


@pytest.fixture
def folder(tmp_path):
    """Images a, b, c of one pixel with the colors 0, 1, 2."""
    (tmp_path / "sub").mkdir()
    for number, name in enumerate(("sub/a.png", "b.png", "c.png")):
        Image.new("RGB", (1, 1), (number, 0, 0)).save(tmp_path / name)
    return tmp_path


def made(folder, content, name="list.csv"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder / name)


def refusal(path, split=None) -> str:
    with pytest.raises(HeadclustError) as caught:
        open_list(path, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_paths_and_names(folder):
    images = open_list(made(folder, TEXT), None)
    assert images.sample_ids == ("b.png", "sub/a.png", "c.png")
    assert images.labels.tolist() == [1, 0, -1]
    assert images.labels.dtype == np.int64
    assert images.class_names == ("cat", "dog")
    assert [images.read(i).getpixel((0, 0))[0] for i in range(3)] == [1, 0, 2]
    found = (folder / "b.png").stat()
    assert images.stamps[0] == (found.st_size, found.st_mtime_ns)
    assert (images.dataset, images.split, images.source) == ("list", "all", str(folder / "list.csv"))
    assert open_list(images.source, images.split).sample_ids == images.sample_ids


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("path", " Path ").encode(),
        TEXT.replace("path,label", "filename,class").encode(),
        TEXT.replace("path", "image_path").encode(),
        TEXT.replace("x\n", '"a ""b""\n\nc, d"\n').encode(),  # a line break in quotes
        TEXT.rstrip().encode(),
        (TEXT + "\n\n").encode(),
    ],
)
def test_the_same_list_written_otherwise(folder, content):
    images = open_list(made(folder, content), None)
    assert images.sample_ids == ("b.png", "sub/a.png", "c.png")
    assert images.labels.tolist() == [1, 0, -1]


def test_tabs(folder):
    assert open_list(made(folder, TEXT.replace(",", "\t"), "x.TSV"), None).labels.tolist() == [1, 0, -1]


def test_absolute_paths(folder, tmp_path_factory):
    path = made(tmp_path_factory.mktemp("elsewhere"), f"image\n{folder}/c.png\n")
    images = open_list(path, None)
    assert images.sample_ids == (f"{folder}/c.png",)
    assert (images.labels, images.class_names) == (None, ())
    assert images.read(0).getpixel((0, 0))[0] == 2


@pytest.mark.parametrize(
    ("texts", "labels", "names"),
    [
        (["0", "1", "1"], [0, 1, 1], ("0", "1")),
        (["7", "0", ""], [7, 0, -1], ()),
        (["-1", "0", "0"], [-1, 0, 0], ("0",)),
        (["1", "1.0", "0."], [1, 1, 0], ("0", "1")),
        (["1.0", "", "nan"], [1, -1, -1], ()),
        (["NaN", "nan", ""], None, ()),
        (["nan", "x", ""], [0, 1, -1], ("nan", "x")),
        (["cat ", "cat", " dog"], [0, 0, 1], ("cat", "dog")),
        ([" 1", "0 ", " "], [1, 0, -1], ("0", "1")),
        (["1.5", "2.5", "x"], [0, 1, 2], ("1.5", "2.5", "x")),
        (["1" * 30, "1" * 31, "x"], [0, 1, 2], ("1" * 30, "1" * 31, "x")),
        (["10", "9", "b"], [0, 1, 2], ("10", "9", "b")),
        (["", "", ""], None, ()),
    ],
)
def test_labels(folder, texts, labels, names):
    rows = zip(("b.png", "c.png", "sub/a.png"), texts, strict=True)
    images = open_list(made(folder, "path,label\n" + "".join(f"{path},{text}\n" for path, text in rows)), None)
    assert (None if images.labels is None else images.labels.tolist()) == labels
    assert images.class_names == names


def test_splits(folder):
    path = made(folder, "path,label,split\nb.png,x,train\nc.png,y,test\nsub/a.png,x,\n")
    images = open_list(path, "test")
    assert (images.sample_ids, images.labels.tolist(), images.class_names) == (("c.png",), [1], ("x", "y"))
    assert images.split == "test"
    assert len(open_list(path, "all")) == 3
    assert "holds test, train, all, and no split was named" in refusal(path)
    assert "there is no split 'val'" in refusal(path, "val")
    assert "it has no splits" in refusal(made(folder, TEXT, "y.csv"), "train")


def test_blanks_around_splits_do_not_count_and_those_in_paths_do(folder):
    images = open_list(made(folder, "path,split\n b.png, train\nc.png,train \n"), "train")
    assert images.sample_ids == (" b.png", "c.png")


def test_an_empty_column_of_splits_is_none(folder):
    images = open_list(made(folder, "path,split\nb.png,\nc.png, \n"), None)
    assert (images.split, len(images)) == ("all", 2)


def test_a_folder_that_goes_while_it_is_read_stops_the_run(folder):
    images = open_list(made(folder, TEXT), None)
    (folder / "b.png").unlink()
    with pytest.raises(DataError, match="no such file"):
        images.read(0)
    folder.rename(folder.with_name("moved"))
    with pytest.raises(ConflictError, match=f"{folder}, the folder of the images, no longer exists: put it back"):
        images.read(0)


def test_files_that_are_not_there_fail_when_read(folder):
    images = open_list(made(folder, "path\ngone.png\n"), None)
    assert images.stamps == ((0, 0),)
    with pytest.raises(DataError, match="no such file"):
        images.read(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no columns: expected a header with one of path, file"),
        ("path,label\na,0.5\nb,1\n", "label '0.5': expected whole numbers of at most 18 digits, or names"),
        ("path,label\na,1\nb,9999999999999999999999\n", "label '9999999999999999999999': expected whole numbers"),
        ("path,label\na,1\nb,inf\n", "label 'inf': expected whole numbers"),
        ("path,label\na,1\nb,1e5\n", "label '1e5': expected whole numbers"),
        ("b.png,1\nc.png,2\n", "has the columns b.png, 1: expected a header"),
        ("path;label\nb.png;1\n", "has the columns path;label: expected a header"),
        ("path,file\na,b\n", "has the columns path and file: expected only one"),
        ("path,label,class\na,1,1\n", "has the columns label and class"),
        ("path,Path\na,b\n", "has 2 columns 'path'"),
        ("path\n", "names no images"),
        ("path,label\n,1\n", "a row has no path"),
        ("path\na\na\n", "names 'a' 2 times"),
        ("path,label\na\n", "line 2: 1 columns, expected 2"),
        ("path,label\na,1,2\n", "line 2: 3 columns, expected 2"),
        ('path\n"a\nb\n', "unexpected end of data"),
        ("path,label\na,-3\n", "label -3: expected 0 or more"),
        (b"path\ncaf\xe9.png\n", "is not UTF-8 text"),
        (TEXT.encode("utf-16-le"), "line 1: a null character"),
        ("path,label\na\0b,1\n", "line 2: a null character"),
        ("path\n" + "x" * 200_000, "field larger than field limit"),
    ],
)
def test_refusals(folder, content, message):
    path = made(folder, content)
    found = refusal(path)
    assert message in found
    assert len(found) < 400


def test_lists_that_are_not_there(folder):
    refusal(str(folder / "gone.csv"))
    (folder / "x.csv").mkdir()
    assert "cannot be read: Is a directory" in refusal(str(folder / "x.csv"))


@given(st.lists(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1), unique=True))
@settings(max_examples=60)
def test_any_paths_come_back_as_they_were_written(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("list") / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path"], *([name] for name in names)])
    if names:
        assert open_list(str(path), None).sample_ids == tuple(names)


def test_errors_say_what_kind_they_are(folder):
    with pytest.raises(FileFormatError):
        open_list(made(folder, b"\xff"), None)
    with pytest.raises(SettingError):
        open_list(made(folder, TEXT), "train")
