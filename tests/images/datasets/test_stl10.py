"""STL-10's binary files, written here as https://cs.stanford.edu/~acoates/stl10/ describes them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclust.errors import ConflictError, DataError, FileFormatError, SettingError
from headclust.images.datasets import open_source
from headclust.images.datasets.stl10 import STL10_CLASSES, open_stl10


def image_bytes(number: int) -> bytes:
    """Red is the number, green the row, blue the column; planes one after another, each column by column."""
    red = bytes([number]) * (96 * 96)
    green = bytes(y for _ in range(96) for y in range(96))
    blue = bytes(x for x in range(96) for _ in range(96))
    return red + green + blue


def write(root: Path, **replaced: bytes) -> Path:
    files = {
        "train_X": b"".join(map(image_bytes, (0, 1, 2))),
        "train_y": bytes([1, 10, 2]),
        "test_X": image_bytes(100),
        "test_y": bytes([7]),
        "unlabeled_X": image_bytes(200) + image_bytes(201),
    }
    root.mkdir(parents=True, exist_ok=True)
    for name, content in (files | replaced).items():
        (root / f"{name}.bin").write_bytes(content)
    return root


def number_of(images, row: int) -> int:
    image = images.read(row)
    assert (image.mode, image.size) == ("RGB", (96, 96))
    assert image.getpixel((30, 7))[1:] == (7, 30)  # getpixel takes (x, y)
    return image.getpixel((0, 0))[0]


@pytest.mark.parametrize("below", ["", "stl10_binary"])
@pytest.mark.parametrize(
    ("split", "numbers", "labels"),
    [
        (None, [0, 1, 2], [0, 9, 1]),
        ("train", [0, 1, 2], [0, 9, 1]),
        ("test", [100], [6]),
        ("unlabeled", [200, 201], None),
    ],
)
def test_images_and_labels(tmp_path, below, split, numbers, labels):
    write(tmp_path / below)
    images = open_stl10(str(tmp_path), split)
    assert [number_of(images, row) for row in range(len(images))] == numbers
    assert images.sample_ids == tuple(str(i) for i in range(len(numbers)))
    assert (images.labels if labels is None else images.labels.tolist()) == labels
    assert images.class_names == (() if labels is None else STL10_CLASSES)
    assert (images.dataset, images.split, images.source) == ("stl10", split or "train", f"stl10:{tmp_path}")
    found = (tmp_path / below / f"{images.split}_X.bin").stat()
    assert images.stamps == ((found.st_size, found.st_mtime_ns),) * len(images)


def test_train_and_unlabeled(tmp_path):
    images = open_stl10(str(write(tmp_path)), "train+unlabeled")
    assert images.sample_ids == ("train/0", "train/1", "train/2", "unlabeled/0", "unlabeled/1")
    assert [number_of(images, row) for row in range(5)] == [0, 1, 2, 200, 201]
    assert images.labels.tolist() == [0, 9, 1, -1, -1]
    assert images.labels.dtype == np.int64
    assert len(images.stamps) == 5
    again = open_source(images.source, images.split)
    assert (again.sample_ids, again.split, again.class_names) == (images.sample_ids, images.split, STL10_CLASSES)


def test_as_torchvision_reads_it(tmp_path, monkeypatch):
    from torchvision.datasets import STL10

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 3 * 96 * 96), dtype=np.uint8).tobytes()
    write(tmp_path / "stl10_binary", train_X=noise)
    monkeypatch.setattr(STL10, "_check_integrity", lambda self: True)
    theirs = STL10(str(tmp_path), split="train+unlabeled")
    ours = open_stl10(str(tmp_path), "train+unlabeled")
    assert len(ours) == len(theirs)
    for row, (image, label) in enumerate(theirs):
        assert ours.read(row).tobytes() == image.tobytes()
        assert ours.labels[row] == label


def test_a_file_that_changes_or_goes_while_it_is_read_stops_the_run(tmp_path):
    images = open_stl10(str(write(tmp_path)), "train")
    (tmp_path / "train_X.bin").write_bytes(image_bytes(50) + image_bytes(51)[:-1])
    with pytest.raises(ConflictError, match=f"{tmp_path}/train_X.bin has changed since its images were listed"):
        images.read(0)
    (tmp_path / "train_X.bin").unlink()
    with pytest.raises(ConflictError, match=f"{tmp_path}/train_X.bin can no longer be opened"):
        images.read(0)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"train_X": image_bytes(0)[:-1]}, "train_X.bin holds 27647 bytes: expected a whole number of images of 27648"),
        ({"train_X": image_bytes(0) + b"0"}, "holds 27649 bytes"),
        ({"train_X": b""}, "holds 0 bytes"),
        ({"train_y": bytes([1, 2])}, "train_y.bin holds 2 labels, and there are 3 images"),
        ({"train_y": bytes([1, 2, 3, 4])}, "train_y.bin holds 4 labels"),
        ({"train_y": bytes([1, 0, 2])}, "train_y.bin: label 0 in row 1, expected 1 to 10"),
        ({"train_y": bytes([1, 2, 11])}, "label 11 in row 2"),
    ],
)
def test_damaged_files(tmp_path, replaced, message):
    with pytest.raises(FileFormatError, match=message) as caught:
        open_stl10(str(write(tmp_path, **replaced)), "train")
    assert "\n" not in str(caught.value)


def test_sizes_that_are_not_the_official_ones_are_said(tmp_path, capsys):
    open_stl10(str(write(tmp_path)), "train+unlabeled")
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/train_X.bin: 3 images; STL-10 has 5000.",
        f"{tmp_path}/unlabeled_X.bin: 2 images; STL-10 has 100000.",
    ]


def folders(root: Path, classes=STL10_CLASSES) -> Path:
    names = [f"{split}/{name}/1.png" for split in ("train", "test") for name in classes]
    for name in (*names, "unlabeled/1.png", "unlabeled/2.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1)).save(root / name)
    return root


def test_class_folders(tmp_path):
    root = str(folders(tmp_path))
    assert open_stl10(root, "test").labels.tolist() == list(range(10))
    assert open_stl10(root, None).class_names == STL10_CLASSES
    unlabeled = open_stl10(root, "unlabeled")
    assert (unlabeled.sample_ids, unlabeled.labels) == (("unlabeled/1.png", "unlabeled/2.png"), None)
    both = open_stl10(root, "train+unlabeled")
    assert both.sample_ids == open_stl10(root, "train").sample_ids + unlabeled.sample_ids
    assert both.labels.tolist() == [*range(10), -1, -1]
    again = open_source(both.source, both.split)
    assert (again.sample_ids, again.dataset) == (both.sample_ids, "stl10")


def test_what_cannot_be_used(tmp_path):
    with pytest.raises(
        SettingError, match=r"stl10 has no split 'all': expected train, test, unlabeled or train\+unlabeled"
    ):
        open_stl10(str(tmp_path), "all")
    with pytest.raises(DataError, match="holds no STL-10: expected SPLIT/CLASS/FILE, or train_X"):
        open_stl10(str(tmp_path), None)
    (tmp_path / "stl10_binary.tar.gz").touch()
    with pytest.raises(DataError, match=r"holds STL-10 as stl10_binary.tar.gz: unpack it first"):
        open_stl10(str(tmp_path), None)
    with pytest.raises(DataError, match=r"stl10_binary.tar.gz is a file: unpack STL-10 first"):
        open_stl10(str(tmp_path / "stl10_binary.tar.gz"), None)
    folders(tmp_path / "few", ["cat", "dog"])
    with pytest.raises(DataError, match="2 classes, expected the 10 of stl10"):
        open_stl10(str(tmp_path / "few"), None)


@pytest.mark.parametrize("name", ["train_y", "test_X"])
def test_a_missing_file(tmp_path, name):
    (write(tmp_path) / f"{name}.bin").unlink()
    with pytest.raises(DataError, match=f"{name}.bin cannot be opened: No such file or directory"):
        open_stl10(str(tmp_path), name.split("_")[0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_found_at_once(tmp_path):
    (write(tmp_path) / "train_X.bin").chmod(0)
    with pytest.raises(DataError, match=r"train_X.bin cannot be opened: Permission denied"):
        open_stl10(str(tmp_path), None)
