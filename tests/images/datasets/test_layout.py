import numpy as np
import pytest

from headclust.errors import SettingError
from headclust.images.datasets.layout import (
    choose_split,
    class_folders,
    encode_labels,
    find_splits,
    infer_classes,
    numeric_class_names,
)


@pytest.mark.parametrize(
    ("names", "labels", "classes"),
    [
        (["b/1", "a/1", "b/2"], [1, 0, 1], ("a", "b")),
        (["a/1", "a/2"], None, ()),
        (["a/1", "2"], None, ()),
        (["a/x/1", "b/1"], None, ()),
        (["1", "2"], None, ()),
    ],
)
def test_classes(names, labels, classes):
    found, class_names = infer_classes(names, {})
    assert (found if found is None else found.tolist()) == labels
    assert class_names == classes


@pytest.mark.parametrize(
    ("splits", "shared"),
    [
        ({"train": ["a/1", "b/1"], "test": ["b/1", "c/1"]}, {"train": "abc", "test": "abc"}),
        ({"train": ["a/1", "b/1"], "test": ["b/1"]}, {"train": "ab", "test": "ab"}),  # one folder, but a known one
        ({"train": ["a/1", "b/1"], "test": ["x/1"]}, {"train": "ab"}),  # a test split without labels
        ({"train": ["a/1", "b/1"], "test": ["x/1", "y/1"]}, {"train": "ab"}),
        ({"train": ["a/1", "b/1"], "test": ["1"]}, {"train": "ab"}),
        ({"train": ["1"], "test": ["a/1", "b/1"]}, {"test": "ab"}),
        ({"train": ["x/1"], "test": ["a/1", "b/1"]}, {"test": "ab"}),
        ({"train": ["x/1"], "test": ["x/1", "y/1"]}, {"train": "xy", "test": "xy"}),
        ({"train": ["x/1"], "test": ["y/1"]}, {}),
        ({"test": ["a/1", "b/1"], "val": ["c/1", "d/1"]}, {"test": "abcd", "val": "abcd"}),
        ({"train": ["a/1", "b/1", "b/x/1"], "test": ["a/1"]}, {"test": "ab"}),  # deeper
    ],
)
def test_splits_share_one_list_of_classes_whichever_is_opened(splits, shared):
    for split, names in splits.items():
        others = {other: class_folders(theirs) for other, theirs in splits.items() if other != split}
        labels, class_names = infer_classes(names, others, split)
        assert class_names == tuple(shared.get(split, ""))
        if split in shared:
            assert [class_names[label] for label in labels] == [name[0] for name in names]
        else:
            assert labels is None


def test_which_folders_may_be_classes():
    assert class_folders(["a/1", "b/x/1", "c/1", "c/x/1"]) == {"a", "c"}
    assert class_folders(["a/1", "2"]) == class_folders([]) == set()


def test_labels_by_name():
    labels, names = encode_labels(["b", "", "a"], ["b", "a", "c", ""])
    assert (labels.tolist(), labels.dtype, names) == ([1, -1, 0], np.int64, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("folders", "files", "splits"),
    [
        ({"train": True, "test": True}, ["README"], ["test", "train"]),
        ({"train": True}, [], ["train"]),
        ({"train": True, "annotations": False}, [], ["train"]),
        ({"train": True, "other": True}, [], []),
        ({"train": True}, ["a.png"], []),
        ({"cat": True}, [], []),
        ({}, ["a.png"], []),
    ],
)
def test_splits(folders, files, splits, capsys):
    assert find_splits("x", folders, files, folders.__getitem__) == splits
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("folders", "files", "outside"), [(["masks"], [], "masks"), ([], ["a.png"], "a.png")])
def test_splits_that_are_not_used_are_noted(folders, files, outside, capsys):
    assert find_splits("x", ["train", "test", *folders], files, lambda _: True) == []
    line = f"x: test and train are not used as splits, because {outside} is an image, or holds some.\n"
    assert capsys.readouterr().err == line


def test_choice_of_a_split():
    assert choose_split("x", [], None) is None
    assert choose_split("x", [], "all") is None
    assert choose_split("x", ["a", "b"], "b") == "b"
    with pytest.raises(SettingError, match="split 'a' of x: it has no splits; leave --split out"):
        choose_split("x", [], "a")
    with pytest.raises(SettingError, match="x holds a, b, and no split was named: use --split a or --split b"):
        choose_split("x", ["a", "b"], None)
    with pytest.raises(SettingError, match="there is no split 'c'"):
        choose_split("x", [f"{i}" for i in range(1000)], "c")


@pytest.mark.parametrize(
    ("labels", "names"), [([1, 0, -1], ("0", "1")), ([0, 2], ()), ([-1], ()), ([5], ()), ([10**17], ())]
)
def test_names_of_numbers(labels, names):
    assert numeric_class_names(np.array(labels, np.int64)) == names
