import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headclust.errors import DataError, FileFormatError, SettingError
from headclust.images.datasets.idx import FASHION_MNIST_CLASSES, open_fashion_mnist, read_idx


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def fashion(root: Path, *, n: int = 7, packed: bool = True, **replaced: bytes) -> Path:
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        contents = {
            f"{part}-images-idx3-ubyte": idx(rng.integers(0, 255, (n, 28, 28), dtype=np.uint8)),
            f"{part}-labels-idx1-ubyte": idx(rng.integers(0, 10, n, dtype=np.uint8)),
        }
        for name, data in contents.items():
            data = replaced.get(name.replace("-", "_"), data)
            (root / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return root


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("split", "part"), [(None, "train"), ("train", "train"), ("test", "t10k")])
def test_images_and_labels(tmp_path, packed, split, part):
    images = open_fashion_mnist(str(fashion(tmp_path, packed=packed)), split)
    suffix = ".gz" if packed else ""
    pixels = read_idx(tmp_path / f"{part}-images-idx3-ubyte{suffix}", 3)
    assert images.sample_ids == tuple("0123456")
    assert images.labels.tolist() == read_idx(tmp_path / f"{part}-labels-idx1-ubyte{suffix}", 1).tolist()
    assert images.class_names == FASHION_MNIST_CLASSES
    assert images.source == f"fashion-mnist:{tmp_path}"
    assert images.split == (split or "train")
    for row in range(7):
        assert np.array_equal(np.asarray(images.read(row)), np.repeat(pixels[row][..., None], 3, axis=2))


def test_stamps_change_with_the_file(tmp_path):
    first = open_fashion_mnist(str(fashion(tmp_path)), None).stamps
    assert first == open_fashion_mnist(str(tmp_path), None).stamps
    fashion(tmp_path, n=9)
    assert first[0] != open_fashion_mnist(str(tmp_path), None).stamps[0]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=40, deadline=None)
def test_round_trip(tmp_path_factory, shape, seed, packed):
    array = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    assert np.array_equal(read_idx(path, len(shape)), array)


GOOD = idx(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not an IDX file"),
        (b"\x89PNG\r\n\x1a\n0000", "is not an IDX file"),
        (GOOD[:6], "is not an IDX file"),
        (b"\0\0\x0d\x02" + GOOD[4:], "is not an IDX file of bytes"),  # floats
        (b"\0\0\x08\x03" + GOOD[4:], "with 2 dimensions"),
        (GOOD[:-1], r"\(2, 3\), which is 6 values, but holds only 5"),
        (GOOD + b"0", "but holds more"),
        (struct.pack(">4B2I", 0, 0, 8, 2, 0, 3), r"the shape \(0, 3\): expected 1 to"),
        (struct.pack(">4B2I", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1) + b"0", "expected 1 to"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_files_that_are_not_whole(tmp_path, data, message, packed):
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_idx(path, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-9], lambda d: d[:12], lambda d: b"no gzip", lambda d: d[:20] + b"\0" * 20]
)
def test_damaged_gzip(tmp_path, damage):
    (tmp_path / "a.gz").write_bytes(damage(gzip.compress(np.random.default_rng(0).bytes(500))))
    with pytest.raises(FileFormatError):
        read_idx(tmp_path / "a.gz", 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_named_once(tmp_path):
    (fashion(tmp_path) / "train-images-idx3-ubyte.gz").chmod(0)
    with pytest.raises(FileFormatError, match=r"^\S+ubyte.gz cannot be read: Permission denied\.$"):
        open_fashion_mnist(str(tmp_path), None)


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match=r"holds neither train-images-idx3-ubyte.gz nor"):
        open_fashion_mnist(str(tmp_path), None)


def test_labels_of_another_length(tmp_path):
    fashion(tmp_path, train_labels_idx1_ubyte=idx(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match="7 images but 3 labels in the train files"):
        open_fashion_mnist(str(tmp_path), None)


def test_a_label_out_of_range(tmp_path):
    fashion(tmp_path, train_labels_idx1_ubyte=idx(np.full(7, 10, np.uint8)))
    with pytest.raises(DataError, match="label 10 in the train files, expected 0 to 9"):
        open_fashion_mnist(str(tmp_path), None)


def test_unknown_split(tmp_path):
    with pytest.raises(SettingError, match="no split 'val': expected train or test"):
        open_fashion_mnist(str(tmp_path), "val")
