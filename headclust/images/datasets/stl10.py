"""STL-10 with its unlabeled images, from the official binary files or class folders.

Format: https://cs.stanford.edu/~acoates/stl10/. An image is 96 x 96 x 3 bytes: a red, a green and a blue plane, each in
column-major order. Labels are bytes 1 to 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from headclust import progress
from headclust.errors import DataError, FileFormatError
from headclust.images.datasets.archive_members import Container
from headclust.images.datasets.folder import list_class_folders, list_folder, locate
from headclust.images.datasets.imageset import ImageSet, check_split

STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
_SPLITS = ("train", "test", "unlabeled", "train+unlabeled")
_IMAGES = {"train": 5_000, "test": 8_000, "unlabeled": 100_000}
_BYTES = 3 * 96 * 96


def open_stl10(path: str, split: str | None) -> ImageSet:
    """STL-10. Each image is read from its file on demand.

    Sample ids are row numbers within the split ("train/0" and "unlabeled/0" in "train+unlabeled"), or paths.

    Args:
        path: The folder with `train_X.bin`, `train_y.bin` and the other files; a folder that holds `stl10_binary/`; or
            a folder with class folders `train/CLASS/FILE`, `test/CLASS/FILE` and `unlabeled/FILE`.
        split: "train" (also for None), "test", "unlabeled" (without labels), or "train+unlabeled": train first, then
            the unlabeled images with label -1.

    Raises:
        DataError: The folder holds none of these, or the archive, which is too large to be read without unpacking.
        FileFormatError: A binary file is damaged.
        SettingError: The split does not exist.
    """
    split, root = check_split("stl10", split, _SPLITS), locate(path)
    if root.is_file():
        raise DataError(f"{root} is a file: unpack STL-10 first (tar -xf), and name the folder that holds train_X.bin.")
    open_part = _from_folders if any((root / name).is_dir() for name in _IMAGES) else _from_binary
    images = _both(root, open_part) if split == "train+unlabeled" else open_part(root, split)
    return replace(images, dataset="stl10", split=split, source=f"stl10:{root}")


def _both(root: Path, open_part: Callable[[Path, str], ImageSet]) -> ImageSet:
    """The train images, followed by the unlabeled images."""
    train, unlabeled = open_part(root, "train"), open_part(root, "unlabeled")
    assert train.labels is not None
    n_train = len(train)
    ids = (*_prefixed(train, "train/"), *_prefixed(unlabeled, "unlabeled/"))
    return replace(
        train,
        sample_ids=ids,
        labels=np.concatenate([train.labels, np.full(len(unlabeled), -1, np.int64)]),
        stamps=train.stamps + unlabeled.stamps,
        read=lambda i: train.read(i) if i < n_train else unlabeled.read(i - n_train),
    )


def _prefixed(images: ImageSet, prefix: str) -> tuple[str, ...]:
    return tuple(name if name.startswith(prefix) else prefix + name for name in images.sample_ids)


def _from_folders(root: Path, split: str) -> ImageSet:
    if split != "unlabeled":
        return list_class_folders(root, split, "stl10", (len(STL10_CLASSES),), ("train", "test"))
    return replace(list_folder(root, split), labels=None, class_names=())


def _from_binary(root: Path, split: str) -> ImageSet:
    place = _find(root)
    file = Container.of(place / f"{split}_X.bin")
    if not file.size or file.size % _BYTES:
        raise FileFormatError(f"{file.path} holds {file.size} bytes: expected a whole number of images of {_BYTES}.")
    n = file.size // _BYTES
    labels = None if split == "unlabeled" else _labels(place / f"{split}_y.bin", n)
    if n != _IMAGES[split]:
        progress.note(f"{file.path}: {n} images; STL-10 has {_IMAGES[split]}.")
    return ImageSet(
        dataset="stl10",
        split=split,
        source=f"stl10:{root}",
        sample_ids=tuple(str(i) for i in range(n)),
        labels=labels,
        class_names=() if labels is None else STL10_CLASSES,
        stamps=((file.size, file.mtime_ns),) * n,
        read=lambda i: _image(file, i),
    )


def _find(root: Path) -> Path:
    """The folder of the binary files."""
    for place in (root, root / "stl10_binary"):
        if any((place / f"{split}_X.bin").is_file() for split in _IMAGES):
            return place
    if (root / "stl10_binary.tar.gz").is_file():
        raise DataError(f"{root} holds STL-10 as stl10_binary.tar.gz: unpack it first (tar -xf).")
    raise DataError(f"{root} holds no STL-10: expected SPLIT/CLASS/FILE, or train_X.bin and the other binary files.")


def _labels(path: Path, n: int) -> np.ndarray:
    file = Container.of(path)
    if file.size != n:
        raise FileFormatError(f"{path} holds {file.size} labels, and there are {n} images.")
    labels = np.frombuffer(file.read(0, n), np.uint8).astype(np.int64) - 1
    wrong = np.flatnonzero((labels < 0) | (labels >= len(STL10_CLASSES)))
    if len(wrong):
        raise FileFormatError(f"{path}: label {labels[wrong[0]] + 1} in row {wrong[0]}, expected 1 to 10.")
    return labels


def _image(file: Container, row: int) -> Image.Image:
    """One image. Its bytes are read, not memory-mapped: with a map, a damaged disk would crash the process."""
    planes = np.frombuffer(file.read(row * _BYTES, _BYTES), np.uint8).reshape(3, 96, 96)  # channel, column, row
    return Image.fromarray(np.ascontiguousarray(planes.transpose(2, 1, 0)))
