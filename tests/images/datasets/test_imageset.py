from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headclust.errors import DataError, SettingError
from headclust.images.datasets import ImageSet
from headclust.images.datasets.imageset import check_split


def numbered(n: int, *, labels: bool = True) -> ImageSet:
    """Image i has the id, the pixel and the stamp of i, and the label i modulo 3."""
    return ImageSet(
        dataset="numbers",
        split="all",
        source="nowhere",
        sample_ids=tuple(f"{i:04d}" for i in range(n)),
        labels=np.arange(n) % 3 if labels else None,
        class_names=("a", "b", "c"),
        stamps=tuple((i, 2 * i) for i in range(n)),
        read=lambda i: Image.new("RGB", (1, 1), (i % 256, i // 256, 0)),
    )


@given(st.integers(1, 400), st.integers(1, 500), st.integers(0, 2**32), st.booleans())
def test_a_subset_keeps_rows_whole_and_in_order(n, limit, seed, labels):
    images = numbered(n, labels=labels).subset(limit, seed)
    assert len(images) == min(n, limit)
    assert list(images.sample_ids) == sorted(set(images.sample_ids))
    for row, name in enumerate(images.sample_ids):
        red, green, _ = images.read(row).getpixel((0, 0))
        assert red + 256 * green == int(name)
        assert images.stamps[row] == (int(name), 2 * int(name))
        assert images.labels is None or images.labels[row] == int(name) % 3


@given(st.integers(0, 2**32))
def test_a_subset_does_not_depend_on_labels(seed):
    assert numbered(50).subset(20, seed).sample_ids == numbered(50, labels=False).subset(20, seed).sample_ids


def test_the_seed_decides():
    images = numbered(300)
    assert images.subset(100, 0).sample_ids == images.subset(100, 0).sample_ids
    assert images.subset(100, 0).sample_ids != images.subset(100, 1).sample_ids


def test_every_row_is_as_likely():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[[int(name) for name in numbered(10).subset(3, seed).sample_ids]] += 1
    assert np.abs(counts / 2000 - 0.3).max() < 0.05


def test_a_seed_below_zero():
    with pytest.raises(SettingError, match="seed -1: expected 0 or more"):
        numbered(10).subset(3, -1)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one(limit):
    with pytest.raises(SettingError, match="expected at least 1 image"):
        numbered(3).subset(limit, 0)


def number_of(images: ImageSet, row: int) -> int:
    red, green, _ = images.read(row).getpixel((0, 0))
    return red + 256 * green


def test_classes_are_labelled_in_the_order_they_are_named():
    images = numbered(7).of_classes(("c", "a"))
    assert (images.dataset, images.class_names) == ("numbers-2", ("c", "a"))
    assert images.sample_ids == ("0000", "0002", "0003", "0005", "0006")
    assert images.labels.tolist() == [1, 0, 1, 0, 1]
    assert images.labels.dtype == np.int64
    assert (images.source, images.split) == ("nowhere", "all")


@given(
    st.integers(1, 300),
    st.lists(
        st.one_of(
            st.integers(1, 300), st.permutations("abc").flatmap(lambda s: st.integers(1, 3).map(lambda k: s[:k]))
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 2**32),
)
def test_every_row_stays_itself_through_subsets_and_classes(n, steps, seed):
    images = numbered(n)
    for step in steps:
        try:
            images = images.subset(step, seed) if isinstance(step, int) else images.of_classes(step)
        except (SettingError, DataError):  # a class that is gone already, or has no image left
            continue
    assert list(images.sample_ids) == sorted(set(images.sample_ids))
    for row, name in enumerate(images.sample_ids):
        assert number_of(images, row) == int(name)
        assert images.stamps[row] == (int(name), 2 * int(name))
        assert images.class_names[images.labels[row]] == "abc"[int(name) % 3]


@given(st.integers(4, 60), st.integers(1, 40), st.integers(0, 99))
def test_a_subset_is_opened_again_by_its_class_names(n, limit, seed):
    images = numbered(n).of_classes(["b", "a"]).subset(limit, seed)
    again = numbered(n).of_classes(images.class_names).subset(limit, seed)
    assert (again.sample_ids, again.labels.tolist()) == (images.sample_ids, images.labels.tolist())


def test_images_without_a_label_are_in_no_class():
    images = replace(numbered(6), labels=np.array([0, -1, 2, -1, 1, 2]))
    kept = images.of_classes(["c", "b", "a"])
    assert (kept.sample_ids, kept.labels.tolist()) == (("0000", "0002", "0004", "0005"), [2, 0, 1, 0])


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([], SettingError, "no class is named"),
        (["a", "b", "a"], SettingError, "class 'a' is named twice"),
        (["a", "bb"], SettingError, "unknown class of numbers 'bb': did you mean b?"),
        (["A"], SettingError, "unknown class of numbers 'A': known: a, b, c"),
    ],
)
def test_classes_that_cannot_be_chosen(ids, error, message):
    with pytest.raises(error, match=message):
        numbered(9).of_classes(ids)


def test_data_without_these_classes():
    with pytest.raises(DataError, match=r"numbers \(all\) has no classes to choose from: leave --classes out"):
        numbered(9, labels=False).of_classes(["a"])
    with pytest.raises(
        DataError, match=r"has labels without names, because some numbers up to 2 are missing .*by name"
    ):
        replace(numbered(9), class_names=()).of_classes(["a"])
    with pytest.raises(DataError, match=r"numbers \(all\) has no image of the 1 classes named"):
        numbered(2).of_classes(["c"])
    with pytest.raises(DataError, match="several classes of the same name"):
        replace(numbered(9), class_names=("a", "b", "a")).of_classes(["a"])


def test_splits_are_checked():
    assert check_split("x", None, ("train", "test")) == "train"
    assert check_split("x", "test", ("train", "test")) == "test"
    with pytest.raises(SettingError, match="x has no split 'Train': expected train, val or test"):
        check_split("x", "Train", ("train", "val", "test"))
