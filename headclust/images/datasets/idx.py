"""Fashion-MNIST from its four IDX files, as published or gunzipped.

Format: http://yann.lecun.com/exdb/mnist/ (two zero bytes, a type, the number of dimensions, their sizes as big-endian
32-bit integers, then the values). Data: https://github.com/zalandoresearch/fashion-mnist
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from headclust.errors import DataError, FileFormatError, one_line
from headclust.images.datasets.folder import locate
from headclust.images.datasets.imageset import ImageSet, check_split

FASHION_MNIST_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_UNSIGNED_BYTE = 0x08
_MAX_BYTES = 2**30


def open_fashion_mnist(path: str, split: str | None) -> ImageSet:
    """Fashion-MNIST's 60,000 train or 10,000 test images; the images file is held in memory (47 MB).

    Args:
        path: The folder that holds `train-images-idx3-ubyte` and the three other files, plain or `.gz`.
        split: "train" (also for None) or "test".

    Raises:
        DataError: A file is missing, or images and labels do not match.
        FileFormatError: A file is not a complete IDX file.
        SettingError: The split does not exist.
    """
    split = check_split("fashion-mnist", split, ("train", "test"))
    root = locate(path)
    part = "train" if split == "train" else "t10k"
    images_file = _find(root, f"{part}-images-idx3-ubyte")
    pixels = read_idx(images_file, dimensions=3)
    labels = read_idx(_find(root, f"{part}-labels-idx1-ubyte"), dimensions=1).astype(np.int64)
    if len(labels) != len(pixels):
        raise DataError(f"{root}: {len(pixels)} images but {len(labels)} labels in the {split} files.")
    if labels.max() >= len(FASHION_MNIST_CLASSES):
        raise DataError(f"{root}: label {labels.max()} in the {split} files, expected 0 to 9.")
    status = images_file.stat()
    return ImageSet(
        dataset="fashion-mnist",
        split=split,
        source=f"fashion-mnist:{root}",
        sample_ids=tuple(str(i) for i in range(len(pixels))),
        labels=labels,
        class_names=FASHION_MNIST_CLASSES,
        stamps=((status.st_size, status.st_mtime_ns),) * len(pixels),
        read=lambda i: Image.fromarray(pixels[i]).convert("RGB"),
    )


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in an IDX file, plain or gzipped (by its name).

    Args:
        path: The file; `.gz` is decompressed in memory.
        dimensions: Its number of dimensions, none of size 0.

    Raises:
        FileFormatError: Not IDX, of another type or number of dimensions, larger than 1 GiB, truncated, or too long.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read(path, file, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(f"{path} cannot be read: {one_line(error)}.") from None


def _read(path: Path, file: BinaryIO | gzip.GzipFile, dimensions: int) -> np.ndarray:
    head = file.read(4 + 4 * dimensions)
    if head[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]) or len(head) != 4 + 4 * dimensions:
        raise FileFormatError(
            f"{path} is not an IDX file of bytes with {dimensions} dimensions: it starts {head[:4]!r}."
        )
    shape = tuple(int(size) for size in np.frombuffer(head, ">u4", offset=4))
    size = math.prod(shape)
    if not 0 < size <= _MAX_BYTES:
        raise FileFormatError(f"{path} declares the shape {shape}: expected 1 to {_MAX_BYTES} values.")
    data = file.read(size + 1)
    if len(data) != size:
        held = f"only {len(data)}" if len(data) < size else "more"
        raise FileFormatError(f"{path} declares the shape {shape}, which is {size} values, but holds {held}.")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _find(root: Path, name: str) -> Path:
    for path in (root / f"{name}.gz", root / name):
        if path.is_file():
            return path
    raise DataError(
        f"{root} holds neither {name}.gz nor {name}: expected the folder with Fashion-MNIST's four IDX files."
    )
