"""Splits of a folder, and the one list of classes they share."""

import pytest
from folder_files import tree

from headclust.errors import DataError, SettingError
from headclust.images.datasets import walk
from headclust.images.datasets.folder import list_class_folders, open_folder


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val"), ("train", "valid", "test"), ("train",)])
def test_a_folder_of_splits_asks_which(tmp_path, names):
    tree(tmp_path, *(f"{name}/{label}/{name}.png" for name in names for label in ("cat", "dog")))
    with pytest.raises(SettingError, match=r"no split was named: use --split"):
        open_folder(str(tmp_path), None)
    with pytest.raises(SettingError, match=r"there is no split 'all': use --split"):
        open_folder(str(tmp_path), "all")
    for name in names:
        images = open_folder(str(tmp_path), name)
        assert images.sample_ids == (f"{name}/cat/{name}.png", f"{name}/dog/{name}.png")
        assert (images.split, images.source, images.labels.tolist()) == (name, str(tmp_path), [0, 1])


def test_splits_share_their_classes(tmp_path):
    tree(tmp_path, "train/ant/1.png", "train/bee/2.png", "train/cat/3.png", "test/ant/4.png", "test/cat/5.png")
    images = open_folder(str(tmp_path), "test")
    assert images.class_names == ("ant", "bee", "cat")
    assert images.labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("names", "empty", "train", "test"),
    [
        (("train/cat/1", "train/dog/1", "test/cat/1", "test/dog/1"), "train/aaa", [0, 1], [0, 1]),
        (("train/cat/1", "train/dog/1", "test/dog/1"), "test/zzz", [0, 1], [1]),
        (("train/cat/1", "train/dog/1", "test/unknown/1", "test/unknown/2"), "train/x", [0, 1], None),
    ],
)
def test_splits_have_one_list_of_classes_whichever_is_opened(tmp_path, names, empty, train, test):
    (tree(tmp_path, *(f"{name}.png" for name in names)) / empty).mkdir()
    (tmp_path / empty / "notes.txt").touch()
    for split, labels in (("train", train), ("test", test)):
        images = open_folder(str(tmp_path), split)
        assert (images.labels if labels is None else images.labels.tolist()) == labels
        assert images.class_names == (() if labels is None else ("cat", "dog"))


def test_links_are_the_same_classes_whichever_split_is_opened(tmp_path):
    tree(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    for name, target in (("a", "cat"), ("b", "."), ("c", "gone"), ("d", "../test/dog"), ("e", "..")):
        (tmp_path / "train" / name).symlink_to(target)
    (tmp_path / "train" / "e").unlink()
    images = open_folder(str(tmp_path), "train")
    assert images.class_names == open_folder(str(tmp_path), "test").class_names == ("cat", "d", "dog")


def test_a_sibling_split_is_only_looked_into(tmp_path, monkeypatch):
    tree(tmp_path, *(f"{split}/{name}/{i}.png" for split in ("train", "test") for name in "ab" for i in range(50)))
    looked, is_image_name = list[str](), walk.is_image_name
    monkeypatch.setattr(walk, "is_image_name", lambda name: looked.append(name) or is_image_name(name))
    open_folder(str(tmp_path), "test")
    assert len(looked) < 120


def test_a_split_without_classes(tmp_path):
    tree(tmp_path, "train/1.png", "test/ant/1.png", "test/bee/1.png")
    assert open_folder(str(tmp_path), "train").labels is None


def test_a_folder_with_more_than_splits_has_none(tmp_path):
    images = open_folder(str(tree(tmp_path, "train/a.png", "test/b.png", "station/c.png")), None)
    assert images.class_names == ("station", "test", "train")


def test_files_that_are_no_images_do_not_hide_splits(tmp_path):
    tree(tmp_path, "train/a.png", "test/b.png")
    (tmp_path / "README.md").touch()
    assert len(open_folder(str(tmp_path), "test")) == 1


def test_a_split_of_a_folder_without_splits(tmp_path):
    tree(tmp_path, "a.png")
    assert len(open_folder(str(tmp_path), "all")) == 1
    with pytest.raises(SettingError, match="it has no splits; leave --split out"):
        open_folder(str(tmp_path), "train")


def test_class_folders_of_a_known_number(tmp_path):
    tree(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png", "notes/x.png")
    images = list_class_folders(tmp_path, "test", "abc", (3,), ("train", "test", "more"))
    assert (images.dataset, images.source, images.split) == ("abc", f"abc:{tmp_path}", "test")
    assert (images.class_names, images.labels.tolist()) == (("a", "b", "c"), [0, 2])
    with pytest.raises(DataError, match="3 classes, expected the 2 or 4 of abc as SPLIT/CLASS/FILE"):
        list_class_folders(tmp_path, "train", "abc", (2, 4), ("train", "test"))
    with pytest.raises(DataError, match="holds no folder 'more': expected abc as SPLIT/CLASS/FILE"):
        list_class_folders(tmp_path, "more", "abc", (3,), ("train", "test", "more"))
