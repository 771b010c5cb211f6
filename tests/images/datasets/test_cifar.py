from pathlib import Path

import numpy as np
import pytest
from cifar_files import cifar10_files, cifar100_files, inside, write, write_tar
from PIL import Image

from headclust.errors import DataError, SettingError
from headclust.images.datasets import open_source
from headclust.images.datasets.cifar import CIFAR20_CLASSES, CIFAR100_CLASSES, open_cifar10, open_cifar20, open_cifar100

# The coarse label of each fine label in the official files, as widely published:
# https://github.com/ryanchankh/cifar100coarse/blob/master/sparse2coarse.py
COARSE_OF_FINE = [
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7),
    *(6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10),
    *(16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16),
    *(12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
]


def folders(root: Path, names, splits=("train", "test")) -> Path:
    """One image a class and split; its red is the class's place in `names`."""
    for split in splits:
        for number, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (1, 1), (number, 0, 0)).save(root / split / name / "1.png")
    return root


def test_an_empty_folder_is_no_class(tmp_path):
    (folders(tmp_path, [f"{i}" for i in range(10)]) / "train" / "empty").mkdir()
    for split in ("train", "test"):
        assert open_cifar10(str(tmp_path), split).class_names == tuple("0123456789")


def test_superclasses_are_the_official_ones():
    assert len(CIFAR20_CLASSES) == 20
    assert len(set(CIFAR100_CLASSES)) == 100
    assert (CIFAR100_CLASSES[0], CIFAR100_CLASSES[1], CIFAR100_CLASSES[99]) == ("apple", "aquarium_fish", "worm")
    groups = list(CIFAR20_CLASSES.values())
    found = [next(i for i, group in enumerate(groups) if name in group) for name in CIFAR100_CLASSES]
    assert found == COARSE_OF_FINE


@pytest.mark.parametrize("packed", [False, True])
def test_cifar10_binary(tmp_path, packed):
    files = inside("cifar-10-batches-bin", cifar10_files())
    root = write_tar(tmp_path / "c.tar.gz", files) if packed else write(tmp_path, cifar10_files())
    images = open_cifar10(str(root), None)
    assert (images.dataset, images.split, images.source) == ("cifar10", "train", f"cifar10:{root}")
    assert images.sample_ids == tuple("0123456789")
    assert images.labels.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert images.labels.dtype == np.int64
    assert images.class_names[:3] == ("airplane", "automobile", "bird")
    image = images.read(7)
    assert (image.mode, image.size) == ("RGB", (32, 32))
    assert image.getpixel((7, 3)) == ((41 + 32 * 3 + 7) % 256, 3, 7)  # getpixel takes (x, y)
    again = open_source(images.source, images.split)
    assert (again.sample_ids, again.stamps, again.dataset) == (images.sample_ids, images.stamps, images.dataset)
    assert open_cifar10(str(root), "test").labels.tolist() == [9, 9]


def test_cifar100_and_its_superclasses(tmp_path):
    write(tmp_path, cifar100_files())
    fine, coarse = open_cifar100(str(tmp_path), "train"), open_cifar20(str(tmp_path), "train")
    assert (fine.dataset, fine.labels.tolist(), fine.class_names) == ("cifar100", [9, 19, 29], CIFAR100_CLASSES)
    assert (coarse.dataset, coarse.labels.tolist()) == ("cifar20", [0, 1, 2])
    assert coarse.class_names == tuple(CIFAR20_CLASSES)
    assert coarse.source == f"cifar20:{tmp_path}"
    assert fine.sample_ids == coarse.sample_ids
    assert fine.read(2).tobytes() == coarse.read(2).tobytes()
    assert open_cifar20(str(tmp_path), "test").labels.tolist() == [19]


def test_cifar10_as_class_folders(tmp_path):
    folders(tmp_path, "abcdefghij")
    (tmp_path / "notes").mkdir()  # once "the folder has no splits"
    images = open_cifar10(str(tmp_path), None)
    assert (images.dataset, images.split, len(images), images.class_names) == ("cifar10", "train", 10, (*"abcdefghij",))
    assert open_cifar10(str(tmp_path), "test").sample_ids[0] == "test/a/1.png"
    again = open_source(images.source, images.split)
    assert (again.sample_ids, again.dataset) == (images.sample_ids, images.dataset)


@pytest.mark.parametrize(("opener", "n"), [(open_cifar10, "10"), (open_cifar100, "100"), (open_cifar20, "100 or 20")])
def test_class_folders_of_another_number(tmp_path, opener, n):
    folders(tmp_path, "ab")
    with pytest.raises(DataError, match=f"2 classes, expected the {n} of cifar"):
        opener(str(tmp_path), None)


def test_a_split_that_is_not_there(tmp_path):
    folders(tmp_path, "abcdefghij", splits=("train",))
    with pytest.raises(DataError, match="holds no folder 'test'"):
        open_cifar10(str(tmp_path), "test")


@pytest.mark.parametrize(
    "spell", [str, str.title, lambda name: name.replace("_", " "), lambda name: name.replace("_", "-")]
)
def test_cifar20_from_fine_class_folders(tmp_path, spell):
    folders(tmp_path, [spell(name) for name in CIFAR100_CLASSES])
    images = open_cifar20(str(tmp_path), "test")
    assert (images.dataset, images.class_names) == ("cifar20", tuple(CIFAR20_CLASSES))
    assert images.labels.dtype == np.int64
    assert open_source(images.source, images.split).labels.tolist() == images.labels.tolist()
    for row, label in enumerate(images.labels):
        assert label == COARSE_OF_FINE[images.read(row).getpixel((0, 0))[0]]


def test_cifar20_from_its_own_class_folders(tmp_path):
    folders(tmp_path, CIFAR20_CLASSES)
    images = open_cifar20(str(tmp_path), None)
    assert [images.sample_ids[row].split("/")[1] for row in np.argsort(images.labels)] == list(CIFAR20_CLASSES)


def test_cifar20_with_a_foreign_class(tmp_path):
    folders(tmp_path, ["aple", *CIFAR100_CLASSES[1:]])
    with pytest.raises(SettingError, match=r"unknown class of cifar100 'aple': did you mean apple"):
        open_cifar20(str(tmp_path), None)


@pytest.mark.parametrize("opener", [open_cifar10, open_cifar100, open_cifar20])
def test_unknown_splits_and_empty_folders(tmp_path, opener):
    name = opener.__name__.removeprefix("open_")
    with pytest.raises(SettingError, match=f"{name} has no split 'val': expected train or test"):
        opener(str(tmp_path), "val")
    with pytest.raises(DataError, match="holds no CIFAR-10") as caught:
        opener(str(tmp_path), None)
    assert "\n" not in str(caught.value)
